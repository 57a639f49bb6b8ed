"""Resize: by TensorFlow's own operator where it computes the same, otherwise axis by axis.

Mode "nearest" then picks entries by index, and every other mode multiplies each axis by a matrix of weights.
"""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from lowbit.kerasgraph.builder import Builder, Handler
from lowbit.kerasgraph.operators.shapes import picked
from lowbit.kerasgraph.values import Constant, ImportedOp, Tensor, Value, channels_last
from lowbit.reference.floats.resize import Filter, ResizedAxis, fitted, nearest, outside, places, scaled_size, weights


def resize(b: Builder, op: ImportedOp) -> Value:
    """Resize, by constant scales or to constant sizes. Raises UnsupportedError where the batch would be resized."""
    x = op.tensor(0)
    axes = [axis for axis in _axes(op, x) if not axis.idle]
    mode, placing = op.attribute("mode", "nearest"), op.attribute("coordinate_transformation_mode", "half_pixel")
    if mode not in ("nearest", "linear", "cubic"):
        raise op.unsupported(f"its mode is {mode!r}; expected nearest, linear or cubic")
    by = Filter(
        mode,
        op.attribute("nearest_mode", "round_prefer_floor"),
        op.attribute("cubic_coeff_a", -0.75),
        bool(op.attribute("exclude_outside", 0)),
        bool(op.attribute("antialias", 0)),
    )
    if (whole := _by_tensorflow(b, x, axes, by, placing)) is not None:
        return whole
    for axis in axes:
        at, place = places(axis, placing), x.axes[axis.number]
        if mode == "nearest":
            x = picked(b, x, place, nearest(at, axis.old, by.nearest))
        else:
            x = _weighted(b, x, place, weights(axis, at, by))
    return _fill_outside(b, op, x, axes) if placing == "tf_crop_and_resize" else x


def _weighted(b: Builder, x: Tensor, place: int, matrix: Any) -> Tensor:
    """x with one axis multiplied by a matrix [new, old]."""
    order = [*(i for i in range(x.rank) if i != place), place]
    back = [order.index(i) for i in range(x.rank)]

    def run(t: Any, m: Any) -> Any:
        return tf.transpose(tf.matmul(tf.transpose(t, order), m), back)

    return Tensor(b.call(run, x.value, np.ascontiguousarray(matrix.T)), x.axes)


def _by_tensorflow(b: Builder, x: Tensor, axes: list[ResizedAxis], by: Filter, placing: str) -> Tensor | None:
    """The two spatial axes of images resized by one operator; None where TensorFlow's would compute another thing."""
    if x.rank != 4 or any(axis.number < 2 for axis in axes) or by.antialias or by.exclude_outside:
        return None
    if not x.is_float or not all(math.isclose(axis.new / axis.old, axis.scale, rel_tol=1e-6) for axis in axes):
        return None
    sizes = list(x.shape[2:])
    for axis in axes:
        sizes[axis.number - 2] = axis.new
    how = {"align_corners": placing == "align_corners", "half_pixel_centers": placing == "half_pixel"}
    if by.mode == "linear" and placing in ("half_pixel", "align_corners", "asymmetric"):
        function = tf.raw_ops.ResizeBilinear
    elif by.mode == "nearest" and placing in ("half_pixel", "asymmetric") and all(_same(a, by, placing) for a in axes):
        function = tf.raw_ops.ResizeNearestNeighbor
    else:
        return None
    y = b.call(lambda t: function(images=t, size=tf.constant(sizes, tf.int32), **how), b.last(x))
    return Tensor(y, channels_last(4), nonnegative=x.nonnegative)


def _same(axis: ResizedAxis, by: Filter, placing: str) -> bool:
    """Whether TensorFlow picks the same entries along this axis: it always rounds down."""
    scale = np.float32(axis.old) / np.float32(axis.new)
    at = (np.arange(axis.new, dtype=np.float32) + np.float32(0.5 if placing == "half_pixel" else 0)) * scale
    theirs = np.clip(np.floor(at), 0, axis.old - 1)
    return bool((theirs == nearest(places(axis, placing), axis.old, by.nearest)).all())


def _axes(op: ImportedOp, x: Tensor) -> list[ResizedAxis]:
    """The axes other than the batch, from the scales or the sizes that the node gives for all axes or for some."""
    chosen = [axis % x.rank for axis in op.attribute("axes", range(x.rank))]
    by_size = op.get(3) is not None and op.constant(3).size > 0
    stated = list(op.constant(3) if by_size else op.constant(2).astype(np.float32))
    crops = _crops(op, chosen)
    if 0 in chosen:
        at = chosen.index(0)
        if stated[at] != (x.shape[0] if by_size else 1):
            raise op.unsupported("it resizes the batch")
        chosen, stated, crops = ([*some[:at], *some[at + 1 :]] for some in (chosen, stated, crops))
    old = [x.shape[axis] for axis in chosen]
    if by_size:
        new, scales = fitted(old, [int(n) for n in stated], op.attribute("keep_aspect_ratio_policy", "stretch"))
    else:
        scales = [float(scale) for scale in stated]
        new = [scaled_size(size, scale) for size, scale in zip(old, scales, strict=True)]
    return [ResizedAxis(*each) for each in zip(chosen, old, new, scales, crops, strict=True)]


def _crops(op: ImportedOp, chosen: list[int]) -> list[tuple[float, float]]:
    """The part (begin, end) of each axis that tf_crop_and_resize takes, as shares of its size; (0, 1) otherwise."""
    if op.attribute("coordinate_transformation_mode", "half_pixel") != "tf_crop_and_resize" or op.get(1) is None:
        return [(0.0, 1.0)] * len(chosen)
    flat = op.constant(1).astype(np.float32)
    return [(float(flat[i]), float(flat[len(chosen) + i])) for i in range(len(chosen))]


def _fill_outside(b: Builder, op: ImportedOp, y: Tensor, axes: list[ResizedAxis]) -> Tensor:
    """y with the extrapolation value wherever a crop reaches beyond the image."""
    beyond = np.zeros([1] * y.rank, bool)
    for axis in axes:
        beyond = beyond | outside(axis, y.rank)
    if not beyond.any():
        return y
    value = np.float32(op.attribute("extrapolation_value", 0.0))
    return b.pairs(lambda t, out: tf.where(out, value, t), y, Constant(op.name, beyond))


OPERATORS: dict[str, Handler] = {"Resize": resize}
