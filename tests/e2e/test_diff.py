"""`lowbit diff` through a real process: files that agree, files that do not, a runtime that computes wrongly, gates."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from lowbit.cli.main import main
from lowbit.formats.onnx.write import export_onnx
from tests import models
from tests.e2e.command import lowbit, make_project
from tests.quantized import small_model
from tests.runtime.test_cut import built

DATA = ("--data", "data.npz", "--preprocess", "unit")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small project, and beside tiny.onnx files that agree with it or one another, and files that do not.

    changed.onnx has other weights in one layer; int16.onnx is tiny.onnx as ONNX Runtime's tool makes it; small.onnx and
    small.xml are one quantized model.
    """
    pytest.importorskip("openvino")
    from lowbit.formats.openvino.write import export_openvino

    folder = make_project(tmp_path_factory.mktemp("diff"))
    model = onnx.load(folder / "tiny.onnx")
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.name == "w2")
    weight.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weight), "w2"))
    onnx.save(model, folder / "changed.onnx")
    (folder / "build").mkdir()
    onnx.save(built("int16x8", folder / "build"), folder / "int16.onnx")
    export_onnx(small_model(), folder / "small.onnx")
    export_openvino(small_model(), folder / "small.xml")
    models.tiny_model(folder / "five.onnx", classes=5)
    (folder / "broken.onnx").write_text("not a model")
    return folder


