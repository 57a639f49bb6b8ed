"""The sweep over settings as plots: speed, and speed-up over float, against what is swept. Drawn as `sweep_plot` is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lowbit.core.study import Report
from lowbit.core.sweep import Swept, values_of
from lowbit.report import ranking, scale, swept, words
from lowbit.report.marks import Marks
from lowbit.report.markup import Markup, el, join
from lowbit.report.tips import spoken

_HEIGHT = 250.0
_RADIUS = 4.5
_LABELS = 19.0  # percent of the width, at the right, for the names of the lines
_APART = 13.0  # pixels between two names, so that none hides another
_AXIS: Mapping[Swept, str] = {
    "batch_size": "batch size",
    "threads": "threads",
    "isa": "instruction set",
    "scenario": "scenario",
}


@dataclass(frozen=True, slots=True)
class _Plane:
    """values: what stands on the axis, from left to right, equally far apart; y in the unit of `scale`."""

    values: Sequence[swept.Value]
    scale: scale.Scale

    def x(self, value: swept.Value) -> float:
        """Percent of the plot's width."""
        return (self.values.index(value) + 0.5) / len(self.values) * (100 - _LABELS)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return _HEIGHT * (1 - self.scale.percent(value) / 100)


def swept_section(report: Report, marks: Marks, anchor: str | None = "swept") -> Markup:
    """The page's section; nothing where nothing is swept, or nothing was timed.

    anchor: the section's id; None where a page has several.
    """
    along, panels = swept.axis(report), swept.panels(report)
    if along is None or not panels:
        return Markup("")
    drawn = []
    faster = _scale(swept.speedups, panels)
    for panel in panels:
        alike = [other for other in panels if other.runtime == panel.runtime]  # so that they can be compared
        drawn += _panel(panel, along, (_scale(swept.speeds, alike), faster), report, marks)
    lead = (
        "A line is one version in a runtime that it was made for. Dashed lines compute in float, full ones on "
        "integers. Speed-up is over the fastest fp32 row of the same settings."
    )
    left_out = max(panel.left_out for panel in panels)
    if left_out:
        lead += f" Of versions with the same bits in one runtime only the fastest is drawn; {left_out} more are below."
    return el(
        "section",
        el("h2", f"Speed by {_AXIS[along]}"),
        el("p", lead, class_="lead"),
        _key(marks, [line for panel in panels for line in panel.lines]),
        *drawn,
        id=anchor,
    )


def _scale(
    of: Callable[[Iterable[swept.Line]], list[dict[swept.Value, float]]], panels: Iterable[swept.Panel]
) -> scale.Scale:
    """A scale from 0 that all these panels fit into."""
    values = (value for panel in panels for line in of(panel.lines) for value in line.values())
    return scale.linear(0, max(values, default=1.0), 4)


def _panel(
    panel: swept.Panel, along: Swept, scales: Sequence[scale.Scale], report: Report, marks: Marks
) -> list[Markup]:
    speeds, speedups = swept.speeds(panel.lines), swept.speedups(panel.lines)
    values = values_of(along, report.all_settings)
    known = [value for value in values if any(value in line.rows for line in panel.lines)]
    plots = []
    for what, numbers, height in zip(
        ("samples a second", "speed-up over float"), (speeds, speedups), scales, strict=True
    ):
        if not any(numbers):
            continue
        title = ", ".join(part for part in (what, panel.runtime, panel.told) if part)
        svg = _plot(panel.lines, numbers, along, _Plane(known, height), report, marks, title)
        plots.append(el("div", el("p", f"↑ {title}", class_="axis-title"), el("figure", el("div", svg, class_="plot"))))
    return [el("div", *plots, class_="pair")]


def _key(marks: Marks, lines: Iterable[swept.Line]) -> Markup:
    shown = list(lines)
    runtimes = sorted({line.runtime for line in shown})
    toolchains = sorted({line.toolchain for line in shown})
    return el(
        "p",
        el("span", el("em", "run by"), *(el("span", marks.swatch(runtime=name), name) for name in runtimes)),
        el("span", el("em", "made by"), *(el("span", marks.swatch(toolchain=name), name) for name in toolchains)),
        class_="key",
    )


