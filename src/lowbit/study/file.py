"""A study as a file: which models, cells and settings are measured, and which published figures stand beside them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from lowbit.core.codec import from_plain
from lowbit.core.errors import BadInput, WrongField
from lowbit.core.figure import limit_of
from lowbit.core.study_file import Options, StudyFile
from lowbit.study.yaml_lines import Lines, line_of, read_yaml

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")


_OPTIONS = tuple(each.name for each in fields(Options))
_LISTS = ("toolchains", "recipes", "bits", "given", "runtimes", "scenario", "threads", "batch_size", "isa")


@dataclass(frozen=True, slots=True)
class Opened:
    """A study file that was read. `lines`: path of a value, such as models[0].recipes → its line."""

    path: Path
    study: StudyFile
    lines: Lines = field(repr=False)

    def bad(self, place: str, problem: str) -> BadInput:
        """The error for the value at `place`, which names file, line and key."""
        return BadInput(f"{self.path}, line {line_of(place, self.lines)}: {place}: {problem}")


def shipped() -> dict[str, Path]:
    """Name → file of every study that comes with lowbit."""
    folder = Path(str(files("lowbit.studies")))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def open_study(named: str) -> Opened:
    """The study in a file, or the shipped one of that name. Raises BadInput with file, line and key."""
    path = shipped().get(named, Path(named))
    if not path.is_file():
        raise BadInput(f"{named}: no such file, and no study that comes with lowbit ({', '.join(shipped())})")
    plain, lines = read_yaml(path)
    try:
        study = from_plain(StudyFile, _nested(plain))
    except WrongField as error:
        place = error.path.replace(".options.", ".").replace("defaults.options", "defaults")
        at = ".".join(filter(None, (place, *error.extra[:1])))
        where = f"{place}: " if place else ""
        raise BadInput(f"{path}, line {line_of(at, lines)}: {where}{error.problem}") from error
    opened = Opened(path, study, lines)
    _check(opened)
    return opened


def _nested(plain: Any) -> Any:
    """`plain` with the options of models and parts in a mapping of their own, and single values as lists."""
    if not isinstance(plain, dict):
        return plain
    found = dict(plain)
    if isinstance(found.get("defaults"), dict):
        found["defaults"] = _as_lists(found["defaults"])
    if isinstance(found.get("models"), list):
        found["models"] = [_with_options(each) for each in found["models"]]
        for entry in found["models"]:
            if isinstance(entry, dict) and isinstance(entry.get("parts"), list):
                entry["parts"] = [_with_options(each) for each in entry["parts"]]
    return found


def _with_options(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    options = {key: value for key, value in entry.items() if key in _OPTIONS}
    rest = {key: value for key, value in entry.items() if key not in _OPTIONS}
    return rest | ({"options": _as_lists(options)} if options else {})


def _as_lists(options: Mapping[str, Any]) -> dict[str, Any]:
    """One value stands for a list of one, where the option takes several."""
    return {
        key: [value] if key in _LISTS and not isinstance(value, list | dict) and value is not None else value
        for key, value in options.items()
    }


def _check(opened: Opened) -> None:
    """What types cannot say. Raises BadInput."""
    study = opened.study
    if not study.models:
        raise opened.bad("models", "is empty; expected at least one model")
    for index, entry in enumerate(study.models):
        if not _NAME.fullmatch(entry.name):
            raise opened.bad(
                f"models[{index}].name", f"{entry.name!r}; expected small letters, digits, dots and hyphens"
            )
        if entry.name in {other.name for other in study.models[:index]}:
            raise opened.bad(f"models[{index}].name", f"{entry.name!r} stands here a second time")
    for index, figure in enumerate(study.published):
        place = f"published[{index}]"
        if figure.untried is None and figure.of is None:
            raise opened.bad(place, "names no cell; expected `of` with the rows that stand beside it, or `untried`")
        if figure.untried is None and (figure.holds is None) == (figure.within is None):
            raise opened.bad(place, 'expected either `holds`, such as ">= 2.0", or `within`, a share such as 0.2')
        if figure.holds is not None:
            try:
                limit_of(figure.holds)
            except ValueError as error:
                raise opened.bad(f"{place}.holds", str(error)) from error
