"""How a row looks in every plot: colour says the runtime, shape the toolchain, area the file's size."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import pi, sqrt

from lowbit.core.row import Row
from lowbit.report.markup import Markup, el

_COLOURS = 6  # classes c0 … c5 of page.css; more runtimes than that share the last one
_LARGEST = 15.0  # radius in pixels of the disc that has the largest file's area
_SMALLEST = 4.0
_SHAPES = (
    "M{r} 0A{r} {r} 0 1 1 -{r} 0A{r} {r} 0 1 1 {r} 0Z",
    "M-{s} -{s}H{s}V{s}H-{s}Z",
    "M0 -{d}L{d} 0L0 {d}L-{d} 0Z",
    "M0 -{t}L{u} {v}H-{u}Z",
    "M-{u} -{v}H{u}L0 {t}Z",
)


@dataclass(frozen=True, slots=True)
class Marks:
    """What the marks of a study depend on.

    - runtimes, toolchains: by name, so that a study looks the same however it ran
    - largest_bytes: size of its largest file
    - first: how many rows of other studies stand before its own on the same page
    """

    runtimes: tuple[str, ...]
    toolchains: tuple[str, ...]
    largest_bytes: int
    first: int = 0

    def place(self, rows: Sequence[Row], row: Row) -> int:
        """The row's index on the page, by which the script finds its tooltip."""
        return self.first + rows.index(row)

    def colour(self, runtime: str) -> str:
        """The class that colours `runtime`."""
        return f"c{min(self.runtimes.index(runtime), _COLOURS - 1)}"

    def radius(self, row: Row) -> float:
        """Radius in pixels of a disc whose area is proportional to the file's size."""
        return max(_SMALLEST, _LARGEST * sqrt((row.size_bytes or 0) / self.largest_bytes))

    def shape(self, toolchain: str, radius: float) -> Markup:
        """A path around (0, 0) with the area of a disc of `radius`, whatever the shape."""
        form = _SHAPES[min(self.toolchains.index(toolchain), len(_SHAPES) - 1)]
        area = pi * radius**2
        side = sqrt(area * 4 / sqrt(3))  # of the equilateral triangle
        sizes = {
            "r": radius,
            "s": sqrt(area) / 2,
            "d": sqrt(area / 2),
            "t": side / sqrt(3),
            "u": side / 2,
            "v": side / (2 * sqrt(3)),
        }
        return el("path", d=form.format(**{name: f"{value:.2f}" for name, value in sizes.items()}))

    def swatch(self, toolchain: str | None = None, runtime: str | None = None) -> Markup:
        """A small mark for a legend: a toolchain's shape, or a disc in a runtime's colour, or both in one."""
        form = el("path", d=_SHAPES[0].format(r="5")) if toolchain is None else self.shape(toolchain, 5.0)
        kind = f"swatch {self.colour(runtime)}" if runtime else "swatch plain"
        return el("svg", form, class_=kind, viewBox="-8 -8 16 16", aria_hidden="true")


def marks_of(rows: Sequence[Row], first: int = 0) -> Marks:
    """The marks of a study. `first`: how many rows of other studies stand before its own on the page."""
    return Marks(
        runtimes=_sorted(row.runtime for row in rows),
        toolchains=_sorted(row.toolchain for row in rows),
        largest_bytes=max((row.size_bytes or 1 for row in rows), default=1),
        first=first,
    )


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))
