"""The stages of a study once its inputs are ready: make (build, verify, evaluate), time, list operators.

Each stage runs its jobs and writes their outcomes into the `CellState` of each cell.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from lowbit.core import digest
from lowbit.core.artifact import MANIFEST, Artifact, Manifest
from lowbit.core.bounds import outside
from lowbit.core.cell import Build, Cell, Failure, Outcome
from lowbit.core.codec import load_json, save_json
from lowbit.core.errors import DamagedFile
from lowbit.core.model import FloatModel
from lowbit.core.outcome import Accuracy, Timing
from lowbit.core.samples import Samples
from lowbit.core.settings import Settings
from lowbit.core.sweep import Swept, full_name, swept_in
from lowbit.core.verified import Verified
from lowbit.data.cache import has_training, open_samples
from lowbit.measure.stats import wilson
from lowbit.study import keys
from lowbit.study.ask import StudyRequest
from lowbit.study.cells import CellsPlan, files_of
from lowbit.study.execute.flow import Step
from lowbit.study.execute.placed import PlacedJob
from lowbit.study.prepare import Inputs, Work, images_a_call
from lowbit.study.rows import CellState
from lowbit.study.verification import failure_of, verify_job, with_outcomes
from lowbit.worker.accuracy import PREDICTIONS, RIGHT
from lowbit.worker.jobs import AccuracyJob, BuildJob, PrecisionJob, SpeedJob

Result = TypeVar("Result")

_OFFICIAL_LIMIT_S = 86_400.0


def make(work: Work, inputs: Inputs, plan: CellsPlan, settings: Sequence[Settings]) -> list[CellState]:
    """Build every artifact, verify what can be, and evaluate each cell: all as soon as it can be done.

    A file that fixes its batch size is built once for each size. Every other file serves all settings. A failed build
    is shown in the runtimes that it was made for.
    """
    files = [file for planned in plan.builds for file in files_of(planned, settings)]
    swept = swept_in(settings)
    cells: dict[int, list[CellState]] = {}

    def build(place: int, planned: Build, served: Sequence[Settings]) -> Step:
        def then(outcome: Outcome[Manifest]) -> Iterable[Step]:
            readers = _readers(planned, outcome)
            made = [Cell(planned, runtime, each, swept) for runtime in readers for each in served]
            cells[place] = [_state(work, plan, cell, outcome) for cell in made]
            return [step for each in cells[place] if each.alive for step in _checks(work, inputs, plan, each)]

        size, classes = served[0].batch_size, inputs.task.outputs
        job = build_job(work, inputs.model, inputs.calibration, planned, size, planned.folder, classes)
        return Step("build", job, then)

    work.executor.flow([build(place, *file) for place, file in enumerate(files)], _slots(work, settings))
    found = [each for place in range(len(files)) for each in cells[place]]
    _note_verified(work, found)
    return found


def _readers(planned: Build, outcome: Outcome[Manifest]) -> tuple[str, ...]:
    """The runtimes that have rows of a build: all that read its file, or those it was meant for where it failed."""
    if outcome.value is not None:
        return planned.runtimes
    return tuple(name for name in planned.runtimes if name in planned.made_for) or planned.runtimes[:1]


def _state(work: Work, plan: CellsPlan, cell: Cell, outcome: Outcome[Manifest]) -> CellState:
    """What is known of a cell once its build has ended."""
    planned = cell.build
    used = {**planned.versions, **plan.runtimes.get(cell.runtime, {})}
    state = CellState(cell, built=outcome, outside=outside(used), environment=_environment(plan, cell))
    if outcome.value is not None:
        state.artifact = work.store.relative(work.store.artifact(planned.folder) / outcome.value.main)
        state.broken = _cannot_run(plan, cell)
    return state


def _checks(work: Work, inputs: Inputs, plan: CellsPlan, state: CellState) -> list[Step]:
    """Verification of a cell, where it can be verified, and then its accuracy pass."""

    def evaluated(outcome: Outcome[Accuracy]) -> tuple[Step, ...]:
        state.accuracy = outcome
        return ()

    def evaluate() -> list[Step]:
        return [Step("accuracy", _accuracy_job(work, inputs, plan, state), evaluated)] if state.alive else []

    def verified(outcome: Outcome[Verified]) -> list[Step]:
        state.verified = outcome
        state.broken = state.broken or failure_of(outcome)
        return evaluate()

    runtime = state.cell.runtime
    if not (_manifest(state).verifiable and state.cell.intended):
        return evaluate()
    artifact = _artifact(work, state, inputs.model)
    job = verify_job(work, inputs.calibration, _manifest(state), artifact, runtime, plan.runtimes[runtime])
    return [Step("verify", job, verified)]


def _environment(plan: CellsPlan, cell: Cell) -> Mapping[str, str]:
    """The variables that limit the cell's runtime to its instruction set; none where it is not limited."""
    isa = cell.settings.isa
    return {} if isa is None else plan.infos[cell.runtime].limits.get(isa, {})


