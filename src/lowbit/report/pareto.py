"""The Pareto plot: accuracy against time, drawn on the server so that it needs no script.

Across, positions are percent of the plot's width and sizes are pixels: one drawing fits every screen. Only labels
depend on the width; they are placed twice, for a narrow and a wide screen, and CSS shows one set.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from lowbit.core.figures import rate
from lowbit.core.row import Row
from lowbit.core.settings import MEASURES_RATE
from lowbit.core.study import Report
from lowbit.report import labels, ranking, scale, words
from lowbit.report.marks import Marks
from lowbit.report.markup import Markup, el, join
from lowbit.report.tips import spoken

_HEIGHT = 380.0
_STRIP = 46.0  # at the bottom, for points far below the others
_NARROW, _WIDE = 250.0, 640.0  # the smallest plot widths for which labels are placed, in pixels


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where a row is drawn: x in percent of the width, y and the radius in pixels; value: what the strip hides."""

    row: Row
    x: float
    y: float
    r: float
    value: str | None


@dataclass(frozen=True, slots=True)
class _Axes:
    """Both scales, and `floor`: rows whose quality lies below it are drawn in the strip. Values are fractions, ms."""

    x: scale.Scale
    y: scale.Scale
    bottom: float
    floor: float

    def height(self, quality: float) -> float:
        """Pixels from the top."""
        if quality * 100 < self.floor:
            return _HEIGHT - _STRIP / 2 + 6
        return self.bottom * (1 - self.y.percent(quality * 100) / 100)


def pareto(report: Report, marks: Marks) -> Markup:
    """A figure with one mark a measured row, or a sentence when there is nothing to draw."""
    quality, what = _quality(report)
    unit = "ms a sample" if report.settings.scenario in MEASURES_RATE else "p50 latency, ms a query"
    rows = [row for row in ranking.measured_at_first(report) if quality(row) is not None and rate(row)]
    if not rows:
        return el("p", "No row was measured and timed, so there is nothing to draw.", class_="empty")

    def good(row: Row) -> float:
        return quality(row) or 0.0

    def dear(row: Row) -> float:
        return 1e3 / (rate(row) or 1.0)

    axes = _axes(report, [good(row) for row in rows], [dear(row) for row in rows])
    best = ranking.front(rows, good, dear)
    spots = [
        _Spot(
            row,
            axes.x.percent(dear(row)),
            axes.height(good(row)),
            marks.radius(row),
            words.percent(good(row)) if good(row) * 100 < axes.floor else None,
        )
        for row in rows
    ]
    front = [next(spot for spot in spots if spot.row is row) for row in best]
    corners = _staircase([(spot.x, spot.y) for spot in front])
    drawing = join(
        [
            *_grid(axes, f"{unit}{', logarithmic' if axes.x.logarithmic else ''}"),
            *_lines(report, axes),
            *_front(corners),
            *_points(report, marks, spots),
            *_labels(report, spots, front, corners),
        ]
    )
    svg = el(
        "svg", drawing, class_="pareto", width="100%", height=_HEIGHT, role="group", aria_label=f"{what} by {unit}"
    )
    return join([el("p", f"↑ {what}", class_="axis-title"), el("div", svg, class_="plot")])


def _quality(report: Report) -> tuple[Callable[[Row], float | None], str]:
    if any(row.top1 is not None for row in report.rows):
        return (lambda row: row.top1), "top-1 accuracy, %"
    return (lambda row: row.agreement), "images with the float model's prediction, %"


def _axes(report: Report, qualities: Sequence[float], prices: Sequence[float]) -> _Axes:
    percents = [quality * 100 for quality in qualities]
    best, middle = max(percents), median(percents)
    fence = middle - max(4 * (best - middle), 3 * report.choice.max_drop)
    inside = [value for value in percents if value >= fence]
    base = ranking.float_top1(report)
    if base is not None:
        inside += [base * 100, base * 100 - report.choice.max_drop]
    bottom = _HEIGHT - (_STRIP if min(percents) < fence else 0)
    return _Axes(scale.latency(prices), scale.linear(min(inside), min(100.0, max(inside) + 0.05)), bottom, fence)


