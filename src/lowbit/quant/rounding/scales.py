"""Scales and zero points of a layer's weights, by search; and what rounding gives back."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lowbit.core.errors import BadInput
from lowbit.quant.formats import Codes, Floats, Format, spread

Doubles = npt.NDArray[np.float64]

_COARSE = np.arange(0.20, 1.21, 0.04)  # shares of the scale at which nothing saturates
_FINE = np.arange(-0.03, 0.031, 0.01)
_SHIFTS = np.arange(-3, 4) / 64  # of the zero point, as shares of the codes' range
_LEAST = 16 * float(np.finfo(np.float32).tiny)  # of a scale: float32 must hold its shares in full
_SAMPLED = 4096  # rows that a search looks at


@dataclass(frozen=True, slots=True, eq=False)
class Rounded:
    """A layer's weights as integers: real = scale · (code − zero_point), code − zero_point within int8.

    codes int32 [G, O, K] in the format's range; scale float32 > 0 and zero_point int32, both [G, O, S], S = 1, or for
    granularity `group` K / group_size; bias float64 [G, O]. target float32 [G, O, K]: the real numbers that were
    rounded. ridge: λ as a multiple of the covariance's mean diagonal.
    """

    codes: Codes = field(repr=False)
    scale: Floats = field(repr=False)
    zero_point: Codes = field(repr=False)
    bias: Doubles = field(repr=False)
    target: Floats = field(repr=False)
    ridge: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class WeightGrid:
    """Where codes may lie: scale (values of float32) and zero [G, S, O], each for K / S neighbouring rows of K."""

    format: Format
    scale: Doubles = field(repr=False)
    zero: Doubles = field(repr=False)

    def of_rows(self, rows: int) -> tuple[Doubles, Doubles]:
        """Scale and zero of each of all K rows: [G, K, O], read-only."""
        groups, _, outputs = self.scale.shape
        shape = (groups, rows, outputs)
        return np.broadcast_to(spread(self.scale, shape), shape), np.broadcast_to(spread(self.zero, shape), shape)

    def rounded(
        self,
        codes: npt.NDArray[np.number],
        bias: Doubles,
        target: npt.NDArray[np.floating],
        ridge: float | None = None,
    ) -> Rounded:
        """`codes` [G, K, O] of `target` [G, K, O], and `bias` [G, O], as the engine wants them."""
        scale = np.ascontiguousarray(self.scale.swapaxes(1, 2), np.float32)
        zero_point, turned = (np.ascontiguousarray(each.swapaxes(1, 2), np.int32) for each in (self.zero, codes))
        return Rounded(turned, scale, zero_point, bias, np.ascontiguousarray(target.swapaxes(1, 2), np.float32), ridge)


def nearest_codes(weight: Doubles, scale: Doubles, zero: Doubles, kind: Format) -> Doubles:
    """Half to even, saturating; the arguments broadcast."""
    codes = np.rint(weight / scale)
    codes += zero
    return np.clip(codes, kind.lowest, kind.highest, out=codes)


def search(weight: npt.NDArray[np.floating], kind: Format, importance: Doubles | None = None) -> WeightGrid:
    """The grid with the least squared error of rounding `weight` [G, K, O] to nearest, by trying.

    Scales from 0.20 to 1.20 of the one at which nothing saturates, in steps of 0.01 around the best; where the format
    is asymmetric, with every zero point (from 4 bits on: with nine around the one of the weights' range, then nearer).
    importance [G, K]: weights of the rows' errors. Of more than 4,096 rows every other, third … is looked at.
    """
    check(kind, weight.shape[1])
    groups, rows, outputs = weight.shape
    count = rows // kind.group_size if kind.group_size else 1
    stride = -(-rows // (count * _SAMPLED))
    parts = np.asarray(weight.reshape(groups, count, rows // count, outputs), np.float32)
    some = parts[:, :, ::stride]
    share = None if importance is None else importance.reshape(groups, count, -1, 1)[:, :, ::stride].astype(np.float32)
    tensor = kind.granularity == "tensor"
    axes = (0, 1, 2, 3) if tensor else (2,)
    lo = np.minimum(parts.min(axis=axes, keepdims=True), 0).astype(np.float64)
    hi = np.maximum(parts.max(axis=axes, keepdims=True), 0).astype(np.float64)

    def error(scale: Doubles, zero: Doubles) -> Doubles:
        s, z = scale.astype(np.float32), zero.astype(np.float32)
        off = np.rint(some / s)
        np.clip(off, kind.lowest - z, kind.highest - z, out=off)
        off *= s
        off -= some
        np.square(off, out=off)
        if share is not None:
            off *= share
        total: Doubles = off.sum(axis=axes, keepdims=True, dtype=np.float64)
        return total

    best = _Best(np.full(lo.shape, np.inf), np.ones(lo.shape), np.zeros(lo.shape), np.ones(lo.shape))
    for zero in _zeros(kind, lo, hi):
        upper, lower = kind.highest - zero, kind.lowest - zero  # at the end of a side, the other side decides
        full = np.maximum(hi / np.maximum(upper, 1) * (upper > 0), lo / np.minimum(lower, -1) * (lower < 0))
        full = np.where(full > _LEAST, full, 1.0)  # as good as any where all weights round to zero
        for ratio in _COARSE:
            best.offer(error, full * ratio, zero, full)
    scale, zero, full = best.scale, best.zero, best.full
    for shift in sorted(set(np.rint(_SHIFTS * (kind.highest - kind.lowest)))) if not kind.symmetric else (0.0,):
        moved = np.clip(zero + shift, kind.lowest, kind.highest)
        for step in _FINE:
            best.offer(error, scale + step * full, moved, full)
    dead = np.maximum(hi, -lo) <= _LEAST
    shape = (groups, count, outputs)
    found = np.where(dead, 1.0, best.scale).astype(np.float32).astype(np.float64)
    return WeightGrid(
        kind,
        np.ascontiguousarray(np.broadcast_to(found[:, :, 0], shape)),
        np.ascontiguousarray(np.broadcast_to(best.zero[:, :, 0], shape)),
    )


def check(kind: Format, rows: int) -> None:
    """BadInput where weights of `rows` rows cannot have this format."""
    if kind.bits > 8 or (kind.bits == 8 and not kind.symmetric):
        raise BadInput(
            f"weights of {kind.bits} bits, symmetric={kind.symmetric}: code − zero point must fit int8; "
            "use 8 bits symmetric, or fewer"
        )
    if kind.group_size and rows % kind.group_size:
        raise BadInput(f"group size {kind.group_size}: expected a divisor of the layer's {rows} rows")


@dataclass(slots=True, eq=False)
class _Best:
    """The best of what was tried, element by element. full: the scale at which nothing saturates."""

    error: Doubles
    scale: Doubles
    zero: Doubles
    full: Doubles

    def offer(
        self, measure: Callable[[Doubles, Doubles], Doubles], scale: Doubles, zero: Doubles, full: Doubles
    ) -> None:
        error = measure(scale, zero)
        better = error < self.error
        self.error = np.where(better, error, self.error)
        self.scale = np.where(better, scale, self.scale)
        self.zero = np.where(better, zero, self.zero)
        self.full = np.where(better, full, self.full)


def _zeros(kind: Format, lo: Doubles, hi: Doubles) -> list[Doubles]:
    """Zero points worth trying, each in the shape of lo and hi."""
    lowest, highest = kind.lowest, kind.highest
    levels = highest - lowest
    if kind.symmetric:
        return [np.full(lo.shape, lowest + (levels + 1) // 2, np.float64)]
    if kind.bits <= 3:
        return [np.full(lo.shape, zero, np.float64) for zero in range(lowest, highest + 1)]
    middle = lowest - lo / np.where(hi > lo, hi - lo, 1.0) * levels
    return [np.clip(np.rint(middle + step * levels / 16), lowest, highest) for step in range(-4, 5)]
