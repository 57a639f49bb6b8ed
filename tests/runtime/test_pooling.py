"""Poolings at the border: what counts into a mean, and where the last window ends, is the same in every runtime."""

from pathlib import Path
from typing import Any

import pytest

from tests.runtime.networks import node
from tests.runtime.variants import RUNTIMES, Variant, make

CASES: dict[str, dict[str, Any]] = {
    "ceil": {"ceil_mode": 1, "count_include_pad": 1},
    "ceil and pads": {"ceil_mode": 1, "count_include_pad": 1, "pads": [1, 1, 1, 1]},
    "ceil and uneven pads": {"ceil_mode": 1, "count_include_pad": 1, "pads": [0, 1, 1, 0]},
    "pads that count": {"count_include_pad": 1, "pads": [1, 1, 1, 1]},
    "pads that do not count": {"ceil_mode": 1, "pads": [1, 1, 1, 1]},
}


def variant(op_type: str, kernel: int = 3, x: tuple[int, ...] = (2, 8, 7), **attributes: Any) -> Variant:
    pool = node(op_type, "x", "v", kernel_shape=[kernel] * 2, strides=[2, 2], **attributes)
    return Variant("pool", [pool], x=x)


@pytest.mark.parametrize("case", CASES)
def test_averages(case: str, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    made = make(variant("AveragePool", **CASES[case]), tmp_path)
    for runtime in ("reference", "onnxruntime", "openvino", "openvino-ir"):
        assert made.error(RUNTIMES[runtime](made, tmp_path)) < 0.51, runtime


@pytest.mark.parametrize("op_type", ["AveragePool", "MaxPool"])
def test_a_window_that_would_begin_behind_the_picture_is_dropped(op_type: str, tmp_path: Path) -> None:
    """ONNX's shape inference before operator set 22 counts it, and OpenVINO's MaxPool keeps it."""
    pytest.importorskip("openvino")
    made = make(variant(op_type, kernel=2, x=(2, 7, 7), ceil_mode=1, pads=[1] * 4), tmp_path)
    assert made.expected.shape[1] == 2 * 4 * 4
    for runtime in ("reference", "onnxruntime", "openvino", "openvino-ir"):
        assert made.error(RUNTIMES[runtime](made, tmp_path)) < 0.51, runtime


def test_an_average_that_leaves_its_padding_out_becomes_a_litert_file(tmp_path: Path) -> None:
    """litert-torch writes a file with a second graph for torch's own layer."""
    pytest.importorskip("litert_torch")
    made = make(variant("AveragePool", **CASES["pads that do not count"]), tmp_path)
    assert made.error(RUNTIMES["litert"](made, tmp_path)) < 0.51
