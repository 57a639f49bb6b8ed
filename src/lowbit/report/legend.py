"""The legend of a study's plots: which colour runs, which shape made, what the area and an outline mean."""

from lowbit.core.study import Report
from lowbit.report import words
from lowbit.report.marks import Marks
from lowbit.report.markup import Markup, el
from lowbit.report.pareto import size_legend


def legend(report: Report, marks: Marks) -> Markup:
    """One line for all plots of `report`."""
    guests = any(not row.intended for row in report.rows)
    runtimes = [el("span", marks.swatch(runtime=name), name) for name in marks.runtimes]
    toolchains = [el("span", marks.swatch(toolchain=name), name) for name in marks.toolchains]
    return el(
        "p",
        el("span", el("em", "run by"), *runtimes),
        el("span", el("em", "made by"), *toolchains),
        el("span", size_legend(marks)),
        *([el("span", f"outline, {words.NOT_INTENDED}: the file was not made for this runtime")] if guests else []),
        class_="key",
    )
