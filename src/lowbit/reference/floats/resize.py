"""Resize: which places of an axis each new entry is made of, and with which weights.

All modes work axis by axis: a new entry is one old entry (nearest), or a sum of some, with the weights of a matrix
[new, old] (linear, cubic).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lowbit.reference.floats.rule import Array, FloatOp, Reals, given, needed

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ResizedAxis:
    """`old` entries become `new` ones. crop: the part of the axis that is resized, as shares of its length."""

    number: int
    old: int
    new: int
    scale: float
    crop: tuple[float, float] = (0.0, 1.0)

    @property
    def idle(self) -> bool:
        """Whether nothing happens along it."""
        return self.old == self.new and self.scale == 1 and self.crop == (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Filter:
    """The attributes that say how old entries are weighted."""

    mode: str  # nearest, linear or cubic
    nearest: str = "round_prefer_floor"
    coefficient: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False


def scaled_size(old: int, scale: float) -> int:
    """The new size, in single precision: 5 · 1.4 must be 7."""
    return math.floor(np.float32(old) * np.float32(scale))


def fitted(old: Sequence[int], sizes: Sequence[int], policy: str) -> tuple[list[int], list[float]]:
    """Sizes and scales by keep_aspect_ratio_policy: as stated, or the nearest sizes that have one common scale."""
    ratios = [new / size for new, size in zip(sizes, old, strict=True)]
    if policy == "stretch":
        return list(sizes), ratios
    scale = min(ratios) if policy == "not_larger" else max(ratios)
    return [math.floor(scale * size + 0.5) for size in old], [scale] * len(old)


def places(axis: ResizedAxis, placing: str) -> Floats:
    """Where each new entry lies on the old axis, in single precision as runtimes do it: it decides what a half is."""
    target, one, half = np.arange(axis.new, dtype=np.float32), np.float32(1), np.float32(0.5)
    scale, old = np.float32(axis.scale), np.float32(axis.old)
    if placing == "asymmetric":
        found = target / scale
    elif placing == "align_corners":
        found = target * (old - one) / np.float32(max(axis.new - 1, 1))
    elif placing == "pytorch_half_pixel" and axis.new == 1:
        found = np.zeros(1, np.float32)
    elif placing == "tf_crop_and_resize":
        begin, end = (np.float32(share) * (old - one) for share in axis.crop)
        step = (end - begin) / np.float32(max(axis.new - 1, 1))
        found = begin + target * step if axis.new > 1 else np.asarray([half * (begin + end)])
    elif placing == "half_pixel_symmetric":
        adjustment = np.float32(axis.new) / (scale * old)
        found = old / np.float32(2) * (one - adjustment) + (target + half) / scale - half
    else:
        found = (target + half) / scale - half
    return np.asarray(found, np.float32)


def nearest(at: Floats, old: int, rounding: str) -> npt.NDArray[np.int64]:
    """The one old index that each new one takes."""
    rounded = {
        "floor": np.floor(at),
        "ceil": np.ceil(at),
        "round_prefer_floor": np.ceil(at - np.float32(0.5)),
        "round_prefer_ceil": np.floor(at + np.float32(0.5)),
    }[rounding]
    indices: npt.NDArray[np.int64] = np.clip(rounded, 0, old - 1).astype(np.int64)
    return indices


def weights(axis: ResizedAxis, at: Floats, by: Filter) -> Floats:
    """How much of each old entry is in each new one: [new, old]; what lies outside counts to the entry at the end."""
    stretch = max(1.0, 1 / axis.scale) if by.antialias else 1.0
    reach = math.ceil((1 if by.mode == "linear" else 2) * stretch)
    taps = np.floor(at).astype(np.int64)[:, None] + np.arange(1 - reach, reach + 1)
    distance = np.abs(taps - at[:, None].astype(np.float64)) / stretch
    share = np.maximum(0.0, 1.0 - distance) if by.mode == "linear" else cubic(distance, by.coefficient)
    if by.exclude_outside:
        share = np.where((taps >= 0) & (taps < axis.old), share, 0.0)
    if by.exclude_outside or by.antialias:
        share = share / share.sum(axis=1)[:, None]
    matrix = np.zeros((axis.new, axis.old))
    np.add.at(matrix, (np.arange(axis.new)[:, None], np.clip(taps, 0, axis.old - 1)), share)
    return matrix.astype(np.float32)


def cubic(distance: Reals, a: float) -> Reals:
    """The cubic convolution kernel with the coefficient `a` (Keys 1981, eq. 4)."""
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


def outside(axis: ResizedAxis, rank: int) -> npt.NDArray[np.bool_]:
    """Which new entries a crop takes from beyond the old ones, shaped to broadcast."""
    at = places(axis, "tf_crop_and_resize")
    return ((at < 0) | (at > axis.old - 1)).reshape([-1 if i == axis.number else 1 for i in range(rank)])


def _resize(op: FloatOp, arrays: Sequence[Array | None]) -> list[Array]:
    x = needed(arrays, 0)
    placing = op.text("coordinate_transformation_mode", "half_pixel")
    by = Filter(
        op.text("mode", "nearest"),
        op.text("nearest_mode", "round_prefer_floor"),
        op.attributes.get("cubic_coeff_a", -0.75),
        bool(op.attributes.get("exclude_outside", 0)),
        bool(op.attributes.get("antialias", 0)),
    )
    axes = [axis for axis in _axes(op, arrays, placing) if not axis.idle]
    y = x if by.mode == "nearest" else x.astype(np.float32)
    for axis in axes:
        at = places(axis, placing)
        if by.mode == "nearest":
            y = np.take(y, nearest(at, axis.old, by.nearest), axis.number)
        else:
            y = np.moveaxis(np.moveaxis(y, axis.number, -1) @ weights(axis, at, by).T, -1, axis.number)
    if placing == "tf_crop_and_resize":
        fill = np.asarray(op.attributes.get("extrapolation_value", 0.0), y.dtype)
        for axis in axes:
            y = np.where(outside(axis, y.ndim), fill, y)
    return [y]


def _axes(op: FloatOp, arrays: Sequence[Array | None], placing: str) -> list[ResizedAxis]:
    x, roi, scales, sizes = needed(arrays, 0), given(arrays, 1), given(arrays, 2), given(arrays, 3)
    chosen = [axis % x.ndim for axis in op.attributes.get("axes") or range(x.ndim)]
    old = [x.shape[axis] for axis in chosen]
    if sizes is not None and sizes.size:
        new, ratios = fitted(old, [int(size) for size in sizes], op.text("keep_aspect_ratio_policy", "stretch"))
    else:
        assert scales is not None
        ratios = [float(scale) for scale in scales.astype(np.float32)]
        new = [scaled_size(size, scale) for size, scale in zip(old, ratios, strict=True)]
    count = len(chosen)
    crops = [(0.0, 1.0)] * count
    if placing == "tf_crop_and_resize" and roi is not None:
        crops = [(float(roi[i]), float(roi[count + i])) for i in range(count)]
    return [ResizedAxis(*each) for each in zip(chosen, old, new, ratios, crops, strict=True)]


RULES = {"Resize": _resize}