def _plot(
    lines: Sequence[swept.Line],
    numbers: Sequence[Mapping[swept.Value, float]],
    along: Swept,
    plane: _Plane,
    report: Report,
    marks: Marks,
    title: str,
) -> Markup:
    drawn = _grid(plane, along)
    if any(line.any_row.is_fp32 and not of_line for line, of_line in zip(lines, numbers, strict=True)):
        drawn.append(el("line", class_="level float", x1="0", x2="100%", y1=plane.y(1), y2=plane.y(1)))
    for line, of_line in zip(lines, numbers, strict=True):
        kind = f"trace {marks.colour(line.runtime)}{'' if words.claims_integer(line.any_row) else ' float'}"
        drawn += [
            el("line", class_=kind, x1=f"{plane.x(a):.2f}%", y1=plane.y(of_line[a]),
               x2=f"{plane.x(b):.2f}%", y2=plane.y(of_line[b]))
            for a, b in pairwise(value for value in plane.values if value in of_line)
        ]  # fmt: skip
    for line, of_line in zip(lines, numbers, strict=True):
        drawn += _points(line, of_line, plane, report, marks)
    drawn += _names(lines, numbers, plane, marks)
    return el("svg", join(drawn), class_="pareto sweep", width="100%", height=_HEIGHT, role="group", aria_label=title)


def _grid(plane: _Plane, along: Swept) -> list[Markup]:
    drawn = []
    for tick in plane.scale.ticks:
        y = plane.y(tick)
        drawn.append(el("line", class_="grid", x1="0", x2="100%", y1=y, y2=y))
        drawn.append(el("text", f"{tick:g}", class_="tick", x=-8, y=y + 4, text_anchor="end"))
    for value in plane.values:
        x = f"{plane.x(value):.2f}%"
        text = words.ABSENT if value is None else str(value)
        drawn.append(el("text", text, class_="tick", x=x, y=_HEIGHT + 18, text_anchor="middle"))
    drawn.append(el("text", f"{_AXIS[along]} →", class_="axis", x="100%", y=_HEIGHT + 38, text_anchor="end"))
    return drawn


def _points(
    line: swept.Line, numbers: Mapping[swept.Value, float], plane: _Plane, report: Report, marks: Marks
) -> list[Markup]:
    best = ranking.winner(report)
    drawn = []
    for value, number in numbers.items():
        row = line.rows[value]
        shape = el(
            "g",
            marks.shape(row.toolchain, _RADIUS),
            class_=f"mark {marks.colour(row.runtime)}{' best' if row is best else ''}",
            data_row=marks.place(report.rows, row),
            tabindex=0,
            role="img",
            aria_label=spoken(row, report),
        )
        drawn.append(at(f"{plane.x(value):.2f}%", plane.y(number), shape))
    return drawn


def _names(
    lines: Sequence[swept.Line], numbers: Sequence[Mapping[swept.Value, float]], plane: _Plane, marks: Marks
) -> list[Markup]:
    """The recipe of each line at its right end, in the colour of its runtime, moved where it would hide another."""
    ends = []
    for line, of_line in zip(lines, numbers, strict=True):
        if of_line:
            last = max(of_line, key=plane.values.index)
            ends.append((plane.y(of_line[last]), plane.x(last), line))
    ends.sort(key=lambda end: end[0])
    heights = apart([y for y, _, _ in ends])
    return [
        at(f"{x:.2f}%", y, el("text", line.recipe, class_=f"end {marks.colour(line.runtime)}", x=9, y=4))
        for y, (_, x, line) in zip(heights, ends, strict=True)
    ]


def apart(heights: Sequence[float]) -> list[float]:
    """Rising `heights`, moved down where two are too close, and then up again from the bottom of the plot."""
    moved: list[float] = []
    for height in heights:
        moved.append(max(height, moved[-1] + _APART) if moved else height)
    bottom = _HEIGHT + _APART
    for place in reversed(range(len(moved))):
        bottom = moved[place] = min(moved[place], bottom - _APART)
    return moved


def at(x: str, y: float, drawing: Markup) -> Markup:
    """`drawing`, made around (0, 0), at its place: a nested svg, since a transform cannot move by percent."""
    return el("svg", drawing, x=x, y=y, width=1, height=1, overflow="visible")
