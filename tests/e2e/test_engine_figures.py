"""What the engine must reach on trained networks: its files, run by stock runtimes, on every image. Slow."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import lowbit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3500)]
SLACK = 0.003  # other processors round differently

RESNET20 = {"w8a8": 0.915, "w6a8": 0.914, "w4a8": 0.913, "w4a4": 0.907, "w3a3": 0.888, "w2a4": 0.892, "w2a8": 0.898}
RESNET18 = {"w8a8": 0.003, "w6a8": 0.003, "w4a8": 0.005, "w4a4": 0.015}  # points lost against float, at most


def measured(folder: Path, *words: str) -> list[dict[str, Any]]:
    done = lowbit(
        "compare", *words, "-o", "study", "--calibration-samples", "1024", "--min-duration", "0.1", "--rounds", "1",
        cwd=folder, time_limit_s=3400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads((folder / "study" / "results.json").read_text())
    return [row for row in rows if row["status"] == "measured"]


def ours(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["toolchain"] == "lowbit" and row["intended"]]


def test_resnet20(shared: Path, tmp_path: Path) -> None:
    data = shared / "data" / "cifar10"
    recipes = ",".join([*RESNET20, "w7a8", "w5a8", "w3a8", "w8a8-tflite"])
    rows = ours(measured(
        tmp_path, str(shared / "models" / "cifar10-resnet20.onnx"), "--data", str(data),
        "--preprocess", "imagenet,resize=none,crop=none", "--toolchains", "lowbit", "--recipes", recipes,
    ))  # fmt: skip
    assert len(rows) == 2 * 10 + 1
    for row in rows:
        assert row["int8_share"] == 1.0, row
        assert row["top1"] >= RESNET20.get(row["recipe"].removesuffix("-tflite"), 0.88) - SLACK, row


def test_mobilenetv2_beside_the_vendors(shared: Path, tmp_path: Path) -> None:
    data = shared / "data" / "imagenette"
    rows = measured(
        tmp_path, str(shared / "models" / "imagenet-mobilenetv2.onnx"), "--data", str(data),
        "--labels", str(data / "labels.json"), "--preprocess", "imagenet-tf,resize=none",
        "--toolchains", "lowbit,onnxruntime,nncf,litert", "--recipes", "w8a8,w6a8,w4a8,int8-static",
    )  # fmt: skip
    vendors = [row for row in rows if row["recipe"] == "int8-static" and row["intended"]]
    for row in ours(rows):
        assert row["int8_share"] == 1.0, row
        if row["recipe"] == "w8a8":
            assert row["top1"] >= 0.737 - SLACK
            assert row["agreement"] >= 0.95
            for vendor in vendors:
                assert row["top1"] >= vendor["top1"] - SLACK, vendor
                assert row["kl"] <= vendor["kl"], vendor
        if row["recipe"] == "w6a8":
            assert row["top1"] >= 0.732 - SLACK
        if row["recipe"] == "w4a8":
            assert row["agreement"] >= 0.84


def test_resnet18(shared: Path, tmp_path: Path) -> None:
    data, weights = shared / "data" / "cifar10", shared / "models" / "cifar10-resnet18.safetensors"
    rows = measured(
        tmp_path, "torchvision:resnet18", "--weights", str(weights), "--data", str(data), "--preprocess", "cifar10",
        "--toolchains", "lowbit,onnxruntime", "--recipes", ",".join(["fp32", "w2a8", *RESNET18]),
    )  # fmt: skip
    float_top1 = next(row["top1"] for row in rows if row["recipe"] == "fp32" and row["runtime"] == "onnxruntime")
    for row in ours(rows):
        assert row["int8_share"] == 1.0, row
        if row["recipe"] in RESNET18:
            assert row["top1"] >= float_top1 - RESNET18[row["recipe"]] - SLACK, row
    sizes = {row["recipe"]: row["size_bytes"] for row in ours(rows)}
    assert sizes["w4a8"] <= 5_900_000
    assert sizes["w2a8"] <= 3_200_000
