"""Pooling, sampling and resizing of images."""

from typing import Any

import numpy as np

from tests.runtime.cases.case import Case, Nodes, one
from tests.runtime.importing import floats, ints, node


def windows() -> list[Case]:
    """Pooling in all its variants, and what samples images."""
    kernel: dict[str, Any] = {"kernel_shape": [3, 2]}
    variants: list[dict[str, Any]] = [
        {},
        {"strides": [2, 2]},
        {"strides": [2, 2], "ceil_mode": 1},
        {"strides": [2, 3], "ceil_mode": 1, "pads": [1, 1, 1, 1]},
        {"strides": [2, 2], "pads": [1, 0, 0, 1]},
        {"strides": [3, 2], "pads": [2, 1, 1, 0], "ceil_mode": 1},
        {"pads": [2, 1, 2, 1]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER"},
    ]
    cases = []
    for variant in variants:
        cases.append(one("MaxPool", **kernel, **variant, shape=(3, 8, 9), opset=22))
        for include in (0, 1):
            cases.append(one("AveragePool", **kernel, **variant, count_include_pad=include, shape=(3, 8, 9), opset=19))
        if "auto_pad" not in variant:
            cases.append(one("LpPool", **kernel, **variant, p=3, shape=(3, 8, 9), opset=18))
    dilated: dict[str, Any] = {"kernel_shape": [2, 3], "dilations": [2, 2]}
    cases += [one("MaxPool", **dilated, pads=[1, 1, 1, 1], shape=(3, 8, 9))]
    cases += [
        one("AveragePool", **dilated, pads=[1, 1, 1, 1], count_include_pad=i, ceil_mode=c, strides=[2, 2],
            shape=(3, 8, 9), opset=22)
        for i in (0, 1) for c in (0, 1)
    ]  # fmt: skip
    cases += [one("AveragePool", kernel_shape=[3], pads=[1, 0], shape=(3, 8)), one("LpPool", **kernel, opset=13)]
    cases += [one("LpPool", **dilated, shape=(3, 8, 9), opset=22), one("LpPool", kernel_shape=[3], shape=(3, 8))]
    cases += [one("MaxPool", kernel_shape=[2, 2, 2], shape=(2, 4, 5, 4))]
    for op_type in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"):
        asked = 20 if op_type == "GlobalLpPool" else None
        cases += [one(op_type, opset=13), one(op_type, opset=22, shape=(3, 4, 3, 5), asked=asked)]
    cases += [one("GlobalLpPool", p=p, opset=22, asked=20) for p in (1, 3)]
    pool: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
    for opset in (13, 22):
        nodes: Nodes = (node("MaxPool", "x", "p i", **pool), node("Relu", "p", "q"), node("MaxUnpool", "q i", **pool))
        cases.append(Case(f"MaxUnpool-{opset}", nodes, shape=(3, 6, 8), opset=opset))
    nodes = (node("MaxPool", "x", "y i", **pool, pads=[1, 0, 1, 0]), node("Cast", "i", "z", to=1))
    cases.append(Case("MaxPool with places", nodes, outputs=("y", "z"), shape=(3, 6, 8)))
    grid = np.random.default_rng(3).uniform(-1.3, 1.3, (1, 4, 3, 2)).astype(np.float32)
    flow: Nodes = (node("Shape", "x", "n", end=1), node("Concat", "n rest", "s", axis=0), node("Expand", "c s", "g"))
    for opset, names in ((16, ("bilinear", "nearest", "bicubic")), (20, ("linear", "nearest", "cubic"))):
        for mode in names:
            for padding in ("zeros", "border", "reflection"):
                for align in (0, 1):
                    sample = node("GridSample", "x g", mode=mode, padding_mode=padding, align_corners=align)
                    cases.append(
                        Case(f"GridSample-{opset} {mode} {padding} {align}", (*flow, sample),
                             {"c": grid, "rest": ints(4, 3, 2)}, opset=opset)
                    )  # fmt: skip
    for align in (0, 1):
        theta: Nodes = (node("Reshape", "x to", "t"), node("AffineGrid", "t s", "y", align_corners=align))
        nodes = (node("Shape", "x", "n", end=1), node("Concat", "n rest", "s", axis=0), *theta)
        constants = {"to": ints(-1, 2, 3), "rest": ints(3, 4, 5)}
        cases.append(Case(f"AffineGrid {align}", nodes, constants, shape=(6,), opset=20))
    columns = {"image": ints(5, 6), "block": ints(2, 3)}
    cases.append(one("Col2Im", columns, shape=(12, 16), opset=18))
    cases.append(one("Col2Im", columns, shape=(12, 9), strides=[2, 2], pads=[1, 0, 0, 1], opset=18))
    cases.append(one("Col2Im", columns, shape=(12, 8), dilations=[1, 2], opset=18))
    offset: Nodes = (node("Conv", "x wo", "o"), node("Conv", "x wm", "m"))
    weights = {"w": floats(4, 2, 2, 2), "wo": floats(16, 4, 2, 2), "wm": floats(8, 4, 2, 2), "b": floats(4)}
    deform = node("DeformConv", "x w o b m", group=2, offset_group=2)
    cases.append(Case("DeformConv-19", (*offset, deform), weights, shape=(4, 5, 6), opset=19, high=1, low=-1))
    strided: dict[str, Any] = {"pads": [1, 1, 0, 0], "strides": [2, 2], "dilations": [2, 1]}
    nodes = (node("Conv", "x wo", "o", **strided), node("DeformConv", "x w o", **strided))
    weights = {"w": floats(5, 4, 2, 2), "wo": floats(8, 4, 2, 2)}
    cases.append(Case("DeformConv-22", nodes, weights, shape=(4, 6, 6), opset=22, high=1, low=-1))
    return cases


def resizes(modes: tuple[str, ...] = ("nearest", "linear", "cubic")) -> list[Case]:
    """Resize over its modes, transformations, scales and sizes."""
    up, down, odd = (1.0, 1.0, 2.0, 2.0), (1.0, 1.0, 0.6, 0.5), (1.0, 1.0, 1.4, 2.3)
    placings = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric")
    cases = []
    for mode in modes:
        for placing in placings:
            opset = 19 if placing == "half_pixel_symmetric" else 13
            exact = mode == "nearest" and placing == "half_pixel_symmetric"  # else its middle is a tie of float noise
            for scales in (up,) if exact else (up, down, odd):
                options: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": placing, "opset": opset}
                constants = {"scales": np.array(scales, np.float32)}
                if mode == "nearest":
                    for rounding in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"):
                        cases.append(one("Resize", constants, inputs="x - scales", nearest_mode=rounding, **options))
                else:
                    cases.append(one("Resize", constants, inputs="x - scales", **options))
    for mode in modes:
        for opset in (13, 18):
            cases.append(_resized_to((4, 9), mode, opset))
            cases.append(_resized_to((1, 7), mode, opset, coordinate_transformation_mode="pytorch_half_pixel"))
        for policy in ("not_larger", "not_smaller"):
            sizes = {"sizes": ints(9, 8)}
            cases.append(
                one("Resize", sizes, inputs="x - - sizes", axes=[2, 3], keep_aspect_ratio_policy=policy, mode=mode,
                    opset=18)
            )  # fmt: skip
        cases.append(one("Resize", {"scales": np.array([2.0, 0.5], np.float32)}, inputs="x - scales", axes=[3, 1],
                         mode=mode, opset=19, shape=(4, 3, 5)))  # fmt: skip
        crop = {"roi": np.array([0, 0, 0.1, -0.2, 1, 1, 0.8, 1.2], np.float32), "scales": np.array(up, np.float32)}
        cases.append(one("Resize", crop, mode=mode, coordinate_transformation_mode="tf_crop_and_resize",
                         extrapolation_value=0.3))  # fmt: skip
        cases.append(one("Resize", {"scales": np.array([1, 1, 1.7], np.float32)}, inputs="x - scales", mode=mode,
                         coordinate_transformation_mode="asymmetric", shape=(3, 8)))  # fmt: skip
    if "cubic" in modes:
        for scales in (up, down, odd):
            constants = {"scales": np.array(scales, np.float32)}
            cases.append(one("Resize", constants, inputs="x - scales", mode="cubic", cubic_coeff_a=-0.5))
            cases.append(one("Resize", constants, inputs="x - scales", mode="cubic", exclude_outside=1))
    for mode in set(modes) & {"linear", "cubic"}:
        for scales in (up, down):
            constants = {"scales": np.array(scales, np.float32)}
            cases.append(
                one("Resize", constants, inputs="x - scales", mode=mode, antialias=1, opset=18, shape=(3, 9, 8))
            )
    return cases


def _resized_to(size: tuple[int, int], mode: str, opset: int, **attributes: Any) -> Case:
    nodes: Nodes = (
        node("Shape", "x", "shape"),
        node("Slice", "shape zero two", "front"),
        node("Concat", "front wanted", "sizes", axis=0),
        node("Resize", "x - - sizes", mode=mode, **attributes),
    )
    constants = {"zero": ints(0), "two": ints(2), "wanted": ints(*size)}
    return Case(f"Resize-{opset} {mode} to {size} {attributes}", nodes, constants, opset=opset)
