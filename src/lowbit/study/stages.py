"""The stages of a study after its inputs are ready: build, evaluate, time. Each fills in what is known of the cells."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lowbit.core import digest
from lowbit.core.artifact import Artifact, Manifest
from lowbit.core.bounds import outside
from lowbit.core.codec import from_plain, load_json
from lowbit.core.errors import DamagedFile
from lowbit.core.model import FloatModel
from lowbit.core.outcome import Timing
from lowbit.study import keys
from lowbit.study.cells import Plan, PlannedBuild
from lowbit.study.execute.local import PlacedJob
from lowbit.study.prepare import BATCH, Inputs, Work
from lowbit.study.rows import CellState
from lowbit.worker.accuracy import PREDICTIONS, RIGHT
from lowbit.worker.build import MANIFEST
from lowbit.worker.jobs import AccuracyJob, BuildJob, PrecisionJob, SpeedJob

_OFFICIAL_LIMIT_S = 86_400.0


def build(work: Work, inputs: Inputs, plan: Plan) -> list[CellState]:
    """Every artifact, and the cells that follow from it; a build that fails shows in the runtimes it was made for."""
    tasks = [_build_task(work, inputs, planned) for planned in plan.builds]
    cells = []
    for planned, result in zip(plan.builds, work.executor.run("build", tasks, work.slots), strict=True):
        manifest = from_plain(Manifest, result.data) if result.end == "done" else None
        readers = planned.runtimes
        if manifest is None:
            readers = tuple(name for name in readers if name in planned.made_for) or readers[:1]
        for runtime in readers:
            used = {**planned.versions, **plan.runtimes.get(runtime, {})}
            cell = CellState(planned, runtime, built=result, manifest=manifest, outside=outside(used))
            if manifest is not None:
                cell.artifact = work.store.relative(work.store.artifact(planned.name) / manifest.main)
                if runtime in plan.missing:
                    cell.broken = ("unsupported", plan.missing[runtime], None)
            cells.append(cell)
    return cells


def _build_task(work: Work, inputs: Inputs, planned: PlannedBuild) -> PlacedJob:
    request, store = work.request, work.store
    key = keys.build_key(request, planned, inputs.model, inputs.calibration, work.host)
    job = BuildJob(
        key=key,
        toolchain=planned.toolchain.name,
        recipe=planned.recipe,
        model=inputs.model,
        samples=inputs.samples,
        preprocess=request.preprocess,
        out=store.artifact(planned.name),
        cache=store.conversions,
        batch_size=request.settings.batch_size,
        threads=request.settings.threads,
        seed=request.settings.seed,
    )
    files = kept_files(job.out, key)
    name = f"{planned.toolchain.name}/{planned.recipe.name}"
    return PlacedJob(name, job, store.build_result(key), store.logs(key), leaves=files, group=planned.toolchain.name)


def kept_files(folder: Path, key: str) -> tuple[Path, ...]:
    """The files of the artifact that `key` names; one that does not exist where they are not as they were written."""
    try:
        manifest = load_json(Manifest, folder / MANIFEST)
    except (FileNotFoundError, DamagedFile):
        return (folder / MANIFEST / "whole",)
    files = tuple(folder / name for name in manifest.files)
    untouched = all(file.is_file() for file in files) and digest.of_files(files) == manifest.digest
    return files if manifest.key == key and untouched else (folder / MANIFEST / "whole",)


def evaluate(work: Work, inputs: Inputs, plan: Plan, cells: Sequence[CellState]) -> None:
    """Accuracy of every cell that was built."""
    alive = [cell for cell in cells if cell.alive]
    tasks = [_accuracy_task(work, inputs, plan, cell) for cell in alive]
    for cell, result in zip(alive, work.executor.run("accuracy", tasks, work.slots), strict=True):
        cell.accuracy = result


def _accuracy_task(work: Work, inputs: Inputs, plan: Plan, cell: CellState) -> PlacedJob:
    assert cell.manifest is not None
    settings = work.request.settings
    dynamic = cell.build.recipe.claim == "dynamic"  # ranges over the whole batch: it must be the one that is timed
    size = settings.batch_size if dynamic else BATCH
    packages = plan.runtimes[cell.runtime]
    cell.key = keys.cell_key(cell.manifest, cell.runtime, packages, inputs.reference_key, size, settings.threads)
    folder = work.store.cell(cell.key)
    cell.right = folder / RIGHT
    job = AccuracyJob(
        artifact=_artifact(work, cell, inputs.model),
        runtime=cell.runtime,
        samples=inputs.samples,
        preprocess=work.request.preprocess,
        task=inputs.task,
        batch_size=size,
        threads=settings.threads,
        reference=inputs.reference,
        out=folder,
    )
    leaves = (cell.right, folder / PREDICTIONS)
    return PlacedJob(cell.name, job, folder / "accuracy.json", work.store.logs(cell.key), leaves)


def _artifact(work: Work, cell: CellState, model: FloatModel) -> Artifact:
    assert cell.manifest is not None
    assert cell.artifact is not None
    return Artifact(
        path=work.store.folder / cell.artifact,
        format=cell.manifest.format,
        digest=cell.manifest.digest,
        input_shape=model.input_shape,
        outputs=model.outputs,
        batch_size=cell.manifest.batch_size,
        runtime_options=cell.manifest.runtime_options,
    )


def time(work: Work, inputs: Inputs, cells: Sequence[CellState]) -> None:
    """Rounds one after the other, each over all cells in an order of its own; one child at a time.

    A cell that ran beside other work is timed once more; what the repetition says counts. The first round also leaves
    what was executed.
    """
    settings = work.request.settings
    key = keys.timing_key(work.request, work.host)
    # MLPerf's own counts take hours on a slow model: 270,336 queries of 8 images in the multi-stream scenario.
    limit_s = max(work.request.time_limit_s, _OFFICIAL_LIMIT_S if settings.official else 0.0)
    timer = replace(work.executor, time_limit_s=limit_s)
    for number in range(1, settings.rounds + 1):
        order = [cell for cell in cells if cell.alive]
        random.Random(f"{settings.seed}-{number}").shuffle(order)
        stage = f"timing, round {number} of {settings.rounds}"
        for cell in order:
            cell.executed = _executed(work, cell, key)
        tasks = [_speed_task(work, inputs, cell, f"{key}-round-{number}", first=number == 1) for cell in order]
        results = timer.run(stage, tasks)
        disturbed = [
            index
            for index, result in enumerate(results)
            if result.end == "done" and from_plain(Timing, result.data).disturbed
        ]
        again = [
            _speed_task(work, inputs, order[index], f"{key}-round-{number}-again", first=number == 1)
            for index in disturbed
        ]
        for index, repeated in zip(disturbed, timer.run(f"{stage}, again", again), strict=True):
            results[index] = repeated if repeated.end == "done" else results[index]
        for cell, result in zip(order, results, strict=True):
            cell.timings.append(result)


def list_operators(work: Work, inputs: Inputs, cells: Sequence[CellState]) -> None:
    """What is executed in the cells that were not timed, from sessions opened as if they were."""
    key = keys.timing_key(work.request, work.host)
    untimed = [cell for cell in cells if cell.alive and not cell.timings]
    tasks = []
    for cell in untimed:
        assert cell.key is not None
        cell.executed = _executed(work, cell, key)
        job = PrecisionJob(
            artifact=_artifact(work, cell, inputs.model),
            runtime=cell.runtime,
            settings=work.request.settings,
            layers=inputs.model.layer_macs,
            out=cell.executed,
        )
        result = work.store.cell(cell.key) / f"{key}-operators.json"
        tasks.append(PlacedJob(cell.name, job, result, work.store.logs(cell.key), leaves=(job.out,)))
    for cell, ended in zip(untimed, work.executor.run("operators", tasks, work.slots), strict=True):
        cell.operators = ended


def _executed(work: Work, cell: CellState, timing: str) -> Path:
    assert cell.key is not None
    return work.store.cell(cell.key) / f"{timing}-executed.json"


def _speed_task(work: Work, inputs: Inputs, cell: CellState, name: str, *, first: bool) -> PlacedJob:
    assert cell.key is not None
    logs = work.store.logs(cell.key)
    job = SpeedJob(
        artifact=_artifact(work, cell, inputs.model),
        runtime=cell.runtime,
        samples=inputs.samples,
        preprocess=work.request.preprocess,
        settings=work.request.settings,
        logs=logs / name,
        executed=cell.executed if first else None,
        layers=inputs.model.layer_macs if first else (),
    )
    leaves = () if job.executed is None else (job.executed,)
    return PlacedJob(cell.name, job, work.store.cell(cell.key) / f"{name}.json", logs, leaves)
