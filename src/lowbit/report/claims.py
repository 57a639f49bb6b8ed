"""Published figures beside what was measured here, in words: for the terminal, and as a table of the page."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from lowbit.core.figure import Claim, Figure, Source
from lowbit.report import words
from lowbit.report.markup import Markup, el

_UNITS = {
    "top1": " %", "gained": " points", "size_mb": " MB", "latency_ms": " ms", "rate": " /s", "peak_mb": " MB",
    "int8_share": " %",
}  # fmt: skip
_STYLES = {"held": "green", "not held": "red", "could not be tried": "dim"}


def value_text(figure: Figure, value: float | None) -> str:
    """A value in the figure's unit: a ratio as 3.3×."""
    if value is None:
        return words.ABSENT
    return f"{value:.2f}×" if figure.over is not None else f"{value:,.2f}{_UNITS[figure.quantity]}"


def demand_text(figure: Figure) -> str:
    """When the claim counts as held."""
    if figure.untried is not None:
        return words.ABSENT
    if figure.within is not None:
        return f"within {100 * figure.within:g} %"
    return figure.holds or words.ABSENT


def counts(claims: Sequence[Claim]) -> str:
    """How many claims were held, not held, and could not be tried."""
    found = [(name, sum(each.verdict == name for each in claims)) for name in _STYLES]
    return ", ".join(f"{count} {name}" for name, count in found if count)


def claims_text(claims: Sequence[Claim], source: Source | None) -> Iterator[RenderableType]:
    """For a terminal: a table of all claims; nothing where there are none."""
    if not claims:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading, right in (("claim", False), ("published", True), ("here", True), ("held if", False), ("", False)):
        table.add_column(heading, justify="right" if right else "left")
    for each in claims:
        figure = each.figure
        said = f"{figure.claim} ({figure.where})" + (f": {each.reason}" if each.reason else "")
        table.add_row(
            Text(said), value_text(figure, figure.value), value_text(figure, each.measured), Text(demand_text(figure)),
            Text(each.verdict, style=_STYLES[each.verdict]),
        )  # fmt: skip
    yield Text(f"\npublished figures: {counts(claims)}", style="bold")
    yield table
    if source is not None:
        yield Text(_cited(source), style="dim")


def claims_table(claims: Sequence[Claim], source: Source | None) -> Markup:
    """For the page."""
    head = el("tr", *(el("th", text, scope="col") for text in ("claim", "published", "here", "held if", "", "from")))
    body = [el("tr", *_cells(each), class_=_CLASSES[each.verdict]) for each in claims]
    table = el("div", el("table", el("thead", head), el("tbody", *body), class_="claims"), class_="scroll")
    cited = [el("p", _cited(source), class_="lead")] if source is not None else []
    return el("div", el("p", f"{counts(claims)}.", class_="lead"), table, *cited)


_CLASSES = {"held": "held", "not held": "missed", "could not be tried": "untried"}


def _cells(each: Claim) -> list[Markup]:
    figure = each.figure
    return [
        el("th", figure.claim, el("small", figure.where), scope="row"),
        el("td", value_text(figure, figure.value)),
        el("td", value_text(figure, each.measured)),
        el("td", demand_text(figure)),
        el("td", each.verdict),
        el("td", each.reason or " over ".join(each.rows)),
    ]


def _cited(source: Source) -> str:
    return f"Published: {source.document}" + (f" Measured on {source.machine}." if source.machine else "")
