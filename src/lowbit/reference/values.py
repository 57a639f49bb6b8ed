"""The values of the integer-only interpreter, and how exact sums are requantized to codes.

| value   | real number it stands for         | made by                                                             |
|---------|-----------------------------------|---------------------------------------------------------------------|
| Codes   | scale · (code − zero_point)       | DequantizeLinear: nothing is computed                               |
| Sums    | scale · total, an exact int32     | products (eq. 4), Add, Mul, poolings                                |
| Lookup  | table[code]                       | a function of one tensor: 2^bits entries, as integer kernels do it  |
| arrays  | themselves                        | codes before DequantizeLinear, constants, operators left in float   |

Equations: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", https://arxiv.org/abs/1712.05877.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lowbit.core.errors import UnsupportedError
from lowbit.reference.products import Integers, Totals

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

Requantize = Callable[[Totals, Floats], Totals]  # (totals, ratios > 0 that broadcast to them) → round(totals · ratios)

_INT32 = np.iinfo(np.int32)
_WIDEST_TABLE = 16  # bits


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """array: 8, 16 or 32-bit codes. scale, zero_point: [] or, along `axis`, [C]."""

    array: Integers = field(repr=False)
    scale: Floats
    zero_point: Integers
    axis: int | None = None

    def centred(self) -> Integers:
        """Code − zero_point."""
        if not self.zero_point.any():
            return self.array
        return self.array.astype(np.int32) - along(self.zero_point.astype(np.int32), self.axis, self.array.ndim)

    def real(self) -> Floats:
        """The real numbers, rounded to float32."""
        return (self.centred().astype(np.float32) * along(self.scale, self.axis, self.array.ndim)).astype(np.float32)

    def sums(self) -> "Sums":
        """The same numbers as exact sums."""
        return Sums(self.centred().astype(np.int64), along(self.scale, self.axis, self.array.ndim))

    def with_array(self, array: Integers) -> "Codes":
        """Other codes with the same scale and zero point."""
        return Codes(array, self.scale, self.zero_point, self.axis)

    def table(self) -> "Lookup | None":
        """Every code's real number; None where codes have 32 bits or channels their own scales."""
        limits = np.iinfo(self.array.dtype)
        if limits.bits > _WIDEST_TABLE or self.axis is not None:
            return None
        every = np.arange(limits.min, limits.max + 1, dtype=np.int32).astype(self.array.dtype)
        return Lookup(self.array, self.with_array(every).real())


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """total: what an int32 accumulator holds, within int32; scale: broadcasts to it."""

    total: Totals = field(repr=False)
    scale: Floats = field(repr=False)

    def real(self) -> Floats:
        """The real numbers, rounded to float32."""
        return (self.total.astype(np.float32) * self.scale).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Lookup:
    """index: codes; table: float32, one real number for each code that the type of `index` has, in rising order."""

    index: Integers = field(repr=False)
    table: Floats = field(repr=False)

    def real(self) -> Floats:
        """The real numbers."""
        return self.of(self.table)

    def of(self, table: Array) -> Array:
        """What `table` holds for every code."""
        lowest = np.iinfo(self.index.dtype).min
        return np.asarray(np.take(table, self.index.astype(np.int32) - lowest if lowest else self.index))


Value = Codes | Sums | Lookup | Array


def along(parameter: Array, axis: int | None, rank: int) -> Array:
    """A scale or zero point, shaped to broadcast along `axis` of a tensor of that rank."""
    if axis is None:
        return parameter
    shape = [1] * rank
    shape[axis] = -1
    return parameter.reshape(shape)


def in_int32(total: Totals, node: str) -> Totals:
    """`total` as it came; raises UnsupportedError where an int32 accumulator would have overflowed."""
    low, high = (int(total.min()), int(total.max())) if total.size else (0, 0)
    if low < _INT32.min or high > _INT32.max:
        raise UnsupportedError(
            f"{node}: a sum reaches {low if low < _INT32.min else high}, beyond int32: every integer kernel would wrap",
            "fewer bits, a smaller bias or a wider activation range",
        )
    return total


