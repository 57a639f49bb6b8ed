"""The support matrix: which recipe of which toolchain runs where, and why not."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from lowbit.core.row import Row
from lowbit.core.study import Report
from lowbit.core.sweep import told_apart
from lowbit.report import ranking, words
from lowbit.report.marks import Marks
from lowbit.report.markup import Markup, el, join
from lowbit.report.tips import spoken

_SIGN = {"measured": "✓", "failed": "✕", "unsupported": "–"}


def matrix(report: Report, marks: Marks) -> Markup:
    """Recipes down, toolchains across; in each field a chip for every runtime, and all reasons in a list below.

    In a sweep a chip stands for all settings; where they ended differently there is one for each way.
    """
    cells: dict[tuple[str, str], dict[tuple[str, str], list[Row]]] = {}
    for row in report.rows:
        field = cells.setdefault((row.recipe, row.toolchain), {})
        field.setdefault((row.runtime, row.status), []).append(row)
    head = el("tr", el("th", "recipe", scope="col"), *(el("th", name, scope="col") for name in marks.toolchains))
    body = [
        el(
            "tr",
            el("th", recipe, scope="row"),
            *(el("td", *_chips(cells.get((recipe, name), {}), report, marks)) for name in marks.toolchains),
        )
        for recipe in ranking.recipes(report)
    ]
    table = el("table", el("thead", head), el("tbody", *body), class_="matrix")
    return join([el("div", table, class_="scroll", tabindex=0), *_reasons(report)])


def _chips(field: Mapping[tuple[str, str], Sequence[Row]], report: Report, marks: Marks) -> Iterator[Markup]:
    several = Counter(runtime for runtime, _ in field)
    for (runtime, _), rows in field.items():
        settings = "; ".join(told_apart(row, row.swept) for row in rows) if several[runtime] > 1 else ""
        yield _chip(rows[0], settings, report, marks)


def _chip(row: Row, settings: str, report: Report, marks: Marks) -> Markup:
    """`settings`: for which of a sweep's settings the chip stands; empty: for all."""
    guest = "" if row.intended else words.NOT_INTENDED
    return el(
        "button",
        el("span", _SIGN[row.status], class_="sign", aria_hidden="true"),
        f" {row.runtime}{guest}{f' ({settings})' if settings else ''}",
        class_=f"chip {row.status} {marks.colour(row.runtime)}",
        type="button",
        data_row=marks.place(report.rows, row),
        aria_label=spoken(row, report),
    )


def _reasons(report: Report) -> list[Markup]:
    lists = []
    for status, opened in (("failed", True), ("unsupported", False)):
        rows = ranking.with_status(report, status)
        if rows:
            summary = el("summary", f"{len(rows)} {status}: the reasons")
            entries = [_reason(reason, group) for reason, group in ranking.by_reason(rows).items()]
            lists.append(el("details", summary, el("dl", *entries), class_="reasons", open=opened))
    return lists


def _reason(reason: str, rows: list[Row]) -> Markup:
    logs = [el("dd", f"log: {row.log}", class_="log") for row in rows if row.log]
    return el("div", el("dt", ", ".join(row.name for row in rows)), el("dd", reason), *logs)
