"""A scheme: what the user asks of a quantization, before a graph is looked at. `w4a8` is one."""

import fnmatch
import re
from dataclasses import dataclass

from lowbit.core.errors import BadInput
from lowbit.quant.plan.plan import RangeMethod, Rounding

_NAME = re.compile(r"w(\d+)a(\d+)")


@dataclass(frozen=True, slots=True)
class Override:
    """Other widths for the layers whose node name matches `pattern` (as a shell matches file names)."""

    pattern: str
    weight_bits: int
    activation_bits: int

    def matches(self, node: str) -> bool:
        """Whether it speaks of this layer."""
        return fnmatch.fnmatchcase(node, self.pattern)


@dataclass(frozen=True, slots=True)
class Scheme:
    """weight_bits 2 … 8, activation_bits 2 … 8 or 16: widths of weights, and of what layers read.

    ends: width of the first and last layers, where the rest has fewer bits. symmetric: of weights; None: asymmetric
    below 4 bits. range: None: by width (`range_of`). group_size: rows of a weight that share a scale; None: one scale
    an output channel. reduce_range: code − zero_point of weights stays within −64 … 63 where kernels may add two
    products u8 × s8 in 16 bits, as they do on x86 processors without int8 dot products.
    """

    weight_bits: int
    activation_bits: int
    rounding: Rounding = "closed-form"
    range: RangeMethod | None = None
    symmetric: bool | None = None
    group_size: int | None = None
    ends: int = 8
    overrides: tuple[Override, ...] = ()
    reduce_range: bool = False

    def __post_init__(self) -> None:
        for bits in (self.weight_bits, *(override.weight_bits for override in self.overrides)):
            if not 2 <= bits <= 8:
                raise BadInput(f"weights of {bits} bits: expected 2 to 8")
        for bits in (self.activation_bits, *(override.activation_bits for override in self.overrides)):
            if not 2 <= bits <= 8 and bits != 16:
                raise BadInput(f"activations of {bits} bits: expected 2 to 8, or 16")
        if not 2 <= self.ends <= 8:
            raise BadInput(f"first and last layers of {self.ends} bits: expected 2 to 8")

    @property
    def name(self) -> str:
        """w4a8."""
        return f"w{self.weight_bits}a{self.activation_bits}"

    def is_symmetric(self, bits: int) -> bool:
        """Whether weights of that width are: at 8 bits always, since code − zero_point must fit int8."""
        return bits == 8 or (bits >= 4 if self.symmetric is None else self.symmetric)


def widths(name: str) -> tuple[int, int]:
    """The widths of weights and activations that `w4a8` names; BadInput for anything else.

    >>> widths("w4a8")
    (4, 8)
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise BadInput(f"recipe {name!r}: expected wNaM, weights of N bits (2 to 8), activations of M (2 to 8, or 16)")
    return int(match[1]), int(match[2])
