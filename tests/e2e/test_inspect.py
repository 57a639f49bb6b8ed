"""`lowbit inspect` through a real process: a file with and without its manifest, a study's folder, and what is none."""

import json
import shutil
from pathlib import Path

import pytest

from lowbit.toolchains.lowbit import INFO
from tests.e2e.command import compare
from tests.e2e.command import lowbit as command

MACS = {"Conv_0": 8 * 3 * 9, "Conv_2": 8 * 8 * 9, "Gemm_7": 4 * 8}  # weights of the tiny model's layers


@pytest.fixture(scope="module")
def project(quantized_project: Path) -> Path:
    """tiny.onnx quantized to w4a8 in each format."""
    return quantized_project


@pytest.mark.parametrize(
    ("name", "runtimes"),
    [("out.onnx", ["onnxruntime", "openvino"]), ("out4.xml", ["openvino"]), ("lite.tflite", ["litert"])],
)
def test_every_layer_with_bits_bytes_and_what_it_ran_in(project: Path, name: str, runtimes: list[str]) -> None:
    done = command("inspect", name, "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not found["changed"] and not found["refused"]
    layers = {layer["name"]: layer for layer in found["layers"]}
    assert {layer: (facts["weight_bits"], facts["activation_bits"]) for layer, facts in layers.items()} == {
        "Conv_0": (8, 8), "Conv_2": (4, 8), "Gemm_7": (8, 8),
    }  # fmt: skip
    assert {layer: facts["bytes"] for layer, facts in layers.items()} == {**MACS, "Conv_2": MACS["Conv_2"] // 2}
    for facts in layers.values():
        assert facts["precision"].keys() == set(runtimes)
        assert all(word in ("u8s8", "s8s8") for word in facts["precision"].values())
    assert found["int8_share"] == dict.fromkeys(runtimes, 1.0)
    assert found["preprocess"]["name"] == "unit"
    files = [project / name] + ([project / "out4.bin"] if name == "out4.xml" else [])
    assert found["size_bytes"] == sum(path.stat().st_size for path in files)
    assert [each["runtime"] for each in found["manifest"]["verified"]] == runtimes


def test_the_text_names_all_that_a_person_asks_for(project: Path) -> None:
    done = command("inspect", "out.onnx", cwd=project)
    assert done.returncode == 0, done.stderr
    for said in (
        "onnx", "w4a8", "unit", "96 images", f"{INFO.packages[1]} 2", "verified", "integer reference", "Conv_2",
        "4 bits", "288", "u8s8", "100 %",
    ):  # fmt: skip
        assert said in done.stdout, said


def test_a_runtime_may_be_picked_or_refused(project: Path) -> None:
    one = json.loads(command("inspect", "out.onnx", "--runtimes", "onnxruntime", "--json", cwd=project).stdout)
    assert list(one["int8_share"]) == ["onnxruntime"]
    wrong = command("inspect", "out.onnx", "--runtimes", "litert", cwd=project)
    assert wrong.returncode == 2 and "litert" in wrong.stderr and "onnx" in wrong.stderr
    unknown = command("inspect", "out.onnx", "--runtimes", "coreml", cwd=project)
    assert unknown.returncode == 2 and "coreml" in unknown.stderr


@pytest.mark.parametrize("name", ["out.onnx", "out4.xml", "lite.tflite"])
def test_a_file_alone_speaks_for_itself(project: Path, tmp_path: Path, name: str) -> None:
    for path in project.glob(f"{Path(name).stem}.*"):
        if path.suffix != ".json":
            shutil.copy(path, tmp_path)
    done = command("inspect", name, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["manifest"] is None
    assert found["preprocess"]["name"] == "unit"  # the file's own metadata
    layers = {layer["name"]: layer for layer in found["layers"]}
    assert layers["Conv_2"]["bytes"] == MACS["Conv_2"] // 2
    assert layers["Conv_2"]["weight_bits"] is None
    assert all(word in ("u8s8", "s8s8") for word in layers["Conv_2"]["precision"].values())
    assert "no manifest" in command("inspect", name, cwd=tmp_path).stdout


def test_a_file_that_was_changed_is_told(project: Path, tmp_path: Path) -> None:
    for path in project.glob("out.*"):
        shutil.copy(path, tmp_path)
    shutil.copy(project / "tiny.onnx", tmp_path / "out.onnx")
    done = command("inspect", "out.onnx", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "not those of the manifest" in done.stdout
    assert "(float)" in done.stdout


def test_a_folder_of_a_study(project: Path) -> None:
    words = ("--toolchains", "onnxruntime", "--runtimes", "onnxruntime", "--recipes", "int8-static")
    assert compare(*words, "--max-drop", "100", cwd=project).returncode == 0
    done = command("inspect", "study/artifacts/onnxruntime-int8-static", "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["manifest"]["recipe"]["name"] == "int8-static"
    executed = [layer["precision"] for layer in found["layers"]]
    assert len(executed) == 3
    assert all(each == {"onnxruntime": "u8s8", "openvino": "u8s8"} for each in executed)


def test_what_is_no_artifact_is_refused_in_one_line(project: Path) -> None:
    (project / "bad.onnx").write_text("not a model")
    (project / "bad.tflite").write_bytes(b"\0" * 64)
    (project / "bad.xml").write_text("<html></html>")
    for name, words in {
        "bad.onnx": ["bad.onnx", "no artifact"],
        "bad.tflite": ["bad.tflite", "no artifact"],
        "bad.xml": ["bad.xml", "no artifact"],
        "data.npz": ["data.npz", ".onnx, .xml, .tflite"],
        "absent.onnx": ["absent.onnx", "no such file"],
        "cache": ["cache", "manifest.json"],
    }.items():
        done = command("inspect", name, cwd=project)
        assert done.returncode == 2, name
        assert "Traceback" not in done.stderr
        for word in words:
            assert word in done.stderr.splitlines()[-1], (name, done.stderr)


@pytest.mark.parametrize("name", ["out.onnx", "out4.xml", "lite.tflite"])
def test_every_operator_and_tensor_of_the_file(project: Path, name: str) -> None:
    """Whatever the format: what is stored adds up to less than the file, and each operator's operands are listed."""
    done = command("inspect", name, "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    stored = json.loads(done.stdout)["stored"]
    tensors = {tensor["name"]: tensor for tensor in stored["tensors"]}
    assert len(tensors) == len(stored["tensors"])
    for operator in stored["operators"]:
        assert {*operator["inputs"], *operator["outputs"]} <= tensors.keys()
    size = (project / name).with_suffix(".bin" if name == "out4.xml" else Path(name).suffix).stat().st_size
    total = sum(tensor["stored_bytes"] for tensor in stored["tensors"])
    assert sum(MACS.values()) - MACS["Conv_2"] // 2 <= total <= size
    if name != "out4.xml":
        grids = [tensor for tensor in stored["tensors"] if tensor["scales"]]
        assert any(tensor["axis"] is not None and len(tensor["scales"]) == 8 for tensor in grids)
        assert any(tensor["axis"] is None and len(tensor["scales"]) == 1 for tensor in grids)


def test_a_vendors_file_is_listed_layer_by_layer(shared: Path) -> None:
    """MLPerf Tiny's int8 ResNet-8: 78,666 parameters, ten layers with weights, a softmax on 1/256."""
    path = shared / "models" / "cifar10-resnet8-int8-mlperftiny.tflite"
    done = command("inspect", str(path), "--json", cwd=shared)
    assert done.returncode == 0, done.stderr
    stored = json.loads(done.stdout)["stored"]
    tensors = {tensor["name"]: tensor for tensor in stored["tensors"]}
    kinds = [operator["kind"] for operator in stored["operators"]]
    assert kinds.count("CONV_2D") == 9 and kinds.count("FULLY_CONNECTED") == 1
    weights = [tensors[each["inputs"][1]] for each in stored["operators"] if each["kind"] == "CONV_2D"]
    assert all((each["kind"], each["bits"], each["axis"]) == ("int8", 8, 0) for each in weights)
    (scores,) = (tensors[each["outputs"][0]] for each in stored["operators"] if each["kind"] == "SOFTMAX")
    assert (scores["scales"], scores["zero_points"]) == ([1 / 256], [-128])
    text = command("inspect", str(path), "--tensors", cwd=shared)
    assert text.returncode == 0 and "0.00390625" in text.stdout and text.stdout.count("AVERAGE_POOL_2D") == 1