def _grid(axes: _Axes, title: str) -> list[Markup]:
    drawn = []
    for tick in axes.y.ticks:
        y = axes.height(tick / 100)
        drawn.append(el("line", class_="grid", x1="0", x2="100%", y1=y, y2=y))
        drawn.append(el("text", f"{tick:g}", class_="tick", x=-10, y=y + 4, text_anchor="end"))
    for tick in axes.x.ticks:
        x = f"{axes.x.percent(tick):.2f}%"
        drawn.append(el("line", class_="grid", x1=x, x2=x, y1=0, y2=_HEIGHT))
        drawn.append(el("text", f"{tick:g}", class_="tick", x=x, y=_HEIGHT + 18, text_anchor="middle"))
    drawn.append(el("text", f"{title} →", class_="axis", x="100%", y=_HEIGHT + 38, text_anchor="end"))
    if axes.bottom < _HEIGHT:
        drawn.append(el("line", class_="break", x1="0", x2="100%", y1=axes.bottom + 8, y2=axes.bottom + 8))
        drawn.append(el("text", "below", class_="tick", x=-10, y=_HEIGHT - _STRIP / 2 + 10, text_anchor="end"))
    return drawn


def _lines(report: Report, axes: _Axes) -> list[Markup]:
    base = ranking.float_top1(report)
    if base is None:
        return []
    drawn = []
    for value, name in ((base, "float"), (base - report.choice.max_drop / 100, "limit")):
        y = axes.height(value)
        drawn.append(el("line", class_=f"level {name}", x1="0", x2="100%", y1=y, y2=y))
        drawn.append(
            el("svg", el("text", name, class_="tick", x=8, y=4), x="100%", y=y, overflow="visible", width=1, height=1)
        )
    return drawn


def _staircase(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The front's corners: along its steps no measured row is both faster and better."""
    corners = [(points[0][0], _HEIGHT), points[0]]
    for x, y in points[1:]:
        corners += [(x, corners[-1][1]), (x, y)]
    corners.append((100.0, corners[-1][1]))
    return corners


def _front(corners: Sequence[tuple[float, float]]) -> list[Markup]:
    return [
        el("line", class_="front", x1=f"{a[0]:.2f}%", y1=a[1], x2=f"{b[0]:.2f}%", y2=b[1]) for a, b in pairwise(corners)
    ]


def _points(report: Report, marks: Marks, spots: Sequence[_Spot]) -> list[Markup]:
    """Large files first, so that no mark hides a smaller one, and the winner on top."""
    best = ranking.winner(report)
    drawn = []
    for spot in sorted(spots, key=lambda spot: (spot.row is best, -spot.r)):
        row = spot.row
        kind = f"mark {marks.colour(row.runtime)}{'' if row.intended else ' guest'}{' best' if row is best else ''}"
        shape = el(
            "g",
            marks.shape(row.toolchain, spot.r),
            class_=kind,
            data_row=marks.place(report.rows, row),
            tabindex=0,
            role="img",
            aria_label=spoken(row, report),
        )
        drawn.append(_at(spot, shape))
        if spot.value is not None:
            drawn.append(_at(spot, el("text", spot.value, class_="tick", x=-spot.r - 5, y=4, text_anchor="end")))
    return drawn


def _at(spot: _Spot, drawing: Markup) -> Markup:
    """`drawing`, made around (0, 0), at the spot: a nested svg, since a transform cannot move by percent."""
    return el("svg", drawing, x=f"{spot.x:.2f}%", y=spot.y, width=1, height=1, overflow="visible")


def _labels(
    report: Report, spots: Sequence[_Spot], front: Sequence[_Spot], corners: Sequence[tuple[float, float]]
) -> list[Markup]:
    """Names along the front, for either width; the winner's is placed first."""
    best = ranking.winner(report)
    front = sorted(front, key=lambda spot: spot.row is not best)
    drawn = []
    for width, kind in ((_NARROW, "narrow"), (_WIDE, "wide")):
        step = width / 100  # pixels a percent
        points = [labels.Box(s.x * step - s.r, s.y - s.r, s.x * step + s.r, s.y + s.r) for s in spots]
        lines = [
            labels.Box(min(a[0], b[0]) * step, min(a[1], b[1]), max(a[0], b[0]) * step + 1, max(a[1], b[1]) + 1)
            for a, b in pairwise(corners)
        ]
        names = [s.row.recipe if kind == "narrow" else f"{s.row.toolchain} {s.row.recipe}" for s in front]
        wanted = [labels.Label(name, s.x * step, s.y, s.r) for name, s in zip(names, front, strict=True)]
        for spot, name, place in zip(front, names, labels.place(wanted, points, lines, width, _HEIGHT), strict=True):
            if place is not None:
                text = el("text", name, class_=f"label {kind}", x=place.dx, y=place.dy, text_anchor=place.anchor)
                drawn.append(_at(spot, text))
    return drawn


def size_legend(marks: Marks) -> str:
    """What the areas mean."""
    return f"area: file size, at most {words.size(marks.largest_bytes)}"
