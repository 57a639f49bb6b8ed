"""Operators whose integer form some runtime computed wrongly or refused: within half a step of float in every one.

The whole grid of variants is in `test_operator_grid.py`.
"""

from pathlib import Path

import numpy as np
import pytest

from tests.runtime.networks import Array, node
from tests.runtime.variants import RUNTIMES, Variant, make

PADS: dict[str, Array] = {"p": np.array([0, 1, 0, 0, 0, 2, 0, 0]), "crop": np.array([0, 0, -1, 0, 0, 0, -2, -1])}
KERNEL: dict[str, Array] = {"w": (np.random.default_rng(0).integers(-7, 8, (3, 4, 3, 3)) / 8).astype(np.float32)}
KERNEL["w"][0, :, 0, 0] = 7 / 8

CASES = {
    # OpenVINO took the zeros beside the channels for codes of 0, and not of the zero point.
    "channels padded with zeros": Variant("", [node("Pad", "x p", "v")], {"p": PADS["p"]}),
    # The reference could not cut.
    "a crop": Variant("", [node("Pad", "x p", "v")], {"p": PADS["crop"]}),
    # OpenVINO averages few channels over one axis wrongly.
    "an average over one axis": Variant("", [node("GlobalAveragePool", "x", "v")], x=(3, 7)),
    # OpenVINO puts the implied padding at the other end.
    "output_shape": Variant(
        "", [node("ConvTranspose", "x w", "v", strides=[2, 2], output_shape=[8, 9])], KERNEL, x=(3, 4, 4)
    ),
    # OpenVINO could not read it.
    "auto_pad": Variant(
        "", [node("ConvTranspose", "x w", "v", strides=[2, 2], auto_pad="SAME_UPPER")], KERNEL, x=(3, 4, 4)
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_operator(case: str, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    made = make(CASES[case], tmp_path)
    for runtime in ("reference", "onnxruntime", "openvino", "openvino-ir"):
        assert made.error(RUNTIMES[runtime](made, tmp_path)) < 0.51, runtime
