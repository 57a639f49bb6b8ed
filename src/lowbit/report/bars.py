"""Two plots made of lines of text and ink: how fast each version is, and which vendors lose how much accuracy."""

from collections.abc import Sequence

from lowbit.core.figures import rate
from lowbit.core.row import Row
from lowbit.core.settings import MEASURES_RATE
from lowbit.core.study import Report
from lowbit.report import ranking, scale, words
from lowbit.report.marks import Marks
from lowbit.report.markup import Markup, el, join
from lowbit.report.tips import spoken

_APART = 5  # pixels between the marks of one version's runtimes


def speed(report: Report, marks: Marks) -> Markup:
    """Speed by recipe and runtime, longest bar fastest; the whisker spans the rounds' medians (offline: none)."""
    rows = [row for row in ranking.measured_at_first(report) if rate(row) is not None]
    if not rows:
        return el("p", "No row was timed.", class_="empty")
    top = max(rate(row) or 0.0 for row in rows) * 1.06
    unit = next((each / row.speedup for row in rows if row.speedup and (each := rate(row))), None)
    mark = None if unit is None else f"--one:{unit / top * 100:.2f}%"
    groups: dict[str, list[Row]] = {recipe: [] for recipe in ranking.recipes(report)}
    for row in sorted(rows, key=lambda row: -(rate(row) or 0.0)):
        groups[row.recipe].append(row)
    blocks = [
        join([el("h4", recipe), *(_bar(row, report, marks, top) for row in group)])
        for recipe, group in groups.items()
        if group
    ]
    return el("div", *blocks, class_="bars" + (" one" if mark else ""), style=mark)


def _bar(row: Row, report: Report, marks: Marks, top: float) -> Markup:
    length = (rate(row) or 0.0) / top * 100
    ink = [el("span", class_=f"bar {marks.colour(row.runtime)}", style=f"width:{length:.2f}%")]
    low, high = row.latency_p50_low_ms, row.latency_p50_high_ms
    if low and high and low < high:
        left, right = 100_000 / high / top, min(100.0, 100_000 / low / top)
        ink.append(el("span", class_="whisker", style=f"left:{left:.2f}%;width:{right - left:.2f}%"))
    value = f"{words.significant(row.samples_per_s)} /s" if row.scenario in MEASURES_RATE else _ms(row)
    return el(
        "div",
        el("span", marks.swatch(row.toolchain, row.runtime), _made_and_run(row), class_="name"),
        el("span", *ink, class_="track"),
        el("span", words.times(row.speedup), class_="number strong"),
        el("span", value, class_="number"),
        class_="line",
        data_row=marks.place(report.rows, row),
        tabindex=0,
        aria_label=spoken(row, report),
        role="img",
    )


def _ms(row: Row) -> str:
    return f"{words.significant(row.latency_p50_ms)} ms"


def _made_and_run(row: Row) -> Markup:
    run_by = "" if row.runtime == row.toolchain else f" → {row.runtime}"
    return el("span", f"{row.toolchain}{run_by}{'' if row.intended else words.NOT_INTENDED}", class_="who")


def losses(report: Report, marks: Marks) -> Markup:
    """Points lost or won against float: a line for each version, a mark for each runtime, the interval of the first."""
    rows = [
        row for row in ranking.at_first(report) if row.status == "measured" and ranking.gained(row, report) is not None
    ]
    if not rows:
        return el("p", "No accuracy is known, so no loss either.", class_="empty")
    axis = _axis(report, rows)
    versions: dict[str, dict[str, list[Row]]] = {}
    order = ranking.recipes(report)
    for row in sorted(rows, key=lambda row: (row.toolchain, order.index(row.recipe), not row.intended, row.runtime)):
        versions.setdefault(row.toolchain, {}).setdefault(row.recipe, []).append(row)
    blocks = [
        join([el("h4", toolchain), *(_loss(recipe, group, report, marks, axis) for recipe, group in recipes.items())])
        for toolchain, recipes in versions.items()
    ]
    limit = axis.percent(-report.choice.max_drop)
    style = f"--zero:{axis.percent(0):.2f}%;--limit:{limit:.2f}%"
    return el("div", _ruler(axis), *blocks, class_="bars losses", style=style)


def _axis(report: Report, rows: Sequence[Row]) -> scale.Scale:
    """Wide enough for intervals and the limit; a row that fell off a cliff is held at the edge instead."""
    limit = report.choice.max_drop
    shown = [0.3, -1.2 * limit]
    for row in rows:
        points = ranking.gained(row, report) or 0.0
        if points >= -4 * limit:
            shown += _interval(row, report) or (points, points)
    return scale.linear(min(shown), max(shown), 4)


def _interval(row: Row, report: Report) -> tuple[float, float] | None:
    base = ranking.float_top1(report)
    if base is None or row.top1_low is None or row.top1_high is None:
        return None
    return (row.top1_low - base) * 100, (row.top1_high - base) * 100


def _ruler(axis: scale.Scale) -> Markup:
    ticks = (
        el(
            "span",
            f"{tick:+g}".replace("-", words.MINUS) if tick else "float",
            class_="at",
            style=f"left:{axis.percent(tick):.2f}%",
        )
        for tick in axis.ticks
    )
    return el(
        "div",
        el("span", "points", class_="name"),
        el("span", *ticks, class_="track ruler"),
        el("span", "top-1", class_="number"),
        el("span", "p", class_="number"),
        class_="line head",
    )


def _loss(recipe: str, rows: Sequence[Row], report: Report, marks: Marks, axis: scale.Scale) -> Markup:
    first = next((row for row in rows if row.intended), rows[0])
    ink = []
    interval = _interval(first, report)
    if interval is not None:
        left, right = axis.percent(interval[0]), axis.percent(interval[1])
        ink.append(el("span", class_="interval", style=f"left:{left:.2f}%;width:{right - left:.2f}%"))
    for index, row in enumerate(rows):
        points = ranking.gained(row, report) or 0.0
        shift = (index - (len(rows) - 1) / 2) * _APART  # equal losses of two runtimes stay visible
        off = " off" if points < axis.low else ""
        ink.append(
            el(
                "span",
                marks.swatch(row.toolchain, row.runtime),
                class_=f"dot{off}",
                style=f"left:{axis.percent(points):.2f}%;margin-top:{shift:g}px",
                data_row=marks.place(report.rows, row),
                tabindex=0,
                role="img",
                aria_label=spoken(row, report),
            )
        )
    lost = ranking.gained(first, report)
    return el(
        "div",
        el("span", el("span", recipe, class_="who"), class_="name"),
        el("span", *ink, class_="track"),
        el(
            "span",
            words.signed(lost),
            class_="number strong" + (" bad" if ranking.loses_too_much(first, report) else ""),
        ),
        el("span", words.p_value(first.p_value), class_="number"),
        class_="line",
    )
