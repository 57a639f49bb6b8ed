"""docs/networks.md: tables with rows of networks, written by the tests that measure them.

`LOWBIT_WRITE_DOCS=1` writes the rows of the networks that are tested; otherwise they must stand there already.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "networks.md"
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the page.

    - head: its lines from the heading down to the line under the columns' names
    - order: the networks in the order of their rows, each named by its first column; a network may have several rows
    - tolerance: how far numbers may be from those that stand there
    """

    head: tuple[str, ...]
    order: tuple[str, ...]
    tolerance: float = 0.0

    def note(self, name: str, rows: Sequence[str], page: Path = PAGE) -> None:
        """The network's rows stand on the page, or are written there."""
        lines = page.read_text().splitlines() if page.exists() else []
        start = lines.index(self.head[0]) if self.head[0] in lines else len(lines)
        there = _rows(lines, start)
        if os.environ.get("LOWBIT_WRITE_DOCS"):
            end = len(lines) if start == len(lines) else _end(lines, start)
            kept = {other: [row for row in there if _named(row) == other] for other in self.order} | {name: list(rows)}
            written = [*self.head, *(row for other in self.order for row in kept[other])]
            before = [*lines[:start], ""] if start == len(lines) and lines else lines[:start]
            after = ["", *lines[end:]] if end < len(lines) else []
            page.write_text("\n".join([*before, *written, *after]) + "\n")
            return
        mine = [row for row in there if _named(row) == name]
        expected = "\n".join(rows)
        alike = len(mine) == len(rows) and all(map(self._alike, mine, rows))
        assert alike, f"{page.name} says something else; expected:\n{expected}\nit says:\n" + "\n".join(mine)

    def _alike(self, one: str, other: str) -> bool:
        """Whether two rows have the same words, and numbers within the tolerance."""
        numbers = [[float(found) for found in _NUMBER.findall(row)] for row in (one, other)]
        near = all(abs(a - b) <= self.tolerance for a, b in zip(*numbers, strict=False))
        return _NUMBER.split(one) == _NUMBER.split(other) and near


def _end(lines: Sequence[str], start: int) -> int:
    """Where the next section begins."""
    return next((at for at in range(start + 1, len(lines)) if lines[at].startswith("#")), len(lines))


def _rows(lines: Sequence[str], start: int) -> list[str]:
    """The rows of the table in the section that begins at `start`."""
    table = [line for line in lines[start : _end(lines, start)] if line.startswith("|")]
    return table[2:]


def _named(row: str) -> str:
    """The first column of a row."""
    return row.split("|")[1].strip()
