"""Formats: how a real number becomes a small integer, at any width from 2 to 8 bits (activations also 16)."""

from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from lowbit.core.errors import BadInput

Granularity = Literal["tensor", "channel", "group"]
Codes = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Number = TypeVar("Number", bound=np.generic)

_WIDTHS = (2, 3, 4, 5, 6, 7, 8, 16)


@dataclass(frozen=True, slots=True)
class Format:
    """The integers that represent a tensor.

    - bits: n, the width of a code
    - signed: codes −2ⁿ⁻¹ … 2ⁿ⁻¹−1; otherwise 0 … 2ⁿ−1
    - symmetric: the zero point is 0 (signed) or 2ⁿ⁻¹ (unsigned); otherwise it may be any code. Signed symmetric codes
      of 8 bits are −127 … 127, as LiteRT's specification requires.
    - granularity: how many scales a tensor has
    - group_size: inputs that share one scale, for each output of a matrix product, with granularity `group`
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
    def middle(self) -> int:
        """`lowest` plus half the number of codes, rounded up. code − middle fits int8 at every width up to 8."""
        return self.lowest + (self.highest - self.lowest + 2) // 2

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

    One law for every granularity: scale (float32, > 0) and zero_point (int32) have equal shapes, of the tensor's own
    rank, and each of their entries belongs to a block of the tensor (`spread`).

    | granularity | shape                                        | an entry's block                 |
    |-------------|----------------------------------------------|----------------------------------|
    | tensor      | []                                           | a whole tensor, of any rank      |
    | channel     | [1, …, C, …, 1], C at `axis`                 | a channel                        |
    | group       | [O, K / group_size] for a tensor [O, K]      | `group_size` inputs of an output |

    axis: where the channels lie; None for other granularities. It is stated, since no shape tells it where C is 1.
    """

    format: Format
    scale: Floats = field(repr=False)
    zero_point: Codes = field(repr=False)
    axis: int | None = None

    def __post_init__(self) -> None:
        shape = np.shape(self.scale)
        if np.shape(self.zero_point) != shape:
            raise ValueError(f"scales {shape} with zero points {np.shape(self.zero_point)}: expected one shape of both")
        if self.axis is not None and not (
            0 <= self.axis < len(shape) and all(size == 1 for i, size in enumerate(shape) if i != self.axis)
        ):
            raise ValueError(
                f"scales {shape} of channels along axis {self.axis}: expected the tensor's rank, and 1 elsewhere"
            )

    @classmethod
    def of_channels(
        cls, form: Format, scale: npt.NDArray[np.floating], zero_point: npt.NDArray[np.integer], axis: int, rank: int
    ) -> "QParams":
        """One scale and one zero point, [C] each, for every channel along `axis` of a tensor of rank `rank`."""
        return cls(
            form, along(scale, axis, rank).astype(np.float32), along(zero_point, axis, rank).astype(np.int32), axis
        )

    def quantize(self, x: npt.NDArray[np.floating]) -> Codes:
        """Codes of x: round half to even, saturating. NaN is refused upstream."""
        codes = np.rint(x / spread(self.scale, x.shape)) + spread(self.zero_point, x.shape)
        saturated: Codes = np.clip(codes, self.format.lowest, self.format.highest).astype(np.int32)
        return saturated

    def dequantize(self, codes: npt.NDArray[np.integer]) -> Floats:
        """The real numbers that `codes` stand for."""
        return (self.centred(codes) * spread(self.scale, codes.shape)).astype(np.float32)

    def centred(self, codes: npt.NDArray[np.integer]) -> Codes:
        """code − zero_point, which is what kernels multiply."""
        return codes.astype(np.int32) - spread(self.zero_point, codes.shape)

    def equals(self, other: "QParams") -> bool:
        """Whether both map every number to the same code."""
        same = (self.format, self.axis) == (other.format, other.axis)
        return same and np.array_equal(self.scale, other.scale) and np.array_equal(self.zero_point, other.zero_point)


def spread(numbers: npt.NDArray[Number], shape: tuple[int, ...]) -> npt.NDArray[Number]:
    """`numbers` of the blocks of a tensor of `shape`, so that they broadcast against that tensor.

    Along every axis their size divides the tensor's, and each entry belongs to as many neighbours as the quotient
    says. A single number of shape [] belongs to a whole tensor of any rank.

    >>> spread(np.array([[1, 2]]), (3, 4))
    array([[1, 1, 2, 2]])
    """
    if numbers.ndim == 0:
        return numbers
    if numbers.ndim != len(shape) or any(
        whole % size if size else whole for size, whole in zip(numbers.shape, shape, strict=True)
    ):
        raise ValueError(
            f"scales or zero points {numbers.shape} for a tensor {shape}: expected its rank, and divisors of its sizes"
        )
    for axis, (size, whole) in enumerate(zip(numbers.shape, shape, strict=True)):
        if size not in (1, whole):
            numbers = np.repeat(numbers, whole // size, axis)
    return numbers


def along(numbers: npt.NDArray[Number], axis: int, rank: int) -> npt.NDArray[Number]:
    """`numbers` [C] in the shape [1, …, C, …, 1] of rank `rank`, with C at `axis`."""
    return numbers.reshape([-1 if other == axis else 1 for other in range(rank)])


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
