"""The report as one HTML page that opens offline: all plots are drawn here, page.js adds tooltips and sorting."""

import json
from importlib.resources import files
from string import Template

from lowbit.core.row import Row
from lowbit.core.settings import MEASURES_RATE
from lowbit.core.study import Report
from lowbit.report import facts, ranking, verdict, words
from lowbit.report.bars import losses, speed
from lowbit.report.legend import legend
from lowbit.report.marks import marks_of
from lowbit.report.markup import Markup, el, join
from lowbit.report.matrix import matrix
from lowbit.report.pareto import pareto
from lowbit.report.sortable import sortable
from lowbit.report.sweep_plot import sweep_section
from lowbit.report.swept_plot import swept_section
from lowbit.report.time_section import time_section
from lowbit.report.tips import tips
from lowbit.report.training_section import training_section


def page(report: Report) -> str:
    """The whole page: style, script and data are inside, and its policy forbids the browser any request."""
    marks = marks_of(report.rows)
    return Template(_asset("page.html")).substitute(
        title=el("title", f"{report.title} · lowbit"),
        style=_asset("page.css"),
        script=_asset("page.js"),
        data=_data(report),
        heading=_heading(report),
        verdict=_verdict(report),
        quality="Accuracy" if ranking.float_top1(report) is not None else "Agreement with float",
        price="time" if _offline(report) else "latency",
        within=_within(report),
        whiskers=" Whiskers span the medians of the rounds." if ranking.has_spread(report) else "",
        key=legend(report, marks),
        pareto=pareto(report, marks),
        speed=speed(report, marks),
        losses=losses(report, marks),
        training=training_section(report, marks),
        time=time_section(report),
        swept=swept_section(report, marks),
        sweep=sweep_section(report, marks),
        matrix=matrix(report, marks),
        table=sortable(report, marks),
        summary=el("p", _counts(report), class_="lead"),
        facts=facts.facts(report),
        glossary=facts.glossary(report),
    )


def _within(report: Report) -> Markup:
    """With which settings of a sweep the rows that a plot draws were measured."""
    within = verdict.within(report)
    return join([f" At {within}, the first settings of the sweep."] if within else [])


def _offline(report: Report) -> bool:
    """Whether the result is a rate: offline, all samples are one query; in the server scenario, arrivals are given."""
    return report.settings.scenario in MEASURES_RATE


def _asset(name: str) -> str:
    return files("lowbit.report").joinpath(name).read_text(encoding="utf-8")


def _data(report: Report) -> str:
    """JSON that cannot end its own script element."""
    return json.dumps(tips(report), ensure_ascii=True).replace("<", "\\u003c")


def _heading(report: Report) -> Markup:
    conditions = [
        words.count(report.n_samples, "image"),
        *words.conditions(report.all_settings),
        report.host.cpu,
        words.moment(report.created),
    ]
    cautions = [el("li", caution) for caution in ranking.cautions(report)]
    return join(
        [
            el("h1", report.title),
            el("p", " · ".join(conditions), class_="conditions"),
            *([el("ul", *cautions, class_="cautions")] if cautions else []),
        ]
    )


def _verdict(report: Report) -> Markup:
    best = ranking.winner(report)
    if best is None:
        nothing = el("div", el("p", "No version to ship", class_="winner"), el("p", verdict.why(report)))
        return el("div", nothing, class_="verdict none")
    figures = [
        el("div", el("b", value), el("span", name), el("small", note)) for value, name, note in _figures(best, report)
    ]
    said = [el("p", verdict.why(report), class_="reason")]
    if verdict.within(report):
        said.append(el("p", f"Chosen at {verdict.within(report)}, the first settings of the sweep.", class_="ties"))
    said += [el("p", f"Careful: {caution}.", class_="careful") for caution in verdict.cautions(report)]
    if report.choice.tied:
        why = words.TIE[report.choice.optimize]
        said.append(el("p", f"Ties with it ({why}): {', '.join(report.choice.tied)}.", class_="ties"))
    if best.artifact:
        said.append(el("p", "File to ship: ", el("code", best.artifact), class_="file"))
    winner = el(
        "div", el("p", "Ship this version", class_="eyebrow"), el("p", best.name, class_="winner"), *said, class_="what"
    )
    return el("div", winner, el("div", *figures, class_="figures"), class_="verdict")


def _figures(best: Row, report: Report) -> list[tuple[str, str, str]]:
    """The winner's three key figures: value, name, and what to compare it with."""
    base, gained = ranking.float_top1(report), ranking.gained(best, report)
    if best.top1 is not None:
        against = "" if base is None else f"{words.signed(gained)}\u00a0points, float\u00a0{words.percent(base)}\u00a0%"
        quality = (f"{words.percent(best.top1)} %", "top-1 accuracy", against)
    else:
        quality = (f"{words.percent(best.agreement)} %", "same as float", "images with the float model's prediction")
    if best.scenario in MEASURES_RATE:
        absolute = f"{words.significant(best.samples_per_s)} samples a second"
    else:
        absolute = f"{words.significant(best.latency_p50_ms)} ms a query (p50)"
    float_file = next(
        (row for row in ranking.at_first(report) if row.is_fp32 and row.toolchain == best.toolchain), None
    )
    share = "on disk"
    if float_file and float_file.size_bytes and best.size_bytes:
        share = f"{best.size_bytes / float_file.size_bytes * 100:.0f} % of the fp32 file"
    speed = [(words.times(best.speedup), "speed, fp32 is 1×", absolute)] if best.samples_per_s is not None else []
    return [quality, *speed, (words.size(best.size_bytes), "file", share)]


def _counts(report: Report) -> str:
    counted = [
        f"{len(ranking.with_status(report, status))} {status}" for status in ("measured", "failed", "unsupported")
    ]
    return f"{words.count(len(report.rows), 'cell')}: {', '.join(counted)}. Press a heading to sort."
