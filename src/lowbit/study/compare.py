"""`compare`: from a request to a finished study, one stage after another."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from lowbit.core import digest
from lowbit.core.artifact import Artifact, Manifest
from lowbit.core.codec import from_plain, load_json
from lowbit.core.discover import versions
from lowbit.core.errors import BadInput, LowbitError
from lowbit.core.host import Host
from lowbit.core.model import FloatModel
from lowbit.core.outcome import Accuracy, Timing
from lowbit.core.samples import Samples
from lowbit.core.settings import Settings
from lowbit.core.study import Reference, Report
from lowbit.data.cache import open_samples
from lowbit.data.datasets import open_dataset
from lowbit.data.labels import output_index
from lowbit.measure import host as hosts
from lowbit.measure.accuracy import Task
from lowbit.runtimes import find as runtimes
from lowbit.sources import find as sources
from lowbit.study import keys
from lowbit.study.choose import choose
from lowbit.study.plan import Plan, PlannedBuild, make_plan
from lowbit.study.request import StudyRequest
from lowbit.study.result import StudyResult, save
from lowbit.study.rows import CellState, Common, mark_miscomputed, rows_of, versions_of
from lowbit.study.run import Listener, Runner, finished
from lowbit.study.run import Task as RunTask
from lowbit.study.store import Store, locked
from lowbit.toolchains import find as toolchains
from lowbit.worker.accuracy import RIGHT
from lowbit.worker.build import MANIFEST
from lowbit.worker.jobs import AccuracyJob, BuildJob, JobResult, ModelJob, SamplesJob, SpeedJob
from lowbit.worker.model import GRAPH, float_artifact

_BATCH = 32  # images a call in accuracy passes, where the batch size does not change the answers


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What every cell starts from."""

    model: FloatModel
    samples: Path
    calibration: Samples
    evaluation: Samples
    task: Task
    reference: Path
    float_accuracy: Accuracy


