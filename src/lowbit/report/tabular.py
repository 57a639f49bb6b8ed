"""Rows for programs: CSV text with exactly the columns of `core.row.COLUMNS`, and plain dicts, with `training` too."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from lowbit.core.codec import to_plain
from lowbit.core.row import COLUMNS, Row


def to_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One dict a row, in column order, and the curve of its training; absent values are None, notes a list."""
    return [
        {**{name: _listed(getattr(row, name)) for name in COLUMNS}, "training": to_plain(row.training)} for row in rows
    ]


def to_csv(rows: Sequence[Row]) -> str:
    """A heading and one line a row; absent values are empty, truth values are `true` and `false` as in JSON.

    Notes are joined by "; " for those who read a table: a program finds them apart in the JSON.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_plain(getattr(row, name)) for name in COLUMNS] for row in rows)
    return text.getvalue()


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return "; ".join(value)
    return str(value).lower() if isinstance(value, bool) else value
