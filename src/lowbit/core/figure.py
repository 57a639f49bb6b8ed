"""Published figures: what others measured, which cells stand beside it, and whether their claim held here."""

import re
from dataclasses import dataclass
from typing import Literal

from lowbit.core.settings import Scenario

Quantity = Literal["top1", "gained", "size_mb", "latency_ms", "rate", "peak_mb", "int8_share"]
Verdict = Literal["held", "not held", "could not be tried"]
Untried = Literal["arm", "gpu", "imagenet", "weights"]

_LIMIT = re.compile(r"(>=|<=|>|<) *(-?[0-9]+(?:\.[0-9]+)?)")


def limit_of(text: str) -> tuple[str, float]:
    """The operator (>=, <=, > or <) and the number of a limit such as ">= 2.0"; ValueError where it is none."""
    match = _LIMIT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r}, expected >=, <=, > or < and a number, such as '>= 2.0'")
    return match[1], float(match[2])


@dataclass(frozen=True, slots=True)
class Selector:
    """Which rows of a study are meant; a field that is left out admits every value.

    - model: name of the model in the study file
    - toolchain, recipe, runtime, scenario, batch_size, threads, isa: as rows have them
    """

    model: str | None = None
    toolchain: str | None = None
    recipe: str | None = None
    runtime: str | None = None
    scenario: Scenario | None = None
    batch_size: int | None = None
    threads: int | None = None
    isa: str | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """One published figure, with the cells of this study that stand beside it.

    - claim: what was claimed, in a sentence
    - where: its place in the source, such as "figure 4c"
    - quantity: "top1" and "int8_share" in percent, "gained" in points of top-1 over float, "size_mb" and "peak_mb" in
      megabytes (10⁶ bytes), "latency_ms" (median, a query), "rate" in samples or queries per second
    - value: what was published; with `over`, the ratio of the two
    - of: the rows that stand beside it; where there are several, the best one counts
    - over: the rows that the figure is relative to; None: the figure stands alone
    - holds: when the claim is held here: a limit such as ">= 2.0" (`limit_of`); None: `within` says when
    - within: how far, as a share of the published value, the measured one may be from it
    - untried: why the figure cannot be tried here; None: it is tried
    """

    claim: str
    where: str
    quantity: Quantity
    value: float
    of: Selector | None = None
    over: Selector | None = None
    holds: str | None = None
    within: float | None = None
    untried: Untried | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where published figures come from: the document as one would cite it, and the machine that it measured on."""

    document: str
    machine: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """A published figure with what was measured here.

    - verdict: whether the claim was held
    - measured: in the figure's unit; None where it could not be tried
    - rows: names of the rows that the measured figure comes from
    - reason: why it could not be tried; empty otherwise
    """

    figure: Figure
    verdict: Verdict
    measured: float | None = None
    rows: tuple[str, ...] = ()
    reason: str = ""
