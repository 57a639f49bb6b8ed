"""The terminal's table: measured rows best first, then what failed, what is unsupported, and what to ship.

All text of others goes through `rich.text.Text`, never through markup: a reason may hold "[openvino]".
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lowbit.core.figures import Optimize
from lowbit.core.row import Row
from lowbit.core.settings import MEASURES_RATE
from lowbit.core.study import Report
from lowbit.core.sweep import Swept, swept_in, values_of
from lowbit.core.text import one_line
from lowbit.report import ranking, verdict, words
from lowbit.report.sweep import sweep_text

_ESSENTIAL = 3  # columns of this need or less decide how far apart columns may stand
_SPEED_UP, _INT8_SHARE, _AGREE, _KL = "speed-\nup", "int8\nshare", "agree\n%", "KL\nnats"
_REASON = 300  # characters of a reason; the page has the whole
_DIGITS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class _Column:
    """heading: name and unit on two lines; need: 0 is always shown, the largest is dropped first when it is narrow.

    styles: one for each cell, or none for all of them.
    """

    heading: str
    need: int
    cells: tuple[str, ...]
    right: bool = True
    styles: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return max(cell_len(text) for text in (*self.heading.split("\n"), *self.cells))


def table(report: Report, width: int = 100) -> Table:
    """The measured rows, best first, with as many columns as `width` has room for."""
    rows = ranking.measured(report)
    chosen, gap = _chosen(report, width)
    drawn = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="dim")
    for column in chosen:
        drawn.add_column(Text(column.heading), justify="right" if column.right else "left", no_wrap=column.right)
    for index, row in enumerate(rows):
        cells = [Text(column.cells[index], style=column.styles[index] if column.styles else "") for column in chosen]
        drawn.add_row(*cells, style="bold" if row is ranking.winner(report) else "")
    return drawn


def _chosen(report: Report, width: int) -> tuple[list[_Column], int]:
    """The columns that `width` has room for, and how far they stand apart."""
    columns = _columns(report, ranking.measured(report))
    gap = 2 if _width([column for column in columns if column.need <= _ESSENTIAL], 2) <= width else 1
    return _fitting(columns, width, gap), gap


def print_report(report: Report, console: Console) -> None:
    """Title, cautions, table, footnotes, failures, refusals, and the row to ship with its reason."""
    for part in _parts(report, console.width):
        console.print(part, soft_wrap=False)


def _parts(report: Report, width: int) -> Iterator[RenderableType]:
    yield Text(report.title, style="bold")
    yield Text(_conditions(report), style="dim")
    if report.model.difference is not None:
        yield Text(f"float graph: {words.fidelity(report.model.difference)}", style="dim")
    for note in report.model.notes:
        yield Text(f"float graph: {note}", style="dim")
    for caution in ranking.cautions(report):
        yield Text(f"! {caution}", style="yellow")
    yield Text()
    if ranking.with_status(report, "measured"):
        yield table(report, width)
        yield from _legend(report, width)
    yield from sweep_text(report)
    yield from _failed(ranking.with_status(report, "failed"))
    yield from _unsupported(ranking.with_status(report, "unsupported"))
    yield Text()
    yield from _verdict(report)


def _conditions(report: Report) -> str:
    settings, host = report.settings, report.host
    base = ranking.float_top1(report)
    return " · ".join(
        [
            words.count(report.n_samples, "image"),
            *([f"float {words.percent(base)} %"] if base is not None else []),
            *words.conditions(report.all_settings),
            words.rounds(settings),
            f"{host.cpu} ({words.count(host.cores, 'core')})",
        ]
    )


def _columns(report: Report, rows: Sequence[Row]) -> list[_Column]:
    """Every column that at least one row has a value for, in display order."""
    notes = _footnotes(rows)
    goal, scenarios = report.choice.optimize, values_of("scenario", report.all_settings)
    query = "p50 ms\na query" if "multi-stream" in scenarios else "p50\nms"
    sweep = bool(report.other_settings)  # then speeds matter most, and the swept settings take the room of others
    offline, mixed = set(scenarios) <= set(MEASURES_RATE), len(scenarios) > 1

    def column(
        heading: str, need: int, cells: Iterator[str], right: bool = True, styles: Iterable[str] = ()
    ) -> _Column:
        return _Column(heading, need, tuple(cells), right, tuple(styles))

    def marked(row: Row) -> str:
        numbers = (str(notes[note]).translate(_DIGITS) for note in words.notes(row) if notes[note])
        return f"{row.toolchain} {row.recipe}{','.join(numbers)}"

    def compared(figure: Optimize, row: Row, text: str) -> str:
        return f"{words.TIED}{text}" if figure == goal and row.name in report.choice.tied else text

    def speed(row: Row) -> str:
        return words.significant(row.samples_per_s if offline else row.latency_p50_ms)

    def swept(name: Swept) -> _Column:
        heading = f"{words.HEADINGS[name]}\n"
        return column(heading, 0, (words.swept_value(name, row) for row in rows), right=name not in ("scenario", "isa"))

    lost = ["red" if ranking.loses_too_much(row, report) else "" for row in rows]
    size_need, memory_need = 0 if goal == "size" else 1, 0 if goal == "memory" else 7
    columns = [
        column("version\nmade by, recipe", 0, (marked(row) for row in rows), right=False),
        column(
            "run by\n", 0, (row.runtime + ("" if row.intended else words.NOT_INTENDED) for row in rows), right=False
        ),
        *(swept(name) for name in swept_in(report.all_settings)),
        column("top-1\n%", 0, (words.percent(row.top1) for row in rows), styles=lost),
        column("95 %\ninterval", 8, (words.half_interval(row.top1_low, row.top1_high) for row in rows)),
        column(
            "Δ\npts",
            2,
            (words.signed(ranking.gained(row, report)) for row in rows),
            styles=lost,
        ),
        column(
            _AGREE,
            4 if sweep else 0,
            (words.agreement(row.agreement) for row in rows),
            styles=("red" if ranking.answers_otherwise(row, report) else "" for row in rows),
        ),
        column(_KL, 6 if sweep else 0, (words.divergence(row.kl) for row in rows)),
        column("size\n", size_need, (compared("size", row, words.size(row.size_bytes)) for row in rows)),
        column(
            "samples\n/s" if offline else query,
            3 if mixed else 0,
            (compared("latency", row, speed(row)) for row in rows),
        ),
        *([column("samples\n/s", 0, (words.significant(row.samples_per_s) for row in rows))] if mixed else []),
        column(_SPEED_UP, 1 if sweep else 3, (words.times(row.speedup) for row in rows)),
        column(
            "peak\nmemory", memory_need, (compared("memory", row, words.size(row.peak_memory_bytes)) for row in rows)
        ),
        column(
            _INT8_SHARE,
            3,
            (words.integer_share(row) for row in rows),
            styles=("yellow" if words.falls_short(row) else "dim" for row in rows),
        ),
    ]
    return [one for one in columns if any(cell not in ("", words.ABSENT) for cell in one.cells)]


def _width(columns: Sequence[_Column], gap: int) -> int:
    return sum(column.width + gap for column in columns) - gap


def _fitting(columns: Sequence[_Column], width: int, gap: int) -> list[_Column]:
    kept = list(columns)
    while _width(kept, gap) > width:
        least = max(kept, key=lambda column: column.need)
        if least.need == 0:
            break
        kept.remove(least)
    return kept


def _footnotes(rows: Sequence[Row]) -> dict[str, int]:
    """Each note with its number; 0 for one that holds for all rows and needs no mark."""
    counts = Counter(note for row in rows for note in words.notes(row))
    numbers = dict.fromkeys((note for note in counts if counts[note] == len(rows)), 0)
    for note in counts:
        numbers.setdefault(note, sum(number > 0 for number in numbers.values()) + 1)
    return numbers


def _footnote(note: str, number: int) -> str:
    return f"{str(number).translate(_DIGITS) if number else 'all rows:'} {one_line(note)}"


def _legend(report: Report, width: int) -> Iterator[RenderableType]:
    rows = ranking.measured(report)
    lines = [_footnote(note, number) for note, number in _footnotes(rows).items()]
    if any(not row.intended for row in rows):
        lines.append(f"{words.NOT_INTENDED} a runtime that the file was not made for")
    if any(row.name in report.choice.tied for row in rows):
        lines.append(f"{words.TIED} a tie with the winner: {words.TIE[report.choice.optimize]}")
    shown = {column.heading for column in _chosen(report, width)[0]}
    short = [row for row in rows if words.falls_short(row)]
    if short and _INT8_SHARE in shown:
        lines.append("int8 share below 100 %: the rest ran in float; lowbit report STUDY --why ROW lists it")
    elif short:
        lines.append("the rest ran in float, which lowbit report STUDY --why ROW lists:")
        lines += [f"  {words.falls_short(row)} of {row.name}" for row in short]
    if _SPEED_UP in shown:
        lines.append(f"speed-up: over the fastest fp32 row{' of the same settings' if report.other_settings else ''}")
    if ranking.float_top1(report) is not None:
        lines.append("Δ: top-1 less the float model's, in points")
    if shown & {_AGREE, _KL}:
        lines.append("agree: images answered as float does; KL: divergence from its probabilities")
    if lines:
        yield Text()
    for line in lines:
        yield Text(line, style="dim")


def _failed(rows: Sequence[Row]) -> Iterator[RenderableType]:
    if not rows:
        return
    yield Text(f"\nfailed ({len(rows)})", style="bold red")
    for row in rows:
        mark = "" if row.intended else words.NOT_INTENDED
        yield _indented(f"{row.name}{mark}: {one_line(row.reason or 'no reason was given', _REASON)}")
        if row.log:
            yield _indented(f"  log: {row.log}", "dim")


def _unsupported(rows: Sequence[Row]) -> Iterator[RenderableType]:
    if not rows:
        return
    yield Text.assemble((f"\nunsupported ({len(rows)})", "bold"), (": the page has the reasons in full", "dim"))
    for reason, group in ranking.by_reason(rows).items():
        yield _indented(f"{_together(group)}: {one_line(reason)}", "dim", cut=True)


def _indented(text: str, style: str = "", cut: bool = False) -> RenderableType:
    """`text` two columns in, on as many lines as it needs; cut: on one, with an ellipsis at the console's edge."""
    return Padding(
        Text(text, style=style, no_wrap=cut, overflow="ellipsis" if cut else None), (0, 0, 0, 2), expand=False
    )


