"""`run`: measures what a study file asks for, model by model, and holds published figures against it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lowbit.core.discover import require
from lowbit.core.errors import BadInput, MissingPackage
from lowbit.core.figure import Claim, Figure, Selector
from lowbit.core.row import Row
from lowbit.core.study_file import Entry, Options, Part
from lowbit.measure.host import facts, limits
from lowbit.sources import find as sources
from lowbit.study.ask import StudyRequest
from lowbit.study.cells import CellsPlan
from lowbit.study.claims import claim, float_accuracy, selects
from lowbit.study.compare import measured, planned
from lowbit.study.execute.local import Listener, Progress
from lowbit.study.file import Opened, open_study
from lowbit.study.request import compare_request
from lowbit.study.result import RunResult, Section, StudyResult, save_run
from lowbit.study.store import Store, locked

_PATHS = ("data", "weights", "labels")  # options that name a file each, beside the model
_PATH_LISTS = ("given",)  # options that name several


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What one `lowbit run` asks for.

    - study: a study file, or the name of one that comes with lowbit
    - out: the folder of the results
    - given: name of a need of the file → what the user gives for it
    - limit: how many images to evaluate, whatever the file says; None: what the file says
    - budget_s: seconds in which the whole run is to end; None: no limit
    - options: further options of `lowbit.compare` that hold for all models, whatever the file says
    - command: the command line that repeats the run
    """

    study: str
    out: Path
    given: Mapping[str, str]
    limit: int | None = None
    budget_s: float | None = None
    options: Mapping[str, Any] | None = None
    command: str = ""


@dataclass(frozen=True, slots=True)
class PlannedPart:
    """A part of a model, ready to be measured.

    - entry: the model in the file
    - place: of the part in the file, for messages
    - request, plan: what is asked, and the cells that it makes
    - notes: what is used in place of something that was not given
    """

    entry: Entry
    place: str
    request: StudyRequest
    plan: CellsPlan
    notes: tuple[str, ...]


def run(request: RunRequest, listener: Listener = lambda _: None) -> RunResult:
    """Measure all models of a study file and save the result. Jobs finished by an earlier run are not repeated.

    Raises BadInput for what the user must change, with the file's line where it is something in the file.
    """
    opened, parts, untried = planned_run(request)
    models = opened.study.models
    sections = {
        each.name: Section(each.name, each.title or each.name, (f"not measured: {untried[each.name]}",), ())
        for each in models
        if each.name in untried
    }
    with locked(request.out.resolve()) as store:
        for each in _shared_out(parts, request.budget_s):
            entry = each.entry
            found = _measure(opened, each, replace(store, section=entry.name), listener)
            section = sections.get(entry.name, Section(entry.name, entry.title or entry.name, each.notes, ()))
            sections[entry.name] = replace(section, parts=(*section.parts, found))
            there = tuple(sections[each.name] for each in models if each.name in sections)
            result = RunResult(
                folder=store.folder,
                title=opened.study.title,
                about=opened.study.about,
                source=opened.study.source,
                command=request.command,
                sections=there,
                claims=_claims(opened.study.published, there, untried),
            )
            save_run(result)  # after every part, so that an interrupted run leaves a page
    return result


def planned_run(request: RunRequest) -> tuple[Opened, list[PlannedPart], dict[str, str]]:
    """The study file, the parts that will be measured, and models that will not, with the reason. Measures nothing.

    Raises BadInput for what is wrong in the file or in the request.
    """
    opened = open_study(request.study)
    values, left_out = _needs(opened, request.given)
    untried = _models_left_out(opened, left_out, values)
    parts = [
        each
        for index, entry in enumerate(opened.study.models)
        if entry.name not in untried
        for each in _parts(opened, request, entry, f"models[{index}]", values)
    ]
    if not parts:
        wanted = ", ".join(
            f"--with {each.name}=… ({each.what})" for each in opened.study.needs if each.name in left_out
        )
        if wanted:
            raise BadInput(f"{opened.path}: every model needs what is not given: {wanted}")
        raise BadInput(f"{opened.path}: no model can be measured: {'; '.join(dict.fromkeys(untried.values()))}")
    for index, figure in enumerate(opened.study.published):
        _check_names_cells(opened, f"published[{index}]", figure, parts, untried)
    return opened, parts, untried


def _needs(opened: Opened, given: Mapping[str, str]) -> tuple[dict[str, str], set[str]]:
    """What stands for each need of the file, and the needs for which nothing does."""
    needs = {each.name: each for each in opened.study.needs}
    for name in given:
        if name not in needs:
            choices = ", ".join(needs) or "nothing"
            raise BadInput(f"--with {name}: {opened.path.name} needs no such thing; it needs {choices}")
    values = {name: given.get(name, need.otherwise) for name, need in needs.items()}
    there = {name: value for name, value in values.items() if value is not None}
    return there, set(values) - set(there)


def _names_in(defaults: Options, entry: Entry) -> set[str]:
    """The needs that a model refers to as $name."""
    options = [defaults, entry.options, *(part.options for part in entry.parts)]
    texts = [entry.model, *(getattr(each, name) for each in options for name in _PATHS)]
    texts += [text for each in options for name in _PATH_LISTS for text in getattr(each, name) or ()]
    return {text[1:] for text in texts if text and text.startswith("$")}