def _cannot_run(plan: CellsPlan, cell: Cell) -> Failure | None:
    """Why the cell's runtime cannot run any file with its settings: it is not installed, or cannot be limited."""
    isa, runtime = cell.settings.isa, cell.runtime
    if runtime in plan.missing:
        return Failure("unsupported", plan.missing[runtime])
    if isa is None or isa in plan.infos[runtime].limits:
        return None
    can = ", ".join(plan.infos[runtime].limits)
    reason = (
        f"{runtime} can be limited to {can}, not to {isa}"
        if can
        else f"{runtime} asks the processor and cannot be limited to an instruction set"
    )
    return Failure("unsupported", f"{reason}; without --isa it takes the best kernels there are")


def build_job(
    work: Work,
    model: FloatModel,
    calibration: Samples,
    planned: Build,
    batch_size: int,
    folder: str,
    classes: tuple[int, ...] = (),
) -> PlacedJob[Manifest]:
    """The job that builds `planned` into the folder artifacts/`folder`.

    classes: the model's output for each label, which recipes that train learn from
    """
    asked, store = work.asked, work.store
    classes = classes if planned.recipe.epochs is not None else ()
    samples = calibration.path.parent
    trained_on = open_samples(samples, "training") if planned.recipe.epochs and has_training(samples) else None
    key = keys.build_key(asked, planned, model, calibration, work.executor.host, batch_size, classes, trained_on)
    job = BuildJob(
        key=key,
        toolchain=planned.toolchain.name,
        recipe=planned.recipe,
        model=model,
        samples=samples,
        preprocess=asked.preprocess,
        out=store.artifact(folder),
        cache=store.conversions,
        evidence=store.evidence(key),
        progress=store.logs(key) / "progress.json",
        batch_size=batch_size,
        threads=asked.threads,
        seed=asked.seed,
        given=planned.given,
        classes=classes,
        checkpoints=store.checkpoints(key),
    )
    leaves = kept_files(job.out, key, job.evidence)
    return PlacedJob(
        planned.name if planned.batch_size is None else f"{planned.name} [batch {planned.batch_size}]",
        job,
        store.build_result(key),
        store.logs(key),
        leaves=leaves,
        group=planned.toolchain.name,
    )


def kept_files(folder: Path, key: str, evidence: Path) -> tuple[Path, ...]:
    """The files that must exist for the build `key` to count as finished: the artifact's, and its evidence if any.

    Where the manifest is missing, belongs to another build, or no longer describes the files, the result is a path that
    never exists, so that the artifact is built again.
    """
    try:
        manifest = load_json(Manifest, folder / MANIFEST)
    except (FileNotFoundError, DamagedFile):
        return (folder / MANIFEST / "whole",)
    files = tuple(folder / name for name in manifest.files)
    untouched = all(file.is_file() for file in files) and digest.of_files(files) == manifest.digest
    if manifest.key != key or not untouched:
        return (folder / MANIFEST / "whole",)
    return (*files, evidence) if manifest.verifiable else files


