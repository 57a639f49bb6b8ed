"""Where labels go beside points so that they hide neither each other nor a point."""

from collections.abc import Sequence
from dataclasses import dataclass

_CHARACTER = 6.1  # pixels of an average character at the label's 11 px
_HEIGHT = 13.0


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        """Whether the two share any area."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


@dataclass(frozen=True, slots=True)
class Label:
    """A text to place beside the point (x, y) of radius r, in pixels."""

    text: str
    x: float
    y: float
    r: float


@dataclass(frozen=True, slots=True)
class Place:
    """Offset of the text's anchor from the point, in pixels; anchor: SVG's text-anchor."""

    dx: float
    dy: float
    anchor: str


def place(
    labels: Sequence[Label], points: Sequence[Box], lines: Sequence[Box], width: float, height: float
) -> list[Place | None]:
    """A place for each label inside width × height, None where every one hides a point or another label.

    Above comes first, since the front leaves a point to the right. A line is crossed only where nothing else is left.
    """
    taken = list(points)
    placed: list[Place | None] = []
    for label in labels:
        fitting = [p for p in _candidates(label) if _free(_box(label, p), taken, width, height)]
        uncrossed = (p for p in fitting if not any(_box(label, p).meets(line) for line in lines))
        found = next(uncrossed, fitting[0] if fitting else None)
        if found is not None:
            taken.append(_box(label, found))
        placed.append(found)
    return placed


def _candidates(label: Label) -> list[Place]:
    gap, middle = label.r + 5, 4.0  # 4 px below the centre is the baseline of a centred 11 px text
    return [
        Place(0, -gap, "middle"),
        Place(gap, -gap, "start"),
        Place(-gap, -gap, "end"),
        Place(-gap, middle, "end"),
        Place(gap, middle, "start"),
        Place(0, gap + 9, "middle"),
        Place(gap, gap + 9, "start"),
        Place(-gap, gap + 9, "end"),
    ]


def _box(label: Label, at: Place) -> Box:
    length = len(label.text) * _CHARACTER
    left = label.x + at.dx - {"start": 0.0, "middle": length / 2, "end": length}[at.anchor]
    base = label.y + at.dy
    return Box(left, base - _HEIGHT + 3, left + length, base + 3)


def _free(box: Box, taken: Sequence[Box], width: float, height: float) -> bool:
    inside = box.left >= 0 and box.top >= -_HEIGHT and box.right <= width and box.bottom <= height
    return inside and not any(box.meets(other) for other in taken)
