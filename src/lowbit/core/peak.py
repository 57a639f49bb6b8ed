"""The speed of a machine's matrix products."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["int8", "fp32"]
"""Of the operands of a product."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The fastest matrix product of a kind that was measured on a machine.

    - kind: of the operands
    - threads: that it ran with
    - macs_per_s: multiply–accumulates a second
    - how: whose product it was
    - size: rows and columns of both operands
    """

    kind: Kind
    threads: int
    macs_per_s: float
    how: str
    size: int


@dataclass(frozen=True, slots=True)
class Peaks:
    """The peaks of one number of threads, as the job that measures them returns them."""

    found: tuple[Peak, ...]