def _note_verified(work: Work, cells: Sequence[CellState]) -> None:
    """Write into the manifests how verification ended, in every runtime that our own engine wrote the file for."""
    due = [each for each in cells if each.manifest is not None and each.manifest.verifiable and each.cell.intended]
    outcomes: dict[str, dict[str, Outcome[Verified]]] = {}
    for each in due:
        known, runtime = outcomes.setdefault(each.cell.build.folder, {}), each.cell.runtime
        if each.verified is not None:
            known[runtime] = each.verified
        else:
            known.setdefault(runtime, Outcome("missing", reason="" if each.broken is None else each.broken.reason))
    manifests = {each.cell.build.folder: _manifest(each) for each in due}
    for folder, of_runtimes in outcomes.items():
        save_json(work.store.artifact(folder) / MANIFEST, with_outcomes(manifests[folder], of_runtimes))


def _accuracy_job(work: Work, inputs: Inputs, plan: CellsPlan, state: CellState) -> PlacedJob[Accuracy]:
    cell, settings, manifest = state.cell, state.cell.settings, _manifest(state)
    dynamic = cell.build.recipe.claim == "dynamic" or manifest.dynamic  # scores depend on the batch: use the timed size
    size = settings.batch_size if dynamic else images_a_call(inputs.model.input_shape)
    packages = plan.runtimes[cell.runtime]
    # Threads share out the work of float kernels, and no vendor promises that sums keep their order. With 1 and 2
    # threads they did in ONNX Runtime and OpenVINO, which is no proof: only what ignores threads shares a pass.
    threads = settings.threads if plan.infos[cell.runtime].threads_change_scores else None
    state.key = keys.cell_key(manifest, cell.runtime, packages, inputs.reference_key, size, threads, settings.isa)
    folder = work.store.cell(state.key)
    state.right = folder / RIGHT
    job = AccuracyJob(
        artifact=_artifact(work, state, inputs.model),
        runtime=cell.runtime,
        samples=inputs.samples,
        preprocess=work.asked.preprocess,
        task=inputs.task,
        batch_size=size,
        threads=settings.threads,
        reference=inputs.reference,
        out=folder,
        probabilities=manifest.probabilities,
        enough=_enough(inputs) if cell.runtime in cell.build.recipe.slow_in else None,
    )
    leaves = (state.right, folder / PREDICTIONS)
    matter: dict[Swept, bool] = {
        "isa": True,
        "batch_size": dynamic or manifest.batch_size is not None,
        "threads": threads is not None,
    }
    name = full_name(cell.plain_name, settings, [each for each in cell.swept if matter.get(each)])
    return _limited(state, PlacedJob(name, job, folder / "accuracy.json", work.store.logs(state.key), leaves))


def _enough(inputs: Inputs) -> float:
    """How well a difference to the float model must be known where each image takes very long: as top-1 itself is."""
    low, high = wilson(inputs.float_accuracy.correct, inputs.float_accuracy.n_samples)
    return (high - low) / 2


def _limited(state: CellState, placed: PlacedJob[Result]) -> PlacedJob[Result]:
    """The job with what its cell's settings ask of the child: threads of numeric libraries, and instruction set."""
    return replace(placed, environment=state.environment, threads=state.cell.settings.threads)


