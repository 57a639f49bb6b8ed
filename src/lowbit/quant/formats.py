"""Formats: how a real number becomes a small integer, at any width from 2 to 8 bits (activations also 16)."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from lowbit.core.errors import BadInput

Granularity = Literal["tensor", "channel", "group"]
Codes = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]

_WIDTHS = (2, 3, 4, 5, 6, 7, 8, 16)


@dataclass(frozen=True, slots=True)
class Format:
    """The integers that represent a tensor.

    - bits: n, the width of a code
    - signed: codes −2ⁿ⁻¹ … 2ⁿ⁻¹−1; otherwise 0 … 2ⁿ−1
    - symmetric: the zero point is 0 (signed) or 2ⁿ⁻¹ (unsigned); otherwise it may be any code. Signed symmetric codes
      of 8 bits are −127 … 127, as LiteRT's specification requires.
    - granularity: how many scales a tensor has
    - group_size: input rows that share one scale, for granularity `group`
    - reduced: codes of 8 bits are −64 … 63. Since 2 · 255 · 64 < 2¹⁵, kernels that add two products u8 × s8 in 16 bits
      do not saturate.
    """

    bits: int
    signed: bool = False
    symmetric: bool = False
    granularity: Granularity = "tensor"
    group_size: int | None = None
    reduced: bool = False

    def __post_init__(self) -> None:
        if self.bits not in _WIDTHS:
            raise BadInput(f"{self.bits} bits: expected 2, 3, 4, 5, 6, 7 or 8 (activations also 16)")
        if (self.granularity == "group") != (self.group_size is not None):
            raise BadInput(
                f"granularity {self.granularity!r} with group size {self.group_size}: expected a group size with "
                "'group', and none with 'tensor' or 'channel'"
            )
        if self.group_size is not None and self.group_size < 1:
            raise BadInput(f"group size {self.group_size}: expected 1 or more")
        if self.reduced and not (self.bits == 8 and self.signed and self.symmetric):
            raise BadInput(
                f"a reduced range with {self.bits} bits, signed={self.signed}, symmetric={self.symmetric}: expected it "
                "with 8 bits, signed and symmetric, only"
            )

    @property
    def lowest(self) -> int:
        """The smallest code."""
        if not self.signed:
            return 0
        if self.reduced:
            return -64
        return -127 if self.bits == 8 and self.symmetric else -(1 << (self.bits - 1))

    @property
    def highest(self) -> int:
        """The largest code."""
        if self.reduced:
            return 63
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    @property
    def farthest(self) -> int:
        """The largest magnitude of code − zero_point, which is what kernels multiply."""
        if not self.symmetric:
            return self.highest - self.lowest
        zero_point = 0 if self.signed else 1 << (self.bits - 1)
        return max(zero_point - self.lowest, self.highest - zero_point)


@dataclass(frozen=True, slots=True, eq=False)
class QParams:
    """Scale and zero point: real = scale · (code − zero_point) (Jacob et al. 2018, eq. 1).

    scale (float32, > 0) and zero_point (int32) have the shape [] for a whole tensor, [C] along `axis`, or for
    granularity `group` of a matrix [O, K], [O, K / group_size].
    """

    format: Format
    scale: Floats = field(repr=False)
    zero_point: Codes = field(repr=False)
    axis: int | None = None

    def quantize(self, x: npt.NDArray[np.floating]) -> Codes:
        """Codes of x: round half to even, saturating. NaN is refused upstream."""
        scale, zero_point = self._along(x.ndim)
        codes = np.rint(x / scale) + zero_point
        saturated: Codes = np.clip(codes, self.format.lowest, self.format.highest).astype(np.int32)
        return saturated

    def dequantize(self, codes: npt.NDArray[np.integer]) -> Floats:
        """The real numbers that `codes` stand for."""
        scale, zero_point = self._along(codes.ndim)
        return ((codes.astype(np.int32) - zero_point) * scale).astype(np.float32)

    def equals(self, other: "QParams") -> bool:
        """Whether both map every number to the same code."""
        same = (self.format, self.axis) == (other.format, other.axis)
        return same and np.array_equal(self.scale, other.scale) and np.array_equal(self.zero_point, other.zero_point)

    def _along(self, rank: int) -> tuple[Floats, Codes]:
        if self.format.group_size is not None:
            rows = self.format.group_size
            return np.repeat(self.scale, rows, axis=1), np.repeat(self.zero_point, rows, axis=1)
        if self.axis is None:
            return self.scale, self.zero_point
        shape = [1] * rank
        shape[self.axis] = -1
        return self.scale.reshape(shape), self.zero_point.reshape(shape)


def qparams_of_range(kind: Format, lo: float, hi: float) -> QParams:
    """The scale and zero point that cover [lo, hi], widened to hold zero exactly (Jacob et al. 2018, section 3).

    An empty range (a constant zero) gets scale 1.
    """
    lo, hi = min(float(lo), 0.0), max(float(hi), 0.0)
    zero_point = kind.lowest
    if kind.symmetric:
        zero_point = 0 if kind.signed else 1 << (kind.bits - 1)
        scale = max(-lo / (zero_point - kind.lowest), hi / (kind.highest - zero_point))
    else:
        scale = (hi - lo) / (kind.highest - kind.lowest)
    scale32 = np.float32(scale)
    if not np.isfinite(scale32) or scale32 < np.finfo(np.float32).tiny:
        scale32 = np.float32(1.0)
    if not kind.symmetric:
        zero_point = int(np.clip(round(kind.lowest - lo / float(scale32)), kind.lowest, kind.highest))
    return QParams(kind, np.array(scale32, np.float32), np.array(zero_point, np.int32))
