"""A finished study: what the command prints, the page draws, and the Python API returns. Saved and read back whole."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowbit.core.codec import from_plain, load_json, save_json, to_plain
from lowbit.core.errors import BadInput
from lowbit.core.files import write_text
from lowbit.core.outcome import Accuracy
from lowbit.core.row import Row
from lowbit.core.study import Report
from lowbit.report.notebook import notebook_html
from lowbit.report.page import page
from lowbit.report.tabular import to_csv, to_json
from lowbit.worker.jobs import JobResult

if TYPE_CHECKING:
    import pandas

STUDY, RESULTS, TABLE, PAGE = "study.json", "results.json", "results.csv", "report.html"


@dataclass(frozen=True, slots=True)
class StudyResult:
    """What `compare` returns. `cells` maps a row's name to the folder of its finished jobs under cells/."""

    folder: Path
    report: Report
    cells: Mapping[str, str]

    @property
    def rows(self) -> tuple[Row, ...]:
        """One row a cell, measured or not."""
        return self.report.rows

    @property
    def winner(self) -> Row | None:
        """The row to ship; None when nothing loses little enough."""
        index = self.report.choice.row
        return None if index is None else self.rows[index]

    @property
    def page(self) -> Path:
        """The page that shows it all."""
        return self.folder / PAGE

    def to_frame(self) -> "pandas.DataFrame":
        """The rows as a pandas DataFrame; needs `pip install 'lowbit[all]'`."""
        try:
            import pandas
        except ImportError as error:
            raise BadInput("to_frame() needs pandas, which is not installed: pip install 'lowbit[all]'") from error
        return pandas.DataFrame(to_json(self.rows))

    def _repr_html_(self) -> str:
        return notebook_html(self.report)


def save(result: StudyResult) -> None:
    """Write study.json, results.json, results.csv and report.html, each whole or not at all."""
    save_json(result.folder / STUDY, {"report": _without_rows(result.report), "cells": dict(result.cells)})
    write_text(result.folder / RESULTS, json.dumps(to_json(result.rows), indent=1, allow_nan=False) + "\n")
    write_text(result.folder / TABLE, to_csv(result.rows))
    draw(result)


def draw(result: StudyResult) -> None:
    """Draw the page again."""
    write_text(result.page, page(result.report))


def load(folder: Path) -> StudyResult:
    """The study that `save` wrote into `folder`; raises BadInput when there is none or it cannot be read."""
    try:
        plain = json.loads((folder / STUDY).read_text())
        rows = json.loads((folder / RESULTS).read_text())
        report = from_plain(Report, plain["report"] | {"rows": rows})
    except FileNotFoundError as error:
        raise BadInput(
            f"{folder}: no finished study here ({Path(error.filename).name} is missing); give the folder that "
            "`lowbit compare -o` wrote, or let the command finish first"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{folder}: its study cannot be read ({error}); repeat `lowbit compare` to write it anew"
        ) from error
    return StudyResult(folder, report, plain["cells"])


def accuracy_of(result: StudyResult, row_name: str) -> Accuracy:
    """The accuracy pass behind a row named toolchain/recipe@runtime; BadInput names the rows that have one."""
    if row_name not in result.cells:
        names = ", ".join(sorted(result.cells)) or "none"
        raise BadInput(f"no row called {row_name!r} was executed in {result.folder}; choose from: {names}")
    path = result.folder / "cells" / result.cells[row_name] / "accuracy.json"
    ended = load_json(JobResult, path) if path.exists() else None
    if ended is None or ended.end != "done":
        raise BadInput(f"{row_name} did not finish its accuracy pass, so that nothing is known of its operators")
    return from_plain(Accuracy, ended.data)


def _without_rows(report: Report) -> dict[str, Any]:
    plain: dict[str, Any] = to_plain(report)
    return {key: value for key, value in plain.items() if key != "rows"}
