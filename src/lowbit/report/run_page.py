"""The page of a study file: published figures beside ours, then a section a model. It opens offline."""

import json
from importlib.resources import files
from string import Template

from lowbit.core.study import Report, RunReport, SectionReport
from lowbit.report import facts, ranking, words
from lowbit.report.bars import speed
from lowbit.report.claims import claims_table
from lowbit.report.legend import legend
from lowbit.report.marks import marks_of
from lowbit.report.markup import Markup, el, join
from lowbit.report.pareto import pareto
from lowbit.report.sortable import sortable
from lowbit.report.sweep_plot import sweep_section
from lowbit.report.swept_plot import swept_section
from lowbit.report.tips import tips


def run_page(run: RunReport) -> str:
    """The whole page: style, script and data are inside, and its policy forbids the browser any request."""
    rows, sections = 0, []
    for section in run.sections:
        sections.append(_section(section, rows))
        rows += sum(len(part.rows) for part in section.parts)
    shown = [tip for section in run.sections for part in section.parts for tip in tips(part)]
    first = next(part for section in run.sections for part in section.parts)
    return Template(_asset("run.html")).substitute(
        title=el("title", f"{run.title} · lowbit"),
        style=_asset("page.css"),
        script=_asset("page.js"),
        data=json.dumps(shown, ensure_ascii=True).replace("<", "\\u003c"),
        heading=_heading(run, first),
        claims=_claims(run),
        sections=join(sections),
        facts=facts.facts(first),
    )


def _asset(name: str) -> str:
    return files("lowbit.report").joinpath(name).read_text(encoding="utf-8")


def _heading(run: RunReport, first: Report) -> Markup:
    counted = sum(len(part.rows) for section in run.sections for part in section.parts)
    conditions = [
        words.count(sum(1 for section in run.sections if section.parts), "model"),
        words.count(counted, "cell"),
        first.host.cpu,
        words.moment(first.created),
    ]
    return join(
        [
            el("h1", run.title),
            el("p", " · ".join(conditions), class_="conditions"),
            *([el("p", run.about, class_="lead")] if run.about else []),
            *([el("p", el("code", run.command), class_="lead")] if run.command else []),
        ]
    )


def _claims(run: RunReport) -> Markup:
    if not run.claims:
        return Markup("")
    return el("section", el("h2", "Published figures beside ours"), claims_table(run.claims, run.source), id="claims")


def _section(section: SectionReport, first: int) -> Markup:
    parts = []
    for part in section.parts:
        parts.append(_part(part, first))
        first += len(part.rows)
    notes = [el("li", note) for note in section.notes]
    return el(
        "section",
        el("h2", section.title),
        *([el("ul", *notes, class_="cautions")] if notes else []),
        *parts,
        id=f"model-{section.name}",
    )


def _part(report: Report, first: int) -> Markup:
    marks = marks_of(report.rows, first)
    cautions = [el("li", caution) for caution in ranking.cautions(report)]
    counted = [
        f"{len(ranking.with_status(report, status))} {status}" for status in ("measured", "failed", "unsupported")
    ]
    base = ranking.float_top1(report)
    said = [
        f"{report.title}, {words.count(report.n_samples, 'image')}",
        *([] if base is None else [f"float {words.percent(base)} %"]),
        ", ".join(counted),
    ]
    return join(
        [
            el("p", " · ".join(said), class_="conditions"),
            *([el("ul", *cautions, class_="cautions")] if cautions else []),
            legend(report, marks),
            el("figure", pareto(report, marks)),
            speed(report, marks),
            swept_section(report, marks, anchor=None),
            sweep_section(report, marks),
            el("details", el("summary", "All numbers"), sortable(report, marks)),
        ]
    )
