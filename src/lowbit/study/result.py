"""A finished study, as the Python API returns it. It is saved as a whole and can be read back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lowbit.core.adapter import OpPrecision
from lowbit.core.codec import load_json, save_json
from lowbit.core.errors import BadInput, DamagedFile
from lowbit.core.figure import Claim, Source
from lowbit.core.files import write_text
from lowbit.core.outcome import Executed
from lowbit.core.row import COLUMNS, Row
from lowbit.core.study import Report, RunReport, SectionReport
from lowbit.report.notebook import notebook_html
from lowbit.report.page import page
from lowbit.report.run_page import run_page
from lowbit.report.tabular import to_csv, to_json

if TYPE_CHECKING:
    import pandas

STUDY, RESULTS, TABLE, PAGE = "study.json", "results.json", "results.csv", "report.html"
RUN = "run.json"


@dataclass(frozen=True, slots=True)
class StudyResult:
    """What `compare` returns. `executed`: name of a row → the file in the study that lists its executed operators."""

    folder: Path
    report: Report
    executed: Mapping[str, str]

    @property
    def rows(self) -> tuple[Row, ...]:
        """One row per cell, measured or not."""
        return self.report.rows

    @property
    def winner(self) -> Row | None:
        """The row to ship; None when every row loses too much accuracy."""
        index = self.report.choice.row
        return None if index is None else self.rows[index]

    @property
    def page(self) -> Path:
        """The file of the HTML page."""
        return self.folder / PAGE

    def to_frame(self) -> "pandas.DataFrame":
        """The rows as a pandas DataFrame; needs `pip install 'lowbit[all]'`."""
        try:
            import pandas
        except ImportError as error:
            raise BadInput("to_frame() needs pandas, which is not installed: pip install 'lowbit[all]'") from error
        return pandas.DataFrame(to_json(self.rows), columns=list(COLUMNS))

    def _repr_html_(self) -> str:
        return notebook_html(self.report)


@dataclass(frozen=True, slots=True)
class _Stored:
    """The contents of study.json."""

    report: Report
    executed: dict[str, str]


def save(result: StudyResult) -> None:
    """Write study.json, which holds everything, and the table and page made from it. No file is left half written."""
    save_json(result.folder / STUDY, _Stored(result.report, dict(result.executed)))
    write_text(result.folder / RESULTS, json.dumps(to_json(result.rows), indent=1, allow_nan=False) + "\n")
    write_text(result.folder / TABLE, to_csv(result.rows))
    draw(result)


@dataclass(frozen=True, slots=True)
class Section:
    """A model of a study file with its results.

    - name: of the model in the file
    - title: of the section
    - notes: what was used in place of something that was not given, or why the model was not measured
    - parts: results of the sets of cells that were measured alike; empty: it was not measured
    """

    name: str
    title: str
    notes: tuple[str, ...]
    parts: tuple[StudyResult, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all parts."""
        return tuple(row for part in self.parts for row in part.rows)


