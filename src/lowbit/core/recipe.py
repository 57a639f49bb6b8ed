"""A recipe: one way to make a smaller model, as a toolchain's file states it."""

from dataclasses import dataclass, field
from typing import Any, Literal

Claim = Literal["float", "integer", "dynamic", "weight-only"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to make a smaller model.

    - name: the recipe's name within its toolchain
    - weight_bits: width of the weights as the file stores them; None where nobody says (a given file), here and in the
      next two
    - activation_bits: width of the activations that the kernel of a convolution or matrix product should get in the
      runtimes that the file is made for. A file that only stores fp16 is 16/32; an fp32 file that runs in bf16 is
      32/16.
    - claim: the kind of kernels that the recipe promises; "integer" and "dynamic" are checked against executed
      precision
    - options: the vendor's own arguments
    - runtime_options: options that a session needs, such as {"precision": "bf16"}
    - note: what a user must know; empty where there is nothing
    - made_for: the runtimes that the files are meant for; empty: the toolchain's
    - makes: the artifact format; empty: the toolchain's
    - on_request: whether it is made only when the user names it
    - packages: PyPI names that this recipe needs in addition to the toolchain's
    - extra: the pip extra of lowbit that installs them
    - slow_in: runtimes without fast kernels for it, in which an accuracy pass ends as soon as its difference to the
      float model's is known well
    - series: common name of recipes that differ only in the width of weights, for plots over that width; empty: none
    - epochs: how often it passes over the images that it trains on; None: it does not train
    - control: name of a recipe of the same toolchain that is made whenever this one is: what is left of the gain
      without what this one does; empty: none
    """

    name: str
    weight_bits: int | None
    activation_bits: int | None
    claim: Claim | None
    options: dict[str, Any] = field(default_factory=dict)
    runtime_options: dict[str, str] = field(default_factory=dict)
    note: str = ""
    made_for: tuple[str, ...] = ()
    makes: str = ""
    on_request: bool = False
    packages: tuple[str, ...] = ()
    extra: str | None = None
    series: str = ""
    slow_in: tuple[str, ...] = ()
    epochs: int | None = None
    control: str = ""
