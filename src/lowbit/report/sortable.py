"""The page's table of all numbers. It is complete without a script; page.js sorts it by `data-value`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lowbit.core.row import Row
from lowbit.core.study import Report
from lowbit.core.sweep import Swept, swept_in, values_of
from lowbit.report import ranking, words
from lowbit.report.marks import Marks
from lowbit.report.markup import Markup, el

Value = Callable[[Row], float | None]


@dataclass(frozen=True, slots=True)
class _Number:
    """A column of numbers: `value` to sort by, `text` to read."""

    heading: str
    unit: str
    value: Value
    text: Callable[[Row], str]


def sortable(report: Report, marks: Marks) -> Markup:
    """Measured rows, best first, then failed ones; a column that no row fills is left out."""
    rows = [*ranking.measured(report), *ranking.with_status(report, "failed")]
    if not rows:
        return el("p", "No row was measured.", class_="empty")
    numbers = [column for column in _numbers(report) if any(column.value(row) is not None for row in rows)]
    swept = swept_in(report.all_settings)
    head = [_heading("version", "toolchain/recipe@runtime")]
    head += [_heading(words.HEADINGS[name], "") for name in swept]
    head += [_heading(column.heading, column.unit) for column in numbers]
    head.append(el("th", "note", scope="col", class_="text"))
    body = [_line(row, report, marks, numbers, swept) for row in rows]
    table = el("table", el("thead", el("tr", *head)), el("tbody", *body), class_="results")
    return el("div", table, class_="scroll", tabindex=0)


def _numbers(report: Report) -> list[_Number]:
    def fraction(heading: str, unit: str, value: Value, digits: int = 2) -> _Number:
        return _Number(heading, unit, value, lambda row: words.percent(value(row), digits))

    def quantity(heading: str, unit: str, value: Value) -> _Number:
        return _Number(heading, unit, value, lambda row: words.significant(value(row)))

    return [
        fraction("top-1", "%", lambda row: row.top1),
        _Number(
            "interval",
            "95 %",
            lambda row: row.top1_low,
            lambda row: (
                words.ABSENT
                if row.top1_low is None
                else f"{words.percent(row.top1_low)}–{words.percent(row.top1_high)}"
            ),
        ),
        _Number(
            "Δ float",
            "points",
            lambda row: ranking.gained(row, report),
            lambda row: words.signed(ranking.gained(row, report)),
        ),
        _Number("McNemar", "p", lambda row: row.p_value, lambda row: words.p_value(row.p_value)),
        fraction("top-5", "%", lambda row: row.top5),
        _Number("agreement", "%", lambda row: row.agreement, lambda row: words.agreement(row.agreement)),
        _Number("KL", "nats", lambda row: row.kl, lambda row: words.divergence(row.kl)),
        _Number("size", "on disk", lambda row: row.size_bytes, lambda row: words.size(row.size_bytes)),
        quantity("p50", "ms", lambda row: row.latency_p50_ms),
        quantity("p90", "ms", lambda row: row.latency_p90_ms),
        quantity("p99", "ms", lambda row: row.latency_p99_ms),
        quantity("p99.9", "ms", lambda row: row.latency_p999_ms),
        quantity("estimate", "ms", lambda row: row.early_stopping_ms),
        quantity("samples", "/s", lambda row: row.samples_per_s),
        _Number("speed-up", "vs fp32", lambda row: row.speedup, lambda row: words.times(row.speedup)),
        _Number("memory", "peak", lambda row: row.peak_memory_bytes, lambda row: words.size(row.peak_memory_bytes)),
        _Number("integer", "MACs", _integer, lambda row: words.integer_share(row) or words.ABSENT),
        quantity("load", "s", lambda row: row.load_s),
        quantity("import", "s", lambda row: row.import_s),
        quantity("build", "s", lambda row: row.build_s),
        quantity("calibration", "s", lambda row: row.calibration_s),
    ]


def _integer(row: Row) -> float | None:
    return row.int8_share if words.shows_integer(row) else None


def _heading(name: str, unit: str) -> Markup:
    button = el("button", name, el("small", unit), type="button")
    return el("th", button, scope="col", aria_sort="none")


def _line(row: Row, report: Report, marks: Marks, numbers: list[_Number], swept: Sequence[Swept]) -> Markup:
    best = row is ranking.winner(report)
    name = el(
        "th",
        marks.swatch(row.toolchain, row.runtime),
        f" {row.plain_name}{'' if row.intended else words.NOT_INTENDED}",
        scope="row",
        data_value=row.plain_name,
    )
    cells = [_setting(name, row, report) for name in swept]
    cells += [el("td", column.text(row), data_value=_sorted_by(column.value(row))) for column in numbers]
    note = " ".join(part for part in (_mark(row, report), row.reason, ". ".join(words.notes(row))) if part)
    return el("tr", name, *cells, el("td", note, class_="text"), class_=f"{row.status}{' best' if best else ''}")


def _setting(name: Swept, row: Row, report: Report) -> Markup:
    """A swept setting; what is no number is sorted as the user listed it."""
    place = values_of(name, report.all_settings).index(getattr(row, name))
    value = getattr(row, name) if name in ("batch_size", "threads") else place
    return el("td", words.swept_value(name, row), data_value=_sorted_by(value))


def _sorted_by(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def _mark(row: Row, report: Report) -> str:
    marks = [
        "failed:" if row.status == "failed" else "",
        "to ship." if row is ranking.winner(report) else "",
        "ties with the winner." if row.name in report.choice.tied else "",
        f"{words.falls_short(row)}." if words.falls_short(row) else "",
    ]
    return " ".join(mark for mark in marks if mark)