@dataclass(frozen=True, slots=True)
class RunResult:
    """What `run` returns: a study of several models, and published figures beside it.

    - folder: of the results
    - title, about, source: of the study file
    - command: the command line that repeats the run
    - sections: one per model
    - claims: published figures with what was measured here
    """

    folder: Path
    title: str
    about: str
    source: Source | None
    command: str
    sections: tuple[Section, ...]
    claims: tuple[Claim, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all models."""
        return tuple(row for section in self.sections for row in section.rows)

    @property
    def page(self) -> Path:
        """The file of the HTML page."""
        return self.folder / PAGE

    @property
    def summary(self) -> RunReport:
        """What the page and the terminal show."""
        sections = tuple(
            SectionReport(each.name, each.title, each.notes, tuple(part.report for part in each.parts))
            for each in self.sections
        )
        return RunReport(self.title, self.about, self.source, self.command, sections, self.claims)


@dataclass(frozen=True, slots=True)
class _StoredSection:
    """A section in run.json."""

    name: str
    title: str
    notes: tuple[str, ...]
    parts: tuple[_Stored, ...]


@dataclass(frozen=True, slots=True)
class _StoredRun:
    """The contents of run.json."""

    title: str
    about: str
    source: Source | None
    command: str
    sections: tuple[_StoredSection, ...]
    claims: tuple[Claim, ...]


def save_run(result: RunResult) -> None:
    """Write run.json, which holds everything, and the tables and the page made from it."""
    sections = tuple(
        _StoredSection(
            each.name, each.title, each.notes, tuple(_Stored(part.report, dict(part.executed)) for part in each.parts)
        )
        for each in result.sections
    )
    stored = _StoredRun(result.title, result.about, result.source, result.command, sections, result.claims)
    save_json(result.folder / RUN, stored)
    write_text(result.folder / RESULTS, json.dumps(to_json(result.rows), indent=1, allow_nan=False) + "\n")
    write_text(result.folder / TABLE, to_csv(result.rows))
    draw_run(result)


def draw_run(result: RunResult) -> None:
    """Write the HTML page again."""
    write_text(result.page, run_page(result.summary))


def load_any(folder: Path | str) -> StudyResult | RunResult:
    """What `compare` or `run` left in `folder`; raises BadInput when there is nothing, or it cannot be read."""
    folder = Path(folder)
    if not (folder / RUN).exists():
        return load(folder)
    try:
        stored = load_json(_StoredRun, folder / RUN)
    except DamagedFile as error:
        raise BadInput(f"{error}; repeat `lowbit run` to write it anew: nothing is measured twice") from error
    sections = tuple(
        Section(
            each.name, each.title, each.notes,
            tuple(StudyResult(folder, part.report, part.executed) for part in each.parts),
        )
        for each in stored.sections
    )  # fmt: skip
    return RunResult(folder, stored.title, stored.about, stored.source, stored.command, sections, stored.claims)


def draw(result: StudyResult) -> None:
    """Write the HTML page again."""
    write_text(result.page, page(result.report))


def load(folder: Path | str) -> StudyResult:
    """The study that `save` wrote into `folder`; raises BadInput when there is none or it cannot be read."""
    folder = Path(folder)
    try:
        stored = load_json(_Stored, folder / STUDY)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadInput(
            f"{folder}: no finished study here ({STUDY} is missing); give the folder that `lowbit compare -o` wrote, "
            "or let the command finish first"
        ) from error
    except DamagedFile as error:
        raise BadInput(f"{error}; repeat `lowbit compare` to write it anew: nothing is measured twice") from error
    return StudyResult(folder, stored.report, stored.executed)


def operators_of(result: StudyResult, row_name: str) -> tuple[OpPrecision, ...]:
    """The operators executed in the row toolchain/recipe@runtime. BadInput lists the rows that have such a list."""
    if row_name not in result.executed:
        names = ", ".join(sorted(result.executed)) or "none"
        raise BadInput(f"no row called {row_name!r} was executed in {result.folder}; choose from: {names}")
    path = result.folder / result.executed[row_name]
    try:
        return load_json(Executed, path).operators
    except (FileNotFoundError, DamagedFile) as error:
        raise BadInput(f"{path}: gone or damaged; repeat `lowbit compare` to measure {row_name} again") from error


def operators_in(result: RunResult, named: str) -> tuple[str, tuple[OpPrecision, ...]]:
    """The row of "model: row" and its operators. BadInput lists the models, or the rows that have such a list."""
    model, _, row = named.partition(": ")
    sections = {each.name: each for each in result.sections if each.parts}
    if model not in sections or not row:
        raise BadInput(f"{named!r}: expected MODEL: ROW, where the models are {', '.join(sections)}")
    parts = sections[model].parts
    return row, operators_of(next((part for part in parts if row in part.executed), parts[0]), row)