def found(*words: str, cwd: Path) -> Any:
    done = lowbit("diff", *words, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_two_formats_of_one_model_agree(project: Path) -> None:
    said = found("small.onnx", "small.xml", *DATA, cwd=project)
    assert said["verdict"] in ("equal", "agree") and said["scores"]["error"] <= 0.05
    assert (said["first"]["runtime"], said["second"]["runtime"]) == ("onnxruntime", "openvino")
    assert said["scores"]["images"] == 96, "none is set aside"
    assert said["agreement_interval"][0] < said["agreement"] <= said["agreement_interval"][1]
    if said["verdict"] == "agree":
        assert "only graphs of ONNX files can be cut" in said["no_layers"]


def test_a_runtime_that_computes_a_file_wrongly_is_named_with_the_layer(project: Path) -> None:
    kept = ("--cache", "kept")
    said = found("int16.onnx", "--runtimes", "onnxruntime,openvino", *DATA, *kept, "--model", "tiny.onnx", cwd=project)
    assert said["verdict"] == "miscomputed" and said["same_network"] and said["wrong"] == "second"
    parted = [layer for layer in said["layers"]["layers"] if layer["parted"]]
    assert parted[0]["number"] == 1 and parted[0]["op_type"] == "Conv"
    right, wrong = parted[0]["from_reference"]
    assert right < 0.001 < 0.1 < wrong
    assert said["from_float"][0]["error"] < 0.1 < said["from_float"][1]["error"]
    done = lowbit("diff", "int16.onnx", "int16.onnx", "--runtimes", "openvino,onnxruntime", *DATA, *kept, cwd=project)
    assert done.returncode == 0 and done.stdout.startswith("openvino computes it wrongly: the same file, but ")
    for text in (
        "first layer", parted[0]["name"], "plain arithmetic", "95 % interval", "onnxruntime 1.", "96 of data.npz",
        "nats of B from A", "equal bits", "differ most",
    ):  # fmt: skip
        assert text in done.stdout, (text, done.stdout)


def test_the_changed_layer_is_found_on_pictures_without_labels_and_gates_fail(project: Path) -> None:
    with np.load(project / "data.npz") as data:
        np.savez(project / "pictures.npz", x=data["x"][:7])
    words = ("tiny.onnx", "changed.onnx", "--data", "pictures.npz", "--preprocess", "unit", "--cache", "few")
    said = found(*words, cwd=project)
    assert said["verdict"] == "apart" and not said["same_network"] and said["scores"]["images"] == 7
    assert [layer["name"] for layer in said["layers"]["layers"] if layer["parted"]] == ["conv2"]
    most = said["scores"]["largest"]
    done = lowbit("diff", *words, "--max-difference", str(most), "--min-agreement", "0", cwd=project)
    assert done.returncode == 0 and done.stdout.startswith("They differ: ")
    done = lowbit("diff", *words, "--max-difference", str(most * 0.99), cwd=project)
    assert done.returncode == 1 and done.stdout.startswith("They differ: ")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("tiny.onnx", *DATA), ["B is missing", "--runtimes onnxruntime,openvino"]),
        (("tiny.onnx", "tiny.onnx", *DATA), ["twice", "--runtimes onnxruntime,OTHER"]),
        (("tiny.onnx", "absent.onnx", *DATA), ["absent.onnx", "no such file"]),
        (("tiny.onnx", "data.npz", *DATA), ["data.npz", "no artifact"]),
        (("tiny.onnx", "broken.onnx", *DATA), ["broken.onnx", "not an ONNX model"]),
        (("tiny.onnx", "small.xml", *DATA, "--runtimes", "litert"), ["litert", "does not read onnx"]),
        (("tiny.onnx", "small.xml", *DATA, "--runtimes", "a,b,c"), ["--runtimes a,b,c"]),
        (("tiny.onnx", "small.xml", *DATA, "--limit", "0"), ["--limit 0"]),
        (("tiny.onnx", "small.xml", *DATA, "--min-agreement", "101"), ["--min-agreement 101"]),
        (("tiny.onnx", "small.xml", *DATA, "--max-difference", "-1"), ["--max-difference -1"]),
        (("tiny.onnx", "changed.onnx", *DATA, "--model", "small.xml"), ["--model small.xml", ".onnx"]),
        (("tiny.onnx", "changed.onnx", "--data", "data.npz"), ["--preprocess is missing", "tiny.onnx"]),
        (
            ("tiny.onnx", "five.onnx", "--data", "data.npz", "--preprocess", "unit,resize=16x16"),
            ["takes images [3, 8, 8]", "[3, 16, 16]", "--preprocess"],
        ),
    ],
)
def test_bad_input_is_one_line(
    words: tuple[str, ...],
    expected: list[str],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(project)
    assert main(["diff", *words]) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err and said.out == ""
    for word in expected:
        assert word in said.err.splitlines()[-1], (word, said.err)


def test_bad_input_through_a_real_process(project: Path) -> None:
    done = lowbit("diff", "tiny.onnx", "five.onnx", *DATA, "--limit", "3", cwd=project)
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr
    assert "5 scores a picture" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_resnet20_as_its_study_leaves_it(shared: Path, tmp_path: Path) -> None:
    """Our own file and its IR agree in every layer; ONNX Runtime's 16-bit file is computed wrongly by OpenVINO."""
    pytest.importorskip("openvino")
    data = str(shared / "data" / "cifar10")
    words = (str(shared / "models" / "cifar10-resnet20.onnx"), "--data", data, "--preprocess", "cifar10")
    chosen = ("--toolchains", "onnxruntime,lowbit", "--recipes", "int16x8,w8a8,w8a8-ir", "--limit", "500")
    done = lowbit("compare", *words, *chosen, "--no-timing", "-o", "study", cwd=tmp_path, time_limit_s=1800)
    assert done.returncode == 0, done.stderr
    made = tmp_path / "study" / "artifacts"
    said = found(
        str(made / "lowbit-w8a8"), str(made / "lowbit-w8a8-ir"), "--data", data, "--limit", "500", cwd=tmp_path
    )
    assert said["verdict"] == "agree" and said["same_network"] and said["agreement"] >= 0.97
    assert len(said["layers"]["layers"]) > 20 and not any(layer["parted"] for layer in said["layers"]["layers"])
    file = shutil.copy(made / "onnxruntime-int16x8" / "model.onnx", tmp_path / "alone.onnx")
    two = ("--runtimes", "onnxruntime,openvino", "--limit", "500")
    said = found(str(file), *two, "--data", data, "--preprocess", "cifar10", cwd=tmp_path)
    assert said["verdict"] == "miscomputed" and said["wrong"] == "second" and said["agreement"] < 0.5
    assert next(layer["name"] for layer in said["layers"]["layers"] if layer["parted"]) == "Conv_0"