def _models_left_out(opened: Opened, left_out: set[str], values: Mapping[str, str]) -> dict[str, str]:
    """Name of a model that is not measured → why: something is not given, or a package that loads it not installed."""
    reasons = {}
    for index, entry in enumerate(opened.study.models):
        lacking = left_out & _names_in(opened.study.defaults, entry)
        if lacking:
            reasons[entry.name] = f"{', '.join(sorted(lacking))} was not given (--with)"
            continue
        place = f"models[{index}].model"
        try:
            require(sources.find(_value(opened, place, entry.model, values)).INFO)
        except MissingPackage as error:
            reasons[entry.name] = str(error)
        except BadInput as error:
            raise opened.bad(place, str(error)) from error
    return reasons


def _parts(
    opened: Opened, request: RunRequest, entry: Entry, place: str, values: Mapping[str, str]
) -> list[PlannedPart]:
    model = _value(opened, f"{place}.model", entry.model, values)
    notes = tuple(
        each.then
        for each in opened.study.needs
        if each.then and each.name not in request.given and each.name in _names_in(opened.study.defaults, entry)
    )
    found = []
    for number, part in enumerate(entry.parts or (Part(),)):
        where = f"{place}.parts[{number}]" if entry.parts else place
        options = opened.study.defaults.said() | entry.options.said() | part.options.said()
        named = {name: _value(opened, where, options.pop(name), values) for name in _PATHS if name in options}
        options |= {name: value for name, value in named.items() if value}
        for name in _PATH_LISTS:
            if name in options:
                options[name] = tuple(_value(opened, where, text, values) for text in options[name])
        options |= request.options or {}
        lacking = _isa_lacking(options.get("isa", ()))
        if lacking:
            options["isa"] = tuple(name for name in options["isa"] if name not in lacking)
            if not options["isa"]:
                continue
        if request.limit is not None:
            options["limit"] = request.limit
        if "data" not in options:
            raise opened.bad(where, "has no data; expected `data` here or under `defaults`")
        data = options.pop("data")
        try:
            asked = compare_request(model, data, out=request.out, **options)
            sources.find(model).fingerprint(model, None)
            asked = replace(asked, random_weights=entry.random_weights and asked.weights is None)
            found.append(PlannedPart(entry, where, asked, planned(asked), notes))
        except BadInput as error:
            raise opened.bad(where, str(error)) from error
    return found


def _isa_lacking(names: Iterable[str | None]) -> list[str]:
    """Those of the instruction sets that this processor does not have."""
    there = limits(facts())
    return sorted({name for name in names if name is not None and name not in there})


def _shared_out(parts: Sequence[PlannedPart], budget_s: float | None) -> list[PlannedPart]:
    """Every part with its share of the budget, by its number of cells; the same in every command that goes on."""
    if budget_s is None:
        return list(parts)
    weights = [len(_possible(each)) for each in parts]
    return [
        replace(each, request=replace(each.request, budget_s=budget_s * weight / sum(weights)))
        for each, weight in zip(parts, weights, strict=True)
    ]


def _value(opened: Opened, place: str, text: str, values: Mapping[str, str]) -> str:
    """What `text` stands for: a need's value, a path relative to the study file where there is one, or itself."""
    if text.startswith("$"):
        name = text[1:]
        if name not in values:
            raise opened.bad(place, f"{text}: no need of that name; expected one of `needs`")
        return values[name]
    file, colon, attribute = text.rpartition(":")
    beside = opened.path.parent / (file if colon and file.endswith(".py") else text)
    if not beside.exists():
        return text
    return f"{beside}:{attribute}" if beside.name != Path(text).name else str(beside)


def _check_names_cells(
    opened: Opened, place: str, figure: Figure, parts: Sequence[PlannedPart], untried: Mapping[str, str]
) -> None:
    """Raises BadInput where a figure names rows that the study cannot have."""
    for key, selector in (("of", figure.of), ("over", figure.over)):
        if selector is None or selector.model in untried or figure.untried is not None or _isa_lacking([selector.isa]):
            continue
        if not any(selects(selector, part.entry.name, row) for part in parts for row in _possible(part)):
            names = sorted({part.entry.name for part in parts})
            raise opened.bad(f"{place}.{key}", f"names no cell of this study (models: {', '.join(names)})")


def _possible(part: PlannedPart) -> list[Selector]:
    """Every combination of build, runtime and settings that a part may have a row for."""
    pairs = [(build.toolchain.name, build.recipe.name, name) for build in part.plan.builds for name in build.runtimes]
    pairs += [(each.toolchain, each.recipe, each.runtime) for each in part.plan.impossible]
    return [
        Selector(None, *pair, each.scenario, each.batch_size, each.threads, each.isa)
        for pair in pairs
        for each in part.request.all_settings
    ]


def _measure(opened: Opened, part: PlannedPart, store: Store, listener: Listener) -> StudyResult:
    def tell(progress: Progress) -> None:
        listener(replace(progress, stage=f"{part.entry.name}: {progress.stage}"))

    try:
        return measured(store, part.request, part.plan, tell)
    except BadInput as error:
        raise opened.bad(part.place, str(error)) from error


def _claims(published: Sequence[Figure], sections: Sequence[Section], untried: Mapping[str, str]) -> tuple[Claim, ...]:
    tried = [each for each in sections if each.parts]
    rows: dict[str, tuple[Row, ...]] = {each.name: each.rows for each in tried}
    tops = {each.name: float_accuracy(each.parts[0].report) for each in tried}
    found = []
    for figure in published:
        asked = {selector.model or "" for selector in (figure.of, figure.over) if selector is not None}
        lacking = next((untried[name] for name in asked if name in untried), None)
        isa = _isa_lacking([each.isa for each in (figure.of, figure.over) if each is not None])
        if isa:
            lacking = f"this processor does not have {', '.join(isa)}"
        if lacking is not None:
            found.append(Claim(figure, "could not be tried", reason=lacking))
        else:
            found.append(claim(figure, rows, tops))
    return tuple(found)