def compare(request: StudyRequest, listener: Listener = lambda _: None) -> StudyResult:
    """Make and measure everything that `request` asks for; finished jobs of an earlier run in the folder are kept.

    Raises BadInput for what the user must change; whatever goes wrong in a cell is a row with its reason.
    """
    plan = make_plan(
        [module.INFO for module in toolchains.toolchains(request.toolchains).values()],
        [module.INFO for module in runtimes.runtimes(request.runtimes).values()],
        request.recipes,
    )
    with locked(request.out.resolve()) as store:
        host = hosts.facts()
        runner = Runner(store.folder, request.time_limit_s, request.settings.threads, listener)
        slots = max(1, host.cores // request.settings.threads)
        inputs = _prepare(request, store, runner, host)
        cells = _build(request, store, runner, host, inputs, plan, slots)
        _evaluate(request, store, runner, host, inputs, plan, cells, slots)
        mark_miscomputed(cells)
        _time(request, store, runner, inputs, cells)
        return _finish(request, store, host, inputs, plan, cells)


def _prepare(request: StudyRequest, store: Store, runner: Runner, host: Host) -> _Inputs:
    """Samples, the float graph, and the float model's own answers."""
    settings = request.settings
    source = sources.find(request.model)
    fingerprint = source.fingerprint(request.model, request.weights)
    samples_key = keys.samples_key(request, open_dataset(request.data).fingerprint())
    samples = store.samples(samples_key)
    job = SamplesJob(
        request.data, request.preprocess, request.calibration_samples, settings.seed, request.limit, samples, host.cores
    )
    _must(runner, "data", request.data, job, samples.with_suffix(".json"), store.logs(samples_key))
    calibration, evaluation = open_samples(samples, "calibration"), open_samples(samples, "evaluation")

    model_key = keys.model_key(request, fingerprint, versions(source.INFO.packages), calibration.digest)
    folder = store.model(model_key)
    model_job = ModelJob(
        request.model, request.weights, samples, request.preprocess, folder, settings.seed, settings.threads
    )
    result = _must(runner, "model", request.model, model_job, folder.with_suffix(".json"), store.logs(model_key))
    model = replace(from_plain(FloatModel, result.data), path=folder / GRAPH)

    outputs = output_index(evaluation.class_names, model.outputs, request.labels)
    task = Task(outputs, request.among, model.probabilities)
    artifact = float_artifact(model)
    reference_key = keys.reference_key(model, evaluation, request.preprocess, task, versions(["onnxruntime"]), host)
    reference = store.reference(reference_key)
    job_float = AccuracyJob(
        artifact, "onnxruntime", samples, request.preprocess, task, _BATCH, settings.threads, None, reference
    )
    result = _must(
        runner, "float model", model.name, job_float, reference.with_suffix(".json"), store.logs(reference_key)
    )
    accuracy = from_plain(Accuracy, result.data)
    return _Inputs(model, samples, calibration, evaluation, task, reference, accuracy)


def _must(
    runner: Runner, stage: str, name: str, job: SamplesJob | ModelJob | AccuracyJob, result: Path, logs: Path
) -> JobResult:
    """Run a job without which there is no study."""
    [ended] = runner.run(stage, [RunTask(name, job, result, logs)])
    if ended.end == "unsupported":
        raise BadInput(f"{name}: {ended.reason}" + (f"; {ended.remedy}" if ended.remedy else ""))
    if ended.end != "done":
        raise LowbitError(f"{stage} {name}: {ended.reason}; see {runner.folder / (ended.log or '')}")
    return ended


def _build(
    request: StudyRequest, store: Store, runner: Runner, host: Host, inputs: _Inputs, plan: Plan, slots: int
) -> list[CellState]:
    """Every artifact, and the cells that follow from it; a build that fails shows in the runtimes it was made for."""
    tasks = [_build_task(request, store, host, inputs, build) for build in plan.builds]
    results = runner.run("build", [task for _, task in tasks], slots)
    cells = []
    for build, (job, _), result in zip(plan.builds, tasks, results, strict=True):
        manifest = from_plain(Manifest, result.data) if result.end == "done" else None
        readers = build.runtimes
        if manifest is None:
            readers = tuple(name for name in readers if name in build.made_for) or readers[:1]
        for runtime in readers:
            cell = CellState(build, runtime, built=result, manifest=manifest)
            if manifest is not None:
                cell.artifact = store.relative(job.out / manifest.main)
                if runtime in plan.missing:
                    cell.broken = ("unsupported", plan.missing[runtime])
            cells.append(cell)
    return cells


def _build_task(
    request: StudyRequest, store: Store, host: Host, inputs: _Inputs, build: PlannedBuild
) -> tuple[BuildJob, RunTask]:
    key = keys.build_key(request, build, inputs.model, inputs.calibration, host)
    job = BuildJob(
        key=key,
        toolchain=build.toolchain.name,
        recipe=build.recipe,
        model=inputs.model,
        samples=inputs.samples,
        preprocess=request.preprocess,
        out=store.artifact(build.name),
        cache=store.conversions,
        batch_size=request.settings.batch_size,
        threads=request.settings.threads,
        seed=request.settings.seed,
    )
    result = store.build_result(key)
    kept = finished(result)
    if kept is not None and kept.end == "done" and not _intact(job.out, key):
        result.unlink()  # the files that this result speaks of are no longer there
    name = f"{build.toolchain.name}/{build.recipe.name}"
    return job, RunTask(name, job, result, store.logs(key), group=build.toolchain.name)


def _intact(folder: Path, key: str) -> bool:
    """Whether the artifact in `folder` is the one that `key` names, with all its files as they were written."""
    if not (folder / MANIFEST).is_file():
        return False
    manifest = load_json(Manifest, folder / MANIFEST)
    files = [folder / name for name in manifest.files]
    return manifest.key == key and all(f.is_file() for f in files) and digest.of_files(files) == manifest.digest


def _evaluate(
    request: StudyRequest, store: Store, runner: Runner, host: Host, inputs: _Inputs, plan: Plan,
    cells: Sequence[CellState], slots: int,
) -> None:  # fmt: skip
    """Accuracy and executed precision of every cell that was built."""
    alive = [cell for cell in cells if cell.alive]
    tasks = []
    for cell in alive:
        assert cell.manifest is not None
        dynamic = cell.build.recipe.claim == "dynamic"  # ranges over the whole batch: it must be the one that is timed
        size = request.settings.batch_size if dynamic else _BATCH
        threads = request.settings.threads
        cell.key = keys.cell_key(
            cell.manifest,
            cell.runtime,
            plan.runtimes[cell.runtime],
            inputs.evaluation,
            inputs.task,
            size,
            threads,
            host,
        )
        job = AccuracyJob(
            artifact=_artifact(store, cell, inputs.model),
            runtime=cell.runtime,
            samples=inputs.samples,
            preprocess=request.preprocess,
            task=inputs.task,
            batch_size=size,
            threads=threads,
            reference=inputs.reference,
            out=store.cell(cell.key),
        )
        tasks.append(RunTask(cell.name, job, job.out / "accuracy.json", store.logs(cell.key)))
        cell.right = job.out / RIGHT
    for cell, result in zip(alive, runner.run("accuracy", tasks, slots), strict=True):
        cell.accuracy = result


def _artifact(store: Store, cell: CellState, model: FloatModel) -> Artifact:
    assert cell.manifest is not None
    assert cell.artifact is not None
    return Artifact(
        path=store.folder / cell.artifact,
        format=cell.manifest.format,
        digest=cell.manifest.digest,
        input_shape=model.input_shape,
        outputs=model.outputs,
        batch_size=cell.manifest.batch_size,
        runtime_options=cell.manifest.runtime_options,
    )


def _time(request: StudyRequest, store: Store, runner: Runner, inputs: _Inputs, cells: Sequence[CellState]) -> None:
    """Rounds one after the other, each over all cells in an order of its own; one child at a time."""
    key = keys.timing_key(request, versions(["mlcommons-loadgen"]))
    for number in range(1, request.settings.rounds + 1):
        order = [cell for cell in cells if cell.alive]
        random.Random(f"{request.settings.seed}-{number}").shuffle(order)
        stage = f"timing, round {number} of {request.settings.rounds}"
        tasks = [_speed_task(request, store, inputs, cell, f"{key}-round-{number}") for cell in order]
        results = runner.run(stage, tasks)
        for cell, result in zip(order, results, strict=True):
            if result.end == "done" and from_plain(Timing, result.data).disturbed:
                again = _speed_task(request, store, inputs, cell, f"{key}-round-{number}-again")
                [repeated] = runner.run(f"{stage}, again", [again])
                result = repeated if repeated.end == "done" else result
            cell.timings.append(result)


def _speed_task(request: StudyRequest, store: Store, inputs: _Inputs, cell: CellState, name: str) -> RunTask:
    assert cell.key is not None
    logs = store.logs(cell.key)
    job = SpeedJob(
        artifact=_artifact(store, cell, inputs.model),
        runtime=cell.runtime,
        samples=inputs.samples,
        preprocess=request.preprocess,
        settings=request.settings,
        logs=logs / name,
    )
    return RunTask(cell.name, job, store.cell(cell.key) / f"{name}.json", logs)


def _finish(
    request: StudyRequest, store: Store, host: Host, inputs: _Inputs, plan: Plan, cells: Sequence[CellState]
) -> StudyResult:
    """Rows, the choice, and everything written down."""
    model, settings = inputs.model, request.settings
    common = Common(
        model=model.name,
        data=Path(request.data).name,
        n_samples=len(inputs.evaluation),
        scenario=settings.scenario,
        threads=settings.threads,
        batch_size=settings.batch_size,
        official=settings.official,
        host_id=host.id,
        accuracy=not model.random_weights,
    )
    rows = rows_of(cells, plan.impossible, common)
    accuracy = inputs.float_accuracy
    reference = Reference(accuracy.n_samples, accuracy.correct, accuracy.correct_top5)
    float_top1 = None if model.random_weights else accuracy.correct / accuracy.n_samples
    packages = versions(["lowbit", "numpy", "onnx", "pillow", "mlcommons-loadgen"])
    report = Report(
        title=f"{model.name}{' (random weights)' if model.random_weights else ''} on {common.data}",
        model=model,
        data=request.data,
        preprocess=request.preprocess,
        settings=settings,
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
        choice=choose(rows, float_top1, optimize=request.optimize, max_drop=request.max_drop),
        warnings=_warnings(model, settings),
    )
    result = StudyResult(store.folder, report, {cell.name: cell.key for cell in cells if cell.key is not None})
    save(result)
    return result


def _warnings(model: FloatModel, settings: Settings) -> tuple[str, ...]:
    found = []
    if model.random_weights:
        found.append(
            "Random weights: nobody trained this network, so no accuracy is printed, only agreement with float."
        )
    if settings.rounds == 1:
        found.append("One timing round: there is no spread, so that close latencies cannot be told apart.")
    return tuple(found)
