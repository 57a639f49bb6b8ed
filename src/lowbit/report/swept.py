"""A sweep over settings as lines: what stands on the axis, and which rows belong to one line. Nothing is drawn here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lowbit.core.row import Row
from lowbit.core.study import Report
from lowbit.core.sweep import Swept, swept_in, told_apart, values_of
from lowbit.report import ranking

_ORDER: tuple[Swept, ...] = ("batch_size", "threads", "isa", "scenario")  # which is the axis, if several have as many
_MOST = 8  # lines that can be told apart in one plot

Value = str | int | None


@dataclass(frozen=True, slots=True)
class Line:
    """One version in one runtime. `rows`: value on the axis → the row."""

    toolchain: str
    recipe: str
    runtime: str
    rows: dict[Value, Row]

    @property
    def best(self) -> float:
        """The most samples a second of any of its rows."""
        return max(row.samples_per_s or 0.0 for row in self.rows.values())

    @property
    def any_row(self) -> Row:
        """A row of the line, for what all of them share: recipe, bits, claim."""
        return next(iter(self.rows.values()))


@dataclass(frozen=True, slots=True)
class Panel:
    """The lines that share all settings but the one on the axis.

    - told: the other swept settings in words; empty where there are none
    - runtime: the runtime of all lines, where there are too many for one panel; empty: lines of all runtimes
    - left_out: lines that are not drawn, since a faster version has the same bits in the same runtime
    """

    told: str
    runtime: str
    lines: tuple[Line, ...]
    left_out: int = 0


def axis(report: Report) -> Swept | None:
    """The setting that a plot has on its axis: the one with the most values; None where nothing is swept."""
    swept = swept_in(report.all_settings)
    most = max((len(values_of(name, report.all_settings)) for name in swept), default=0)
    return next((name for name in _ORDER if name in swept and len(values_of(name, report.all_settings)) == most), None)


def panels(report: Report) -> tuple[Panel, ...]:
    """A panel for each combination of the other settings, with the timed rows in runtimes that their file is meant for.

    Where lines are too many to be told apart, each runtime has panels of its own, and where they still are, only the
    fastest version of each precision is drawn. A panel in which no line has two points is left out.
    """
    along = axis(report)
    if along is None:
        return ()
    others = [name for name in swept_in(report.all_settings) if name != along]
    found: dict[str, dict[tuple[str, str, str], dict[Value, Row]]] = {
        told_apart(settings, others): {} for settings in report.all_settings
    }
    for row in ranking.with_status(report, "measured"):
        if row.intended and row.samples_per_s is not None:
            line = found[told_apart(row, others)].setdefault((row.toolchain, row.recipe, row.runtime), {})
            line[getattr(row, along)] = row
    every = {told: [Line(*key, rows) for key, rows in lines.items()] for told, lines in found.items()}
    runtimes = [""]
    if max(len(lines) for lines in every.values()) > _MOST:
        runtimes = sorted({line.runtime for lines in every.values() for line in lines})
    drawn = []
    for runtime in runtimes:
        for told, lines in every.items():
            here = [line for line in lines if runtime in ("", line.runtime)]
            kept = _few(here)
            if any(len(line.rows) > 1 for line in kept):
                drawn.append(Panel(told, runtime, tuple(kept), len(here) - len(kept)))
    return tuple(drawn)


def _few(lines: Sequence[Line]) -> list[Line]:
    """All lines, or, where they are too many to be told apart, the fastest of each precision in its runtime."""
    if len(lines) <= _MOST:
        return list(lines)
    fastest: dict[tuple[object, ...], Line] = {}
    for line in lines:
        row = line.any_row
        kind = (line.runtime, row.claim, row.weight_bits, row.activation_bits)
        if kind not in fastest or line.best > fastest[kind].best:
            fastest[kind] = line
    return list(fastest.values())


def speeds(lines: Iterable[Line]) -> list[dict[Value, float]]:
    """Samples a second of each line."""
    return [
        {value: row.samples_per_s for value, row in line.rows.items() if row.samples_per_s is not None}
        for line in lines
    ]


def speedups(lines: Iterable[Line]) -> list[dict[Value, float]]:
    """Speed over the fastest fp32 row of the same settings; empty for fp32 itself, and where there is no such row."""
    return [
        {value: row.speedup for value, row in line.rows.items() if row.speedup is not None and not row.is_fp32}
        for line in lines
    ]
