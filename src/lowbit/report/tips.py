"""What a tooltip tells of a row: a title, pairs of words and values, and its note or reason. Plain data for page.js."""

from typing import Any

from lowbit.core.row import Row
from lowbit.core.study import Report
from lowbit.report import ranking, words


def tips(report: Report) -> list[dict[str, Any]]:
    """One entry for each of the report's rows, in their order: `data-row` in the page is the index."""
    return [{"title": row.name, "pairs": _pairs(row, report), "text": _text(row)} for row in report.rows]


def spoken(row: Row, report: Report) -> str:
    """The tooltip as one short sentence, for screen readers."""
    if row.status != "measured":
        return f"{row.name}: {row.status}. {row.reason or ''}"
    return f"{row.name}: " + ", ".join(f"{name} {value}" for name, value in _pairs(row, report)[:4])


def _pairs(row: Row, report: Report) -> list[tuple[str, str]]:
    if row.status != "measured":
        return [("status", row.status)]
    gained = ranking.gained(row, report)
    pairs = [
        ("top-1", _if(row.top1, f"{words.percent(row.top1)} % {words.half_interval(row.top1_low, row.top1_high)}")),
        ("against float", _if(gained, f"{words.signed(gained)} points, p {words.p_value(row.p_value)}")),
        ("same as float", _if(row.agreement, f"{words.agreement(row.agreement)} %{_kl(row)}")),
        ("p50 a query", _if(row.latency_p50_ms, f"{words.significant(row.latency_p50_ms)} ms{_spread(row)}")),
        ("samples a second", _if(row.samples_per_s, words.significant(row.samples_per_s))),
        ("speed-up", _if(row.speedup, words.times(row.speedup))),
        ("size", _if(row.size_bytes, words.size(row.size_bytes))),
        ("peak memory", _if(row.peak_memory_bytes, words.size(row.peak_memory_bytes))),
        ("integer share", words.integer_share(row)),
        ("images", f"{row.n_samples:,}"),
    ]
    return [(name, value) for name, value in pairs if value]


def _if(value: float | None, text: str) -> str:
    return "" if value is None else text


def _kl(row: Row) -> str:
    return "" if row.kl is None else f", KL {words.divergence(row.kl)}"


def _spread(row: Row) -> str:
    low, high = row.latency_p50_low_ms, row.latency_p50_high_ms
    return "" if low is None or high is None else f" ({words.significant(low)}–{words.significant(high)})"


def _text(row: Row) -> str:
    made_for = "" if row.intended else "The file was not made for this runtime."
    return " ".join(part for part in (row.reason, ". ".join(words.notes(row)), made_for) if part)
