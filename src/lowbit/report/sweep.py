"""A sweep over the widths of weights: rows of one kind, bit by bit."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from lowbit.core.figures import drop_points
from lowbit.core.row import Row
from lowbit.core.study import Report
from lowbit.report import ranking, words

_FEWEST = 3  # widths that make a sweep


@dataclass(frozen=True, slots=True)
class Series:
    """Rows of one toolchain, activation bits, format and runtime: weight bits, falling → the row."""

    toolchain: str
    name: str
    runtime: str
    rows: dict[int, Row]


def series_of(report: Report) -> tuple[Series, ...]:
    """What measured rows have three or more widths of; in runtimes their files were made for."""
    found: dict[tuple[str, str, str], dict[int, Row]] = {}
    for row in ranking.measured_at_first(report):
        if row.series and row.intended and row.weight_bits is not None:
            found.setdefault((row.toolchain, row.series, row.runtime), {})[row.weight_bits] = row
    return tuple(
        Series(toolchain, name, runtime, dict(sorted(rows.items(), reverse=True)))
        for (toolchain, name, runtime), rows in sorted(found.items())
        if len(rows) >= _FEWEST
    )


def points(row: Row, report: Report) -> float | None:
    """Top-1 above float's, in points; of a network nobody trained, agreement with float below 100 %."""
    drop = drop_points(row, ranking.float_top1(report))
    return None if drop is None else -drop


def sweep_text(report: Report) -> Iterator[RenderableType]:
    """For a terminal: a table a series, one column a width; nothing where there is no sweep."""
    found = series_of(report)
    if not found:
        return
    widths = sorted({bits for series in found for bits in series.rows}, reverse=True)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("bits of weights")
    for bits in widths:
        table.add_column(str(bits), justify="right")
    for series in found:
        named = f"{series.toolchain} {series.name} in {series.runtime}"
        gained = {bits: words.signed(points(row, report)) for bits, row in series.rows.items()}
        table.add_row(Text(f"{named}, points"), *(gained.get(bits, words.ABSENT) for bits in widths))
        sizes = {bits: words.size(row.size_bytes) for bits, row in series.rows.items()}
        table.add_row(Text("  size", style="dim"), *(sizes.get(bits, words.ABSENT) for bits in widths))
    what = "agreement with float less 100 %" if ranking.float_top1(report) is None else "top-1 less float's"
    yield Text(f"\nsweep: {what}, in points", style="bold")
    yield table
