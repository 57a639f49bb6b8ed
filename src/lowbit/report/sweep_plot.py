"""The sweep as two small plots: points of top-1, and the size of the file, against bits. Drawn as `pareto` is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lowbit.core.study import Report
from lowbit.report import ranking, scale, sweep, words
from lowbit.report.marks import Marks
from lowbit.report.markup import Markup, el, join
from lowbit.report.tips import spoken

_HEIGHT = 240.0
_RADIUS = 4.5


@dataclass(frozen=True, slots=True)
class _Plane:
    """widths from left to right; y in the unit of `scale`."""

    widths: Sequence[int]
    scale: scale.Scale

    def x(self, bits: int) -> float:
        """Percent of the plot's width."""
        return (self.widths.index(bits) + 0.5) / len(self.widths) * 100

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return _HEIGHT * (1 - self.scale.percent(value) / 100)


def sweep_section(report: Report, marks: Marks) -> Markup:
    """The page's section; nothing where no series has three widths."""
    found = sweep.series_of(report)
    if not found:
        return Markup("")
    widths = sorted({bits for series in found for bits in series.rows}, reverse=True)
    judged = ranking.float_top1(report) is not None
    unit = "top-1 less float’s, points" if judged else "agreement with float less 100 %, points"
    panels = (
        (unit, _gained(report, marks, found, widths)),
        ("size of the file, % of the widest of its kind", _sizes(report, marks, found, widths)),
    )
    figures = [
        el("div", el("p", f"↑ {title}", class_="axis-title"), el("figure", el("div", drawn, class_="plot")))
        for title, drawn in panels
    ]
    lead = "One line a runtime: the same engine and data, weights of fewer and fewer bits."
    return el(
        "section",
        el("h2", "Accuracy and size, bit by bit"),
        el("p", lead, class_="lead"),
        _key(marks, found),
        el("div", *figures, class_="pair"),
        id="sweep",
    )


def _key(marks: Marks, found: Iterable[sweep.Series]) -> Markup:
    ours = [
        el("span", marks.swatch(runtime=series.runtime), f"{series.toolchain} {series.name} in {series.runtime}")
        for series in found
    ]
    return el("p", el("span", *ours), class_="key")


def _gained(report: Report, marks: Marks, found: Sequence[sweep.Series], widths: Sequence[int]) -> Markup:
    ours = [{bits: sweep.points(row, report) or 0.0 for bits, row in series.rows.items()} for series in found]
    every = [value for values in ours for value in values.values()]
    plane = _Plane(widths, scale.linear(min(*every, 0.0), max(*every, 0.0), 4))
    drawn = _grid(plane)
    for series, values in zip(found, ours, strict=True):
        drawn += _trace(plane, values, marks.colour(series.runtime))
        drawn += _points(report, marks, plane, series, values, {})
    return _svg(drawn, "points of top-1 against float, by bits of weights")


def _sizes(report: Report, marks: Marks, found: Sequence[sweep.Series], widths: Sequence[int]) -> Markup:
    plane = _Plane(widths, scale.linear(0, 100, 4))
    drawn = _grid(plane)
    drawn_names: set[str] = set()
    for series in found:
        known = {bits: row.size_bytes for bits, row in series.rows.items() if row.size_bytes}
        if not known:
            continue
        widest = known[max(known)]
        values = {bits: size / widest * 100 for bits, size in known.items()}
        first = series.name not in drawn_names  # a file is as large in every runtime
        drawn_names.add(series.name)
        drawn += _trace(plane, values, marks.colour(series.runtime))
        texts = {bits: words.size(size) for bits, size in known.items()} if first else {}
        drawn += _points(report, marks, plane, series, values, texts)
    return _svg(drawn, "size of the file by bits of weights")


def _grid(plane: _Plane) -> list[Markup]:
    drawn = []
    for tick in plane.scale.ticks:
        y = plane.y(tick)
        text = f"{tick:g}".replace("-", words.MINUS)
        drawn.append(el("line", class_="grid", x1="0", x2="100%", y1=y, y2=y))
        drawn.append(el("text", text, class_="tick", x=-10, y=y + 4, text_anchor="end"))
    for bits in plane.widths:
        x = f"{plane.x(bits):.2f}%"
        drawn.append(el("text", str(bits), class_="tick", x=x, y=_HEIGHT + 18, text_anchor="middle"))
    drawn.append(el("text", "bits of weights →", class_="axis", x="100%", y=_HEIGHT + 38, text_anchor="end"))
    return drawn


def _trace(plane: _Plane, values: Mapping[int, float], kind: str) -> list[Markup]:
    """Lines from width to width."""
    return [
        el("line", class_=f"trace {kind}", x1=f"{plane.x(a):.2f}%", y1=plane.y(values[a]),
           x2=f"{plane.x(b):.2f}%", y2=plane.y(values[b]))
        for a, b in pairwise(sorted(values, reverse=True))
    ]  # fmt: skip


def _points(
    report: Report,
    marks: Marks,
    plane: _Plane,
    series: sweep.Series,
    values: Mapping[int, float],
    texts: Mapping[int, str],
) -> list[Markup]:
    best = ranking.winner(report)
    drawn = []
    for bits, value in values.items():
        row = series.rows[bits]
        shape = el(
            "g",
            marks.shape(row.toolchain, _RADIUS),
            class_=f"mark {marks.colour(row.runtime)}{' best' if row is best else ''}",
            data_row=marks.place(report.rows, row),
            tabindex=0,
            role="img",
            aria_label=spoken(row, report),
        )
        label = [el("text", texts[bits], class_="tick", x=0, y=19, text_anchor="middle")] if bits in texts else []
        drawn.append(_at(plane, bits, value, shape, *label))
    return drawn


def _at(plane: _Plane, bits: int, value: float, *drawing: Markup) -> Markup:
    """`drawing`, made around (0, 0), at its place: a nested svg, since a transform cannot move by percent."""
    return el("svg", *drawing, x=f"{plane.x(bits):.2f}%", y=plane.y(value), width=1, height=1, overflow="visible")


def _svg(drawn: Sequence[Markup], what: str) -> Markup:
    return el("svg", join(drawn), class_="pareto sweep", width="100%", height=_HEIGHT, role="group", aria_label=what)