def quantize(value: Value, scale: Floats, zero_point: Integers, axis: int | None, requantize: Requantize) -> Integers:
    """Codes of the type of `zero_point` for any value: rounded, shifted, saturated. NaN becomes the zero point."""
    limits = np.iinfo(zero_point.dtype)
    if isinstance(value, Lookup):
        return value.of(quantize(value.table, scale, zero_point, None, requantize))
    if isinstance(value, Codes):
        value = value.sums()
    rank = value.total.ndim if isinstance(value, Sums) else value.ndim
    step, origin = along(scale, axis, rank), along(zero_point.astype(np.int64), axis, rank)
    if isinstance(value, Sums):
        codes = requantize(value.total, (value.scale / step).astype(np.float32)) + origin
    else:
        codes = np.rint(np.nan_to_num(value / step, nan=0.0)) + origin
    return np.clip(codes, limits.min, limits.max).astype(zero_point.dtype)


def by_float(total: Totals, ratio: Floats) -> Totals:
    """Multiply in float32, round half to even: as ONNX Runtime; XNNPACK and OpenVINO differ by a step at most."""
    return np.rint(total.astype(np.float32) * ratio.astype(np.float32)).astype(np.int64)


def nudged(by: float) -> Requantize:
    """`by_float` of numbers that are moved by so many steps.

    A code between those of two small, opposite moves is a rounded tie. The mean of two by two codes is a tie a quarter
    of the time, and then the last bit of a kernel's arithmetic decides.
    """

    def requantize(total: Totals, ratio: Floats) -> Totals:
        return np.rint(total.astype(np.float64) * ratio + by).astype(np.int64)

    return requantize


def by_fixed_point(total: Totals, ratio: Floats) -> Totals:
    """Multiply by an int32 and shift right: eq. 5 and 6 as gemmlowp and TFLite's reference kernels round them.

    ratio = 2^(exponent − 31) · multiplier with 2^30 <= multiplier < 2^31. It rounds twice: the doubled high product to
    an integer, and what the shift leaves of it, ties away from zero. Where sums have few bits that is often off by one.
    """
    return _fixed_point(total, ratio, ties_up=False)


def by_fixed_point_ties_up(total: Totals, ratio: Floats) -> Totals:
    """The same with ties of the shift rounded up: ruy on x86, so LiteRT's own (4-bit) convolutions."""
    return _fixed_point(total, ratio, ties_up=True)


def _fixed_point(total: Totals, ratio: Floats, *, ties_up: bool) -> Totals:
    fraction, exponent = np.frexp(ratio.astype(np.float64))
    multiplier = np.rint(fraction * (1 << 31)).astype(np.int64)
    exponent = exponent.astype(np.int64) + (multiplier == 1 << 31)
    multiplier = np.where(multiplier == 1 << 31, 1 << 30, multiplier)
    multiplier = np.where(exponent < -31, 0, multiplier)  # whatever fits int32 rounds to zero
    shifted = np.clip(total << np.clip(exponent, 0, 31), _INT32.min, _INT32.max)
    return _shift_right(_high_product(shifted, multiplier), np.clip(-exponent, 0, 31), ties_up=ties_up)


def _high_product(a: Totals, b: Totals) -> Totals:
    """SaturatingRoundingDoublingHighMul for b > 0: a · b / 2^31, rounded to nearest, ties up."""
    product = a * b
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    return np.where(nudged >= 0, nudged >> 31, -(-nudged >> 31))  # division that truncates towards zero


def _shift_right(x: Totals, bits: Totals, *, ties_up: bool) -> Totals:
    """RoundingDivideByPOT: x / 2^bits, rounded to nearest, ties up or away from zero."""
    mask = (np.int64(1) << bits) - 1
    below_zero = 0 if ties_up else (x < 0).astype(np.int64)
    return (x >> bits) + ((x & mask) > (mask >> 1) + below_zero)
