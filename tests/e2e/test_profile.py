"""`lowbit profile` through a real process: one file, two side by side, a trace, a study's folder, and bad input."""

import json
from pathlib import Path

import pytest

from tests.e2e.command import compare, lowbit

MACS = {"Conv_0": 8 * 3 * 9 * 64, "Conv_2": 8 * 8 * 9 * 64, "Gemm_7": 4 * 8}
DATA = ("--data", "data.npz")


@pytest.fixture(scope="module")
def project(quantized_project: Path) -> Path:
    return quantized_project


def test_two_artifacts_layer_by_layer_with_a_trace(project: Path) -> None:
    words = ("out.onnx", "lite.tflite", *DATA, "--model", "tiny.onnx", "--json", "--trace", "trace.json")
    done = lowbit("profile", *words, cwd=project)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [each["runtime"] for each in found] == ["onnxruntime", "litert"]
    for each in found:
        multiply = [one for one in each["operators"] if one["operator"]["macs"]]
        assert {one["layers"][0]: one["operator"]["macs"] for one in multiply} == MACS
        assert each["runs"] >= 50 and each["latency_us"] > 0
    spans = [event for event in json.loads((project / "trace.json").read_text())["traceEvents"] if event["ph"] == "X"]
    assert [len([event for event in spans if event["pid"] == number]) for number in (1, 2)] == [
        len(each["operators"]) for each in found
    ]


def test_the_text_names_layers_kernels_and_the_latency(project: Path) -> None:
    done = lowbit("profile", "out.onnx", *DATA, "--runtime", "onnxruntime", cwd=project)
    assert done.returncode == 0, done.stderr
    for said in ("Conv_2", "QLinearConv", "u8s8", "without a profiler", "requantize", "at the peak", "--model"):
        assert said in done.stdout, said


def test_an_artifact_of_a_study_finds_its_float_graph(tmp_path: Path, project: Path) -> None:
    for name in ("tiny.onnx", "data.npz"):
        (tmp_path / name).write_bytes((project / name).read_bytes())
    options = ("--toolchains", "onnxruntime", "--runtimes", "onnxruntime", "--recipes", "int8-static", "--no-timing")
    made = compare(*options, cwd=tmp_path)
    assert made.returncode in (0, 1), made.stderr
    done = lowbit("profile", "study/artifacts/onnxruntime-int8-static", *DATA, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert {layer["name"]: layer["macs"] for layer in found["layers"]} == MACS
    assert not found["missing"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("none.onnx", *DATA), "none.onnx"),
        (("tiny.onnx", *DATA), "--preprocess is missing"),
        (("out.onnx", *DATA, "--runtime", "litert"), "--runtime litert"),
        (("lite.tflite", *DATA, "--batch-size", "4"), "--batch-size 4"),
        (("out.onnx", *DATA, "--preprocess", "unit,resize=16x16,crop=none"), "16"),
        (("out.onnx", *DATA, "--runtime", "reference"), "reference has no profiler"),
        (("out.onnx", "--data", "nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_one_line_with_status_2(project: Path, words: tuple[str, ...], said: str) -> None:
    done = lowbit("profile", *words, cwd=project)
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("lowbit: ") and said in last
    assert "Traceback" not in done.stderr


def test_compare_profiles_what_it_times_and_does_it_once(tmp_path: Path, project: Path) -> None:
    for name in ("tiny.onnx", "data.npz"):
        (tmp_path / name).write_bytes((project / name).read_bytes())
    options = (
        "--toolchains", "onnxruntime", "--runtimes", "onnxruntime", "--recipes", "fp32,int8-static", "--profile",
        "--max-drop", "100",
    )  # fmt: skip
    first = compare(*options, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    study = json.loads((tmp_path / "study" / "study.json").read_text())["report"]
    timed = {f"{row['toolchain']}/{row['recipe']}@{row['runtime']}": row for row in study["rows"]}
    assert set(study["profiles"]) == set(timed)
    for name, spent in study["profiles"].items():
        works = {part["name"]: part["work"] for part in spent["parts"]}
        kind = "integer product" if "int8" in name else "float product"
        assert works["Conv_2"] == kind
        assert spent["macs"] == sum(MACS.values())
    assert {peak["kind"] for peak in study["peaks"]} >= {"fp32", "int8"}
    assert "Where the time goes" in (tmp_path / "study" / "report.html").read_text()
    again = compare(*options, cwd=tmp_path)
    assert "profile" not in again.stderr and "peak" not in again.stderr, again.stderr
    wrong = compare(*options, "--no-timing", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "--profile" in wrong.stderr and "Traceback" not in wrong.stderr
