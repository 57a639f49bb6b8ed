"""A sweep over the widths of weights: rows of one kind, bit by bit, and figures that others published."""

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
class Published:
    """Others' figures: weight bits → points of top-1 lost or won against their own float model.

    The size is of every one of their files, whatever its width.
    """

    name: str
    gained: dict[int, float]
    size_bytes: int


_SOURCE = "P. R. Avinanto, R. Luthfan: 4-bit Quantization Model on Image Classification, COMS 6998, 2021"
_FLOAT = 80.39  # their ResNet-18 on CIFAR-10, top-1 in percent
PUBLISHED = tuple(
    Published(name, {bits: round(top1 - _FLOAT, 2) for bits, top1 in figures.items()}, 11_200_000)
    for name, figures in (
        ("after training", {8: 79.68, 7: 79.26, 6: 75.39, 5: 51.53, 4: 13.36}),
        ("with training", {8: 80.57, 7: 81.18, 6: 76.89, 5: 63.44, 4: 22.57}),
    )
)
PUBLISHED_NOTE = (
    f"Published figures of another model, against its own float accuracy: ResNet-18 on CIFAR-10, float {_FLOAT} %, "
    f"weights and activations of N bits, quantized after training and with training; every file 11.2 MB. {_SOURCE}."
)


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


def published(report: Report) -> tuple[Published, ...]:
    """What stands beside: nothing where accuracy is not known."""
    return () if ranking.float_top1(report) is None else PUBLISHED


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
    beside = published(report)
    for other in beside:
        gained = {bits: words.signed(value) for bits, value in other.gained.items()}
        table.add_row(
            Text(f"published*, {other.name}", style="dim"), *(gained.get(bits, words.ABSENT) for bits in widths)
        )
    what = "top-1 less float's" if beside else "agreement with float less 100 %"
    yield Text(f"\nsweep: {what}, in points", style="bold")
    yield table
    if beside:
        yield Text(f"* {PUBLISHED_NOTE}", style="dim")
