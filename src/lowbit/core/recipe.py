"""A recipe: one way to make a smaller model, as a toolchain's file states it."""

from dataclasses import dataclass, field
from typing import Any, Literal

Claim = Literal["float", "integer", "dynamic", "weight-only"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """`claim` is what the row says of itself: `integer` and `dynamic` rows are held to their executed precision.

    weight_bits: width of the weights as the file stores them. activation_bits: width of the activations that the
    kernel of a convolution or matrix product is meant to get where the file is made for. So fp16 that is only stored
    is 16/32, and an fp32 file that runs in bf16 is 32/16. Whether integer kernels ran, executed precision says.

    `options`: the vendor's own arguments. `runtime_options`: what a session must be told ("precision": "bf16").
    `note`: what a user must know. made_for: the runtimes this recipe's files are meant for; empty: those of the
    toolchain. makes: the artifact format; empty: the toolchain's. on_request: only made when it is named. series: the
    name that recipes share which differ in the width of weights only, as a sweep over it shows them; empty: of none.
    packages: PyPI names that this recipe needs besides the toolchain's; extra: the extra of lowbit that installs them.
    """

    name: str
    weight_bits: int
    activation_bits: int
    claim: Claim
    options: dict[str, Any] = field(default_factory=dict)
    runtime_options: dict[str, str] = field(default_factory=dict)
    note: str = ""
    made_for: tuple[str, ...] = ()
    makes: str = ""
    on_request: bool = False
    packages: tuple[str, ...] = ()
    extra: str | None = None
    series: str = ""
