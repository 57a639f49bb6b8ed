"""The table that a notebook shows for a study: small, without script, readable in the notebook's own colours."""

from collections.abc import Sequence

from lowbit.core.row import Row
from lowbit.core.settings import MEASURES_RATE
from lowbit.core.study import Report
from lowbit.core.sweep import Swept, swept_in, values_of
from lowbit.report import ranking, verdict, words
from lowbit.report.markup import Markup, el

_RIGHT = "text-align:right"
_LEFT = "text-align:left"


def notebook_html(report: Report) -> str:
    """Measured rows best first, the winner in bold, and how many cells failed or are unsupported."""
    rows = ranking.measured(report)
    best = ranking.winner(report)
    named = "top-1 %" if ranking.float_top1(report) is not None else "same as float %"
    swept = swept_in(report.all_settings)
    by_rate = bool(set(MEASURES_RATE) & set(values_of("scenario", report.all_settings)))
    left = ("version", "run by", *(words.HEADINGS[name] for name in swept))
    right = (named, "Δ points", "size", "samples/s" if by_rate else "p50 ms", "speed-up")
    head = el("tr", *(el("th", text, style=_LEFT) for text in left), *(el("th", text, style=_RIGHT) for text in right))
    body = [_line(row, report, row is best, swept, by_rate) for row in rows]
    others = ", ".join(
        f"{len(ranking.with_status(report, status))} {status}"
        for status in ("failed", "unsupported")
        if ranking.with_status(report, status)
    )
    foot = " · ".join(part for part in (_choice(report), others, *ranking.cautions(report)) if part)
    return el(
        "div",
        el("p", el("b", report.title), f" · {words.count(report.n_samples, 'image')}"),
        el("table", el("thead", head), el("tbody", *body)),
        el("p", foot),
    )


def _choice(report: Report) -> str:
    best = ranking.winner(report)
    if best is None:
        return verdict.why(report)
    careful = "".join(f" Careful: {caution}." for caution in verdict.cautions(report))
    return f"Ship {best.name}: {verdict.why(report)}.{careful}"


def _line(row: Row, report: Report, best: bool, swept: Sequence[Swept], by_rate: bool) -> Markup:
    quality = row.top1 if ranking.float_top1(report) is not None else row.agreement
    runtime = row.runtime + ("" if row.intended else words.NOT_INTENDED)
    left = (f"{row.toolchain} {row.recipe}", runtime, *(words.swept_value(name, row) for name in swept))
    right = (
        words.percent(quality),
        words.signed(ranking.gained(row, report)),
        words.size(row.size_bytes),
        words.significant(row.samples_per_s if by_rate else row.latency_p50_ms),
        words.times(row.speedup),
    )
    cells = [el("td", text, style=_LEFT) for text in left] + [el("td", text, style=_RIGHT) for text in right]
    return el("tr", *cells, style="font-weight:bold" if best else None)
