"""`compare`: runs the stages of a study, from the request to the finished result."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from lowbit.core.adapter import ToolchainInfo
from lowbit.core.discover import versions
from lowbit.core.errors import BadInput
from lowbit.core.model import FloatModel
from lowbit.core.recipe import Recipe
from lowbit.core.settings import Settings
from lowbit.core.study import Reference, Report
from lowbit.core.version import exact_version
from lowbit.data.cache import note_of
from lowbit.measure.host import facts
from lowbit.runtimes import find as runtimes
from lowbit.study import stages, time_spent
from lowbit.study.ask import StudyRequest
from lowbit.study.cells import GIVEN, OWN, CellsPlan, plan_cells
from lowbit.study.choose import choose
from lowbit.study.execute.local import Listener, LocalExecutor
from lowbit.study.given import given_files
from lowbit.study.pace import kept_pace, paced
from lowbit.study.prepare import Inputs, Work, prepare
from lowbit.study.result import StudyResult, save
from lowbit.study.rows import CellState, Common, mark_miscomputed, noise_of, rows_of, versions_of
from lowbit.study.store import Store, locked
from lowbit.study.sweep import check_isa
from lowbit.toolchains import find as toolchains
from lowbit.toolchains import given as given_toolchain


def compare(request: StudyRequest, listener: Listener = lambda _: None) -> StudyResult:
    """Make and measure what `request` asks for, and save it. Jobs finished by an earlier run are not repeated.

    Raises BadInput for what the user must change. Anything that goes wrong in one cell becomes a row with its reason.
    """
    plan = planned(request)
    with locked(request.out.resolve()) as store:
        result = measured(store, request, plan, listener)
        save(result)
    return result


def planned(request: StudyRequest) -> CellsPlan:
    """The builds and cells of a request. Raises BadInput for what it names and this machine does not have."""
    given = given_files(request.given)
    plan = plan_cells(
        _toolchains(request, tuple(recipe for recipe, _ in given)),
        [module.INFO for module in runtimes.runtimes(request.runtimes).values()],
        request.recipes,
        [f"w{width}a8" for width in request.bits],
        {recipe.name: path for recipe, path in given},
        request.epochs,
    )
    check_isa(request.all_settings, facts())
    return plan


def measured(store: Store, request: StudyRequest, plan: CellsPlan, listener: Listener) -> StudyResult:
    """The result of all stages, in a locked study. It is not saved as a whole yet."""
    begun = time.monotonic()
    executor = LocalExecutor(store.folder, request.time_limit_s, request.settings.threads, listener)
    trains = any(build.toolchain.name == OWN and build.recipe.epochs is not None for build in plan.builds)
    asked = replace(request.inputs, training_samples=request.train_samples) if trains else request.inputs
    work = Work(asked, store, executor)
    inputs = prepare(work, request)
    cells = stages.make(work, inputs, plan, request.all_settings)
    if not inputs.model.random_weights:  # with random weights no prediction is right or wrong
        mark_miscomputed(cells)
    request = _within_budget(store, request, cells, time.monotonic() - begun)
    stages.time(work, request, inputs, cells)
    stages.list_operators(work, inputs, cells)
    report = _report(work, request, inputs, plan, cells)
    if request.profile:
        profiles, peaks = time_spent.profile(work, inputs, cells)
        report = replace(report, profiles=profiles, peaks=peaks)
    return StudyResult(store.folder, report, _executed(work, cells))


def _within_budget(store: Store, request: StudyRequest, cells: Sequence[CellState], elapsed_s: float) -> StudyRequest:
    """`request`, and the settings of `cells`, at a pace at which the rest of the study ends within its budget."""
    due = [each for each in cells if each.alive]
    if request.budget_s is None or not request.settings.rounds or not due:
        return request
    names = [each.cell.name for each in due]
    found = kept_pace(store, request.budget_s, request.all_settings, names, request.budget_s - elapsed_s)
    for each in cells:
        each.cell = replace(each.cell, settings=paced(each.cell.settings, found))
    first, *others = (paced(each, found) for each in request.all_settings)
    return replace(request, settings=first, other_settings=tuple(others))


def _toolchains(request: StudyRequest, given: tuple[Recipe, ...]) -> list[ToolchainInfo]:
    """The toolchains that were asked for, and the one with a recipe for each given file.

    For --bits our own engine is added, to make the requested widths only.
    """
    found = [module.INFO for module in toolchains.toolchains(request.toolchains).values()]
    if not given and any(info.name == GIVEN for info in found):
        raise BadInput(f"--toolchains {GIVEN}: expected the files that it takes: add --given FILE")
    found = [info for info in found if info.name != GIVEN]
    if request.bits and all(info.name != OWN for info in found):
        own = toolchains.toolchains((OWN,))[OWN].INFO
        found.append(replace(own, recipes=tuple(replace(each, on_request=True) for each in own.recipes)))
    if given:
        found.append(replace(given_toolchain.INFO, recipes=given))
    return found


def _report(work: Work, request: StudyRequest, inputs: Inputs, plan: CellsPlan, cells: Sequence[CellState]) -> Report:
    model, settings, host = inputs.model, request.settings, work.executor.host
    common = Common(
        model=model.name,
        data=Path(request.data).name,
        n_samples=len(inputs.evaluation),
        settings=settings,
        host_id=host.id,
        accuracy=not model.random_weights,
        float_accuracy=inputs.float_accuracy,
    )
    rows = rows_of(cells, plan.impossible, common)
    accuracy = inputs.float_accuracy
    reference = Reference(accuracy.n_samples, accuracy.correct, accuracy.correct_top5)
    float_top1 = None if model.random_weights else accuracy.correct / accuracy.n_samples
    packages = versions(["numpy", "onnx", "pillow", "mlcommons-loadgen"]) | {"lowbit": exact_version()}
    return Report(
        title=f"{model.name}{' (random weights)' if model.random_weights else ''} on {common.data}",
        model=replace(model, path=Path(work.store.relative(model.path))),
        data=request.data,
        preprocess=request.preprocess,
        settings=settings,
        other_settings=request.other_settings,
        host=host,
        versions=dict(sorted((packages | versions_of(plan.builds, plan.runtimes)).items())),
        command=request.command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        n_samples=common.n_samples,
        calibration_samples=len(inputs.calibration),
        class_names=inputs.evaluation.class_names,
        among=request.among,
        reference=None if model.random_weights else reference,
        rows=rows,
        choice=choose(
            rows,
            float_top1,
            optimize=request.optimize if settings.rounds else "size",
            max_drop=request.max_drop,
            min_agreement=request.min_agreement,
            noise=noise_of(cells),
            settings=settings,
        ),
        warnings=_warnings(model, settings, note_of(inputs.samples)),
        threshold=inputs.task.threshold,
    )


def _warnings(model: FloatModel, settings: Settings, note: str) -> tuple[str, ...]:
    found = []
    if model.random_weights:
        found.append(
            "Random weights: nobody trained this network, so no accuracy is printed, only agreement with float."
        )
    if settings.rounds == 0:
        found.append("Nothing was timed: speed and memory are not known, and the winner is the smallest file.")
    if settings.rounds == 1:
        found.append("One timing round: there is no spread, so that close latencies cannot be told apart.")
    if note:
        found.append(note[0].upper() + note[1:] + ("" if note.endswith(".") else "."))
    return tuple(found)


def _executed(work: Work, cells: Sequence[CellState]) -> dict[str, str]:
    """Name of a row → path, within the study, of the file that lists its executed operators."""
    return {
        state.cell.name: work.store.relative(state.executed)
        for state in cells
        if state.executed and state.executed.exists()
    }