def _slots(work: Work, settings: Sequence[Settings]) -> int:
    """How many jobs may run at a time without sharing cores."""
    return max(1, work.executor.host.cores // max((each.threads for each in settings), default=1))


def _manifest(state: CellState) -> Manifest:
    if state.manifest is None:
        raise ValueError(f"{state.cell.name} was not built")
    return state.manifest


def _artifact(work: Work, state: CellState, model: FloatModel) -> Artifact:
    return artifact_of(work.store.artifact(state.cell.build.folder), _manifest(state), model)


def artifact_of(folder: Path, manifest: Manifest, model: FloatModel) -> Artifact:
    """The artifact in `folder` in the form that a runtime opens."""
    return Artifact(
        path=folder / manifest.main,
        format=manifest.format,
        digest=manifest.digest,
        input_shape=model.input_shape,
        outputs=model.outputs,
        batch_size=manifest.batch_size,
        runtime_options=manifest.runtime_options,
    )


def time(work: Work, request: StudyRequest, inputs: Inputs, cells: Sequence[CellState]) -> None:
    """Time all cells in rounds, one child process at a time; each round visits the cells in its own random order.

    A cell that other work disturbed is timed a second time, and the second result counts. The first round also writes
    which operators were executed.
    """
    settings, host = request.settings, work.executor.host
    # MLPerf's own counts take hours on a slow model: 270,336 queries of 8 images in the multi-stream scenario.
    limit_s = max(request.time_limit_s, _OFFICIAL_LIMIT_S if settings.official else 0.0)
    timer = replace(work.executor, time_limit_s=limit_s)
    for number in range(1, settings.rounds + 1):
        order = [each for each in cells if each.alive]
        random.Random(f"{settings.seed}-{number}").shuffle(order)
        stage = f"timing, round {number} of {settings.rounds}"
        names = []
        for each in order:
            key = keys.timing_key(each.cell.settings, host)
            each.executed = _executed(work, each, key)
            names.append(f"{key}-round-{number}")
        jobs = [_speed_job(work, inputs, *pair, first=number == 1) for pair in zip(order, names, strict=True)]
        outcomes = timer.run(stage, jobs)
        disturbed = [
            index for index, outcome in enumerate(outcomes) if outcome.value is not None and outcome.value.disturbed
        ]
        again = [
            _speed_job(work, inputs, order[index], f"{names[index]}-again", first=number == 1) for index in disturbed
        ]
        for index, repeated in zip(disturbed, timer.run(f"{stage}, again", again), strict=True):
            outcomes[index] = outcomes[index] if repeated.value is None else repeated
        for each, outcome in zip(order, outcomes, strict=True):
            each.timings.append(outcome)


def list_operators(work: Work, inputs: Inputs, cells: Sequence[CellState]) -> None:
    """List the executed operators of cells that were not timed, from sessions opened as they are for timing."""
    untimed = [each for each in cells if each.alive and not each.timings]
    settings = [each.cell.settings for each in untimed]
    jobs = []
    for each in untimed:
        key = keys.timing_key(each.cell.settings, work.executor.host)
        each.executed = _executed(work, each, key)
        job = PrecisionJob(
            artifact=_artifact(work, each, inputs.model),
            runtime=each.cell.runtime,
            settings=each.cell.settings,
            layers=inputs.model.layer_macs,
            out=each.executed,
        )
        result = work.store.cell(_key(each)) / f"{key}-operators.json"
        placed = PlacedJob(each.cell.name, job, result, work.store.logs(_key(each)), leaves=(job.out,))
        jobs.append(_limited(each, placed))
    for each, outcome in zip(untimed, work.executor.run("operators", jobs, _slots(work, settings)), strict=True):
        each.operators = outcome


def _executed(work: Work, state: CellState, timing: str) -> Path:
    return work.store.cell(_key(state)) / f"{timing}-executed.json"


def _key(state: CellState) -> str:
    if state.key is None:
        raise ValueError(f"{state.cell.name} was not evaluated")
    return state.key


def _at_found_rate(state: CellState) -> Settings:
    """The cell's settings; in the server scenario later rounds keep the rate that LoadGen found in the first one."""
    settings = state.cell.settings
    found = [outcome.value.target_qps for outcome in state.timings if outcome.value is not None]
    return replace(settings, target_qps=found[0]) if found and settings.target_qps is None else settings


def _speed_job(work: Work, inputs: Inputs, state: CellState, name: str, *, first: bool) -> PlacedJob[Timing]:
    logs = work.store.logs(_key(state))
    job = SpeedJob(
        artifact=_artifact(work, state, inputs.model),
        runtime=state.cell.runtime,
        samples=inputs.samples,
        preprocess=work.asked.preprocess,
        settings=_at_found_rate(state),
        logs=logs / name,
        executed=state.executed if first else None,
        layers=inputs.model.layer_macs if first else (),
    )
    leaves = () if job.executed is None else (job.executed,)
    result = work.store.cell(_key(state)) / f"{name}.json"
    return _limited(state, PlacedJob(state.cell.name, job, result, logs, leaves))
