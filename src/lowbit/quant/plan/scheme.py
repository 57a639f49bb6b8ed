"""A scheme: what the user asks of a quantization, before any graph is known. `w4a8` names one."""

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
        """Whether the override applies to the layer `node`."""
        return fnmatch.fnmatchcase(node, self.pattern)


@dataclass(frozen=True, slots=True)
class Scheme:
    """What the user asks of a quantization.

    - weight_bits: width of weights, 2 to 8
    - activation_bits: width of the activations that layers read, 2 to 8 or 16
    - rounding: how weights are rounded
    - range: how activation ranges are chosen; None: by width (`range_of`)
    - symmetric: whether weights are symmetric; None: from 4 bits on
    - group_size: inputs of a matrix product that share a scale, for each output; None: one scale per output channel
    - ends: width of the first and last layers, where the others have fewer bits
    - overrides: other widths for some layers
    - reduce_range: code − zero_point of weights stays within −64 … 63 where kernels may add two products u8 × s8 in 16
      bits, as they do on x86 processors without int8 dot products
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
        """The scheme's name, such as w4a8."""
        return f"w{self.weight_bits}a{self.activation_bits}"

    def is_symmetric(self, bits: int) -> bool:
        """Whether weights of that width are symmetric. At 8 bits they always are: code − zero_point must fit int8."""
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