def _together(rows: Sequence[Row]) -> str:
    """Rows of one reason, by the toolchain and runtime most of them share: litert/{fp16,bf16}@litert and 2 more."""
    pairs: dict[tuple[str, str], dict[str, int]] = {}
    for row in rows:
        counts = pairs.setdefault((row.toolchain, row.runtime), {})
        counts[row.recipe] = counts.get(row.recipe, 0) + 1
    (toolchain, runtime), recipes = max(pairs.items(), key=lambda pair: len(pair[1]))
    together = next(iter(recipes)) if len(recipes) == 1 else "{" + ",".join(recipes) + "}"
    more = len(rows) - sum(recipes.values())
    return f"{toolchain}/{together}@{runtime}" + (f" and {more} more" if more else "")


def _verdict(report: Report) -> Iterator[RenderableType]:
    best = ranking.winner(report)
    if best is None:
        where = f", at {verdict.within(report)}" if verdict.within(report) else ""
        yield Text(f"No winner{where}: {verdict.why(report)}", style="bold yellow")
        return
    yield Text.assemble(("Winner  ", "bold green"), (best.name, "bold"))
    if verdict.within(report):
        yield Text(f"Within  {verdict.within(report)}: the first settings of the sweep, from whose rows it is chosen")
    yield Text(f"Why     {verdict.why(report)}")
    for caution in verdict.cautions(report):
        yield Text(f"Careful {caution}", style="yellow")
    if report.choice.tied:
        yield Text(f"Ties    {', '.join(report.choice.tied)}")
