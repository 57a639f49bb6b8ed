"""A Keras model through the command: one table without a word of TensorFlow's, and one line where it cannot be used."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.command import NULL, compare, lowbit, make_project, rows

pytest.importorskip("tensorflow")

MODELS = """
import keras

image = keras.Input((8, 8, 3))
x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(keras.layers.Rescaling(1 / 255)(image))
scores = keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x))
keras.Model(image, scores).save("net.keras")
keras.Model(image, keras.layers.Lambda(lambda x: 2 * x, output_shape=(4,))(scores)).save("code.keras")
"""
BUILD = "import keras\n\ndef build():\n    return keras.models.load_model('net.keras')\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_project(tmp_path_factory.mktemp("keras"))
    (folder / "build.py").write_text(BUILD)
    subprocess.run([sys.executable, "-c", MODELS], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("model", ["net.keras", "build.py:build"])
def test_a_keras_model_is_compared_and_tensorflow_says_nothing(project: Path, model: str) -> None:
    done = compare(*NULL, "--preprocess", "raw", cwd=project, model=model)
    assert done.returncode == 0, done.stderr
    assert {row["status"] for row in rows(project)} == {"measured"}
    for noise in ("tensorflow", "onednn", "absl", "cuda", "warning"):
        assert noise not in (done.stdout + done.stderr).lower()


def test_code_in_a_file_is_refused_in_one_line_and_run_with_trust(project: Path) -> None:
    words = ("quantize", "code.keras", "--recipe", "w8a8", "--data", "data.npz", "--preprocess", "raw", "--dry-run")
    refused = lowbit(*words, cwd=project)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "code.keras: brings code of its own along (Lambda" in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr
    trusted = lowbit(*words, "--trust", "--json", cwd=project)
    assert trusted.returncode == 0, trusted.stderr
    assert len(json.loads(trusted.stdout)["layers"]) == 2


def test_profile_names_layers_by_a_model_with_code_where_it_is_trusted(project: Path) -> None:
    words = ("profile", "tiny.onnx", "--data", "data.npz", "--preprocess", "raw", "--model", "code.keras")
    done = lowbit(*words, "--trust", "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert [layer["macs"] for layer in found["layers"]] == [8 * 3 * 9 * 64, 4 * 8]  # of code.keras


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_shared_resnet8_is_the_same_in_every_runtime(shared: Path, tmp_path: Path) -> None:
    """Float 87.2 ± 0.1 % on all 10,000 images, as its publisher says."""
    model, data = shared / "models" / "pretrainedResnet.h5", shared / "data" / "cifar10"
    words = ("--data", str(data), "--preprocess", "raw", "--recipes", "fp32", "--no-timing", "-o", "study")
    done = lowbit("compare", str(model), *words, cwd=tmp_path, time_limit_s=1700)
    assert done.returncode == 0, done.stderr
    top1 = {row["runtime"]: row["top1"] for row in rows(tmp_path) if row["status"] == "measured"}
    assert set(top1) == {"onnxruntime", "openvino", "torch", "litert"}
    assert all(0.871 <= value <= 0.873 for value in top1.values()), top1
