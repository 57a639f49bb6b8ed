"""Resize, by one of three means.

torch's `interpolate` is used where it computes the same. Otherwise, mode "nearest" picks entries by index, and every
other mode multiplies each axis by a matrix of weights.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.nn import functional

from lowbit.reference.floats.resize import Filter, ResizedAxis, fitted, nearest, outside, places, scaled_size, weights
from lowbit.torchgraph.builder import Builder, Handler
from lowbit.torchgraph.values import ImportedOp, Value


def resize(b: Builder, op: ImportedOp) -> Value:
    """Resize, by constant scales or to constant sizes. Raises UnsupportedError where the batch would be resized."""
    x = op.tensor(0)
    axes = [axis for axis in _axes(b, op, x) if not axis.idle]
    mode, placing = _mode(op), op.attribute("coordinate_transformation_mode", "half_pixel")
    if mode != "nearest" and _torch_does(b, op, x, axes, mode, placing):
        torch_mode = {"linear": "bilinear", "cubic": "bicubic"}[mode]
        sizes = b.fixed_shape(x, 2)
        for axis in axes:
            sizes[axis.number - 2] = axis.new
        align = placing == "align_corners"
        return b.call(functional.interpolate, x, size=sizes, mode=torch_mode, align_corners=align)
    by = Filter(
        mode,
        op.attribute("nearest_mode", "round_prefer_floor"),
        op.attribute("cubic_coeff_a", -0.75),
        bool(op.attribute("exclude_outside", 0)),
        bool(op.attribute("antialias", 0)),
    )
    y = x
    for axis in axes:
        at = places(axis, placing)
        if mode == "nearest":
            indices = b.buffer(f"indices{axis.number}", nearest(at, axis.old, by.nearest))
            y = b.call(torch.index_select, y, axis.number, indices)
        else:
            matrix = b.buffer(f"weights{axis.number}", weights(axis, at, by))
            last = b.call(torch.movedim, y, axis.number, -1)
            y = b.call(torch.movedim, b.call(functional.linear, last, matrix), -1, axis.number)
    if placing == "tf_crop_and_resize":
        y = _fill_outside(b, op, y, axes)
    return y


def _mode(op: ImportedOp) -> str:
    mode: str = op.attribute("mode", "nearest")
    if mode not in ("nearest", "linear", "cubic"):
        raise op.unsupported(f"its mode is {mode!r}; expected nearest, linear or cubic")
    return mode


def _torch_does(b: Builder, op: ImportedOp, x: fx.Node, axes: list[ResizedAxis], mode: str, placing: str) -> bool:
    """Whether `interpolate` computes the same as ONNX.

    It does for the two spatial axes of images, with positions and coefficients that torch has, where an axis's scale is
    the quotient of its sizes.
    """
    if b.rank(x) != 4 or any(axis.number < 2 for axis in axes) or op.attribute("antialias", 0):
        return False
    if placing not in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        return False
    if placing == "pytorch_half_pixel" and any(axis.new == 1 for axis in axes):
        return False
    if mode == "cubic" and (op.attribute("cubic_coeff_a", -0.75) != -0.75 or op.attribute("exclude_outside", 0)):
        return False
    return all(math.isclose(axis.new / axis.old, axis.scale, rel_tol=1e-6) for axis in axes)


def _axes(b: Builder, op: ImportedOp, x: fx.Node) -> list[ResizedAxis]:
    """The axes other than the batch, from the scales or the sizes that the node gives for all axes or for some."""
    rank = b.rank(x)
    chosen = [axis % rank for axis in op.attribute("axes", range(rank))]
    stated: list[Any] = op.sizes(3) if op.get(3) is not None else list(op.constant(2).array.astype(np.float32))
    crops, batch = _crops(op, chosen), b.shape(x)[0]
    if 0 in chosen:
        at = chosen.index(0)
        if stated[at] is not batch and (op.get(3) is not None or stated[at] != 1):
            raise op.unsupported("it resizes the batch")
        chosen, stated, crops = ([*some[:at], *some[at + 1 :]] for some in (chosen, stated, crops))
    if any(isinstance(entry, fx.Node) for entry in stated):
        raise op.unsupported("it resizes to a size that depends on the batch")
    old = [b.fixed_shape(x, axis)[0] for axis in chosen]
    if op.get(3) is not None:
        new, scales = fitted(old, stated, op.attribute("keep_aspect_ratio_policy", "stretch"))
    else:
        scales = [float(scale) for scale in stated]
        new = [scaled_size(size, scale) for size, scale in zip(old, scales, strict=True)]
    return [ResizedAxis(*each) for each in zip(chosen, old, new, scales, crops, strict=True)]


def _crops(op: ImportedOp, chosen: list[int]) -> list[tuple[float, float]]:
    """The part (begin, end) of each axis that tf_crop_and_resize takes, as shares of its size; (0, 1) otherwise."""
    if op.attribute("coordinate_transformation_mode", "half_pixel") != "tf_crop_and_resize" or op.get(1) is None:
        return [(0.0, 1.0)] * len(chosen)
    flat = op.constant(1).array.astype(np.float32)
    return [(float(flat[i]), float(flat[len(chosen) + i])) for i in range(len(chosen))]


def _fill_outside(b: Builder, op: ImportedOp, y: fx.Node, axes: list[ResizedAxis]) -> fx.Node:
    """y with the extrapolation value wherever a crop reaches beyond the image."""
    beyond = np.zeros([1] * b.rank(y), bool)
    for axis in axes:
        beyond = beyond | outside(axis, b.rank(y))
    if not beyond.any():
        return y
    return b.call(torch.where, b.buffer("outside", beyond), op.attribute("extrapolation_value", 0.0), y)


OPERATORS: dict[str, Handler] = {"Resize": resize}
