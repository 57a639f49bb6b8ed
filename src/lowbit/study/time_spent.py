"""The stage `profile`: where the time of each timed cell goes, and the roof that this machine's products set."""

from collections.abc import Sequence
from dataclasses import replace

from lowbit.core.peak import Peak, Peaks
from lowbit.core.profile import Profile, TimeSpent
from lowbit.study import keys
from lowbit.study.execute.placed import PlacedJob
from lowbit.study.prepare import Inputs, Work
from lowbit.study.rows import CellState
from lowbit.study.stages import artifact_of
from lowbit.worker.jobs import PeakJob, ProfileJob

_RUNS = 50


def profile(work: Work, inputs: Inputs, cells: Sequence[CellState]) -> tuple[dict[str, TimeSpent], tuple[Peak, ...]]:
    """Profile every cell that was timed, one child process at a time.

    Gives the name of each row whose runtime has a profiler → where its time goes; and the peaks of this machine, for
    every number of threads that those rows have.
    """
    timed = [each for each in cells if each.alive and each.timings and each.manifest is not None]
    jobs = [_job(work, inputs, each) for each in timed]
    found = {
        each.cell.name: outcome.value.time_spent
        for each, outcome in zip(timed, work.executor.run("profile", jobs), strict=True)
        if outcome.value is not None
    }
    threads = sorted({spent.threads for spent in found.values()})
    peaks = [_peak_job(work, count) for count in threads]
    measured = [outcome.value for outcome in work.executor.run("machine's peak", peaks) if outcome.value is not None]
    return found, tuple(peak for each in measured for peak in each.found)


def _job(work: Work, inputs: Inputs, state: CellState) -> PlacedJob[Profile]:
    settings, manifest, key = state.cell.settings, state.manifest, state.key
    assert manifest is not None
    assert key is not None
    folder = work.store.artifact(state.cell.build.folder)
    job = ProfileJob(
        path=artifact_of(folder, manifest, inputs.model).path,
        format=manifest.format,
        runtime=state.cell.runtime,
        runtime_options=manifest.runtime_options,
        samples=inputs.calibration.path.parent,
        preprocess=work.asked.preprocess,
        threads=settings.threads,
        batch_size=manifest.batch_size or settings.batch_size,
        runs=_RUNS,
        graph=inputs.model.path,
        layers=inputs.model.layer_macs,
    )
    stem = f"{keys.timing_key(settings, work.executor.host)}-profile"
    placed = PlacedJob(state.cell.name, job, work.store.cell(key) / f"{stem}.json", work.store.logs(key))
    return replace(placed, environment=state.environment, threads=settings.threads)


def _peak_job(work: Work, threads: int) -> PlacedJob[Peaks]:
    key = keys.peak_key(work.executor.host, threads)
    name = f"matrix products, {threads} threads" if threads > 1 else "matrix products, 1 thread"
    placed = PlacedJob(name, PeakJob(threads), work.store.peak(key), work.store.logs(key))
    return replace(placed, threads=threads)
