"""Whole studies of the shared models, through the command: the accuracies that are known from elsewhere."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import lowbit

QUICK = ("--min-duration", "0.1", "--rounds", "1")
RUNTIMES = {"onnxruntime", "openvino", "litert", "torch"}


def study(folder: Path, *words: str) -> list[dict[str, Any]]:
    done = lowbit("compare", *words, "-o", "study", *QUICK, cwd=folder, time_limit_s=3400)
    assert done.returncode in (0, 3), done.stderr
    rows: list[dict[str, Any]] = json.loads((folder / "study" / "results.json").read_text())
    return rows


def resnet20(shared: Path) -> tuple[str, ...]:
    model, data = shared / "models" / "cifar10-resnet20.onnx", shared / "data" / "cifar10"
    return (str(model), "--data", str(data), "--preprocess", "imagenet,resize=none,crop=none")


def mobilenetv2(shared: Path) -> tuple[str, ...]:
    data = shared / "data" / "imagenette"
    model = shared / "models" / "imagenet-mobilenetv2.onnx"
    labels = ("--labels", str(data / "labels.json"))
    return (str(model), "--data", str(data), *labels, "--preprocess", "imagenet-tf,resize=none")


def fp32_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = [row for row in rows if row["recipe"] == "fp32"]
    assert all(row["status"] == "measured" for row in found), found
    assert {row["runtime"] for row in found} == RUNTIMES
    return found


@pytest.mark.slow
def test_a_small_study_of_resnet20(shared: Path, tmp_path: Path) -> None:
    words = (
        "--toolchains",
        "onnxruntime,nncf",
        "--recipes",
        "fp32,int8-static",
        "--limit",
        "400",
        "--calibration-samples",
        "128",
    )
    rows = [row for row in study(tmp_path, *resnet20(shared), *words) if row["status"] == "measured"]
    assert len(rows) == 6
    assert {row["n_samples"] for row in rows} == {400}
    assert len({row["top1"] for row in rows if row["recipe"] == "fp32"}) == 1
    for row in rows:
        assert row["agreement"] > (0.9999 if row["recipe"] == "fp32" else 0.96)
        assert row["int8_share"] == (0.0 if row["recipe"] == "fp32" else 1.0)
        assert row["loadgen_valid"]


@pytest.mark.slow
@pytest.mark.timeout(3500)
def test_resnet20_on_every_image(shared: Path, tmp_path: Path) -> None:
    rows = study(tmp_path, *resnet20(shared), "--recipes", "fp32,int8-static")
    for row in fp32_of(rows):
        assert row["top1"] == pytest.approx(0.9173, abs=0.0003), row["runtime"]
    static = [row for row in rows if row["recipe"] == "int8-static" and row["intended"]]
    assert {(row["toolchain"], row["runtime"]) for row in static} == {
        ("onnxruntime", "onnxruntime"), ("onnxruntime", "openvino"), ("nncf", "openvino"),
        ("litert", "litert"), ("torch", "torch"),
    }  # fmt: skip
    for row in static:
        assert row["status"] == "measured"
        assert row["top1"] >= 0.914, row


@pytest.mark.slow
@pytest.mark.timeout(3500)
def test_int16_activations_are_miscomputed_by_openvino_and_the_study_says_so(shared: Path, tmp_path: Path) -> None:
    words = ("--toolchains", "onnxruntime", "--recipes", "int16x8")
    found = {row["runtime"]: row for row in study(tmp_path, *resnet20(shared), *words)}
    assert found["onnxruntime"]["status"] == "measured"
    assert found["openvino"]["status"] == "failed"
    assert f"{100 * found['onnxruntime']['top1']:.2f} %" in found["openvino"]["reason"]


@pytest.mark.slow
@pytest.mark.timeout(3500)
@pytest.mark.parametrize(("among", "top1"), [("model", 0.7420), ("data", 0.9916)])
def test_mobilenetv2_on_every_image(shared: Path, tmp_path: Path, among: str, top1: float) -> None:
    for row in fp32_of(study(tmp_path, *mobilenetv2(shared), "--recipes", "fp32", "--among", among)):
        assert row["top1"] == pytest.approx(top1, abs=0.001), row["runtime"]


@pytest.mark.slow
@pytest.mark.timeout(3500)
def test_torchvisions_resnet18_with_the_shared_weights(shared: Path, tmp_path: Path) -> None:
    weights = ("--weights", str(shared / "models" / "cifar10-resnet18.safetensors"))
    data = ("--data", str(shared / "data" / "cifar10"), "--preprocess", "cifar10")
    for row in fp32_of(study(tmp_path, "torchvision:resnet18", *weights, *data, "--recipes", "fp32")):
        assert row["top1"] == pytest.approx(0.8688, abs=0.0003), row["runtime"]
