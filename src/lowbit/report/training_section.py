"""How trainings went: held-out answers against seconds, one line a version, and what a step cost."""

from collections.abc import Sequence
from itertools import pairwise

from lowbit.core.row import Row
from lowbit.core.study import Report
from lowbit.core.training import Training
from lowbit.report import scale, words
from lowbit.report.marks import Marks
from lowbit.report.markup import Markup, el, join
from lowbit.report.swept_plot import apart, at

_HEIGHT = 250.0
_LABELS = 19.0  # percent of the width, at the right, for the names of the lines
_RADIUS = 4.5
_COLOURS = ("c0", "c1", "c2", "c3", "c4", "c5")


def training_section(report: Report, marks: Marks) -> Markup:
    """The page's section; nothing where nothing was trained."""
    trained = _trained(report)
    if not trained:
        return Markup("")
    lead = (
        "Answers as float on pictures that were held out from training, from the closed form on. Each version's file "
        "is its best moment, the ring."
    )
    title = "held-out answers as float, %"
    figure = el("figure", el("div", _plot(trained, marks, title), class_="plot"))
    return el(
        "section",
        el("h2", "What training gained"),
        el("p", lead, class_="lead"),
        el("p", f"↑ {title}", class_="axis-title"),
        figure,
        _table(trained),
        id="training",
    )


def _trained(report: Report) -> list[tuple[Row, Training]]:
    """The first row of each version that was trained."""
    found: dict[tuple[str, str], tuple[Row, Training]] = {}
    for row in report.rows:
        if row.training is not None:
            found.setdefault((row.toolchain, row.recipe), (row, row.training))
    return list(found.values())


def _plot(trained: list[tuple[Row, Training]], marks: Marks, title: str) -> Markup:
    points = [point for _, training in trained for point in training.points]
    across = scale.linear(0, max(point.seconds for point in points), 5)
    upwards = scale.linear(100 * min(point.agreement for point in points), 100, 4)

    def x(seconds: float) -> str:
        return f"{across.percent(seconds) * (100 - _LABELS) / 100:.2f}%"

    def y(share: float) -> float:
        return _HEIGHT * (1 - upwards.percent(100 * share) / 100)

    drawn, ends = list[Markup](), list[tuple[float, str, Markup]]()
    for tick in upwards.ticks:
        height = y(tick / 100)
        drawn.append(el("line", class_="grid", x1="0", x2="100%", y1=height, y2=height))
        drawn.append(el("text", f"{tick:g}", class_="tick", x=-8, y=height + 4, text_anchor="end"))
    for tick in across.ticks:
        drawn.append(el("text", f"{tick:g}", class_="tick", x=x(tick), y=_HEIGHT + 18, text_anchor="middle"))
    drawn.append(el("text", "seconds of training →", class_="axis", x="100%", y=_HEIGHT + 38, text_anchor="end"))
    for place, (row, training) in enumerate(trained):
        colour = _COLOURS[place % len(_COLOURS)]
        drawn += [
            el("line", class_=f"trace {colour}", x1=x(a.seconds), y1=y(a.agreement), x2=x(b.seconds), y2=y(b.agreement))
            for a, b in pairwise(training.points)
        ]
        best, last = training.points[training.best], training.points[-1]
        mark = el(
            "g", marks.shape(row.toolchain, _RADIUS), class_=f"mark {colour} best", role="img",
            aria_label=f"{row.recipe}: {100 * best.agreement:.1f} % after {best.seconds:.0f} s",
        )  # fmt: skip
        drawn.append(at(x(best.seconds), y(best.agreement), mark))
        ends.append((y(last.agreement), x(last.seconds), el("text", row.recipe, class_=f"end {colour}", x=9, y=4)))
    ends.sort(key=lambda end: end[0])
    heights = apart([height for height, _, _ in ends])
    drawn += [at(place, height, text) for height, (_, place, text) in zip(heights, ends, strict=True)]
    return el("svg", join(drawn), class_="pareto sweep", width="100%", height=_HEIGHT, role="group", aria_label=title)


def _table(trained: list[tuple[Row, Training]]) -> Markup:
    headings = (
        "version",
        "pictures seen",
        "seconds",
        "loss",
        "as float",
        "right",
        "a step, float 1×",
        "kept, float 1×",
    )
    rows = [_line("td", _cells(row, training)) for row, training in trained]
    head = _line("th", headings)
    return el("div", el("table", el("thead", head), el("tbody", *rows), class_="trained"), class_="scroll")


def _line(kind: str, cells: Sequence[str]) -> Markup:
    return el("tr", *(el(kind, cell) for cell in cells))


def _cells(row: Row, training: Training) -> Sequence[str]:
    first, last, best = training.points[0], training.points[-1], training.points[training.best]
    right = words.ABSENT
    if best.accuracy is not None and first.accuracy is not None:
        right = f"{100 * first.accuracy:.1f} → {100 * best.accuracy:.1f} %"
    return (
        f"{row.toolchain}/{row.recipe}",
        f"{last.images:,} of {training.images:,}",
        f"{last.seconds:.0f}",
        f"{words.significant(first.loss)} → {words.significant(best.loss)}",
        f"{100 * first.agreement:.1f} → {100 * best.agreement:.1f} %",
        right,
        f"{training.step_s / training.float_step_s:.2f}×",
        f"{training.kept_bytes / training.float_kept_bytes:.1f}×",
    )
