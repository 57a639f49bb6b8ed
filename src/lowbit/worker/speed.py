"""Job `speed`: one round of LoadGen, with the memory for loading, other work on the machine, and executed operators."""

import time
from contextlib import ExitStack

import numpy as np

from lowbit.core.adapter import Session
from lowbit.core.outcome import Timing
from lowbit.data.cache import open_samples
from lowbit.data.preprocess import to_input
from lowbit.measure import load
from lowbit.measure.accuracy import in_batches_of
from lowbit.measure.imports import ImportTimer
from lowbit.measure.memory import peak_above
from lowbit.measure.speed import run_loadgen
from lowbit.runtimes import find
from lowbit.worker.doing import doing
from lowbit.worker.jobs import SpeedJob
from lowbit.worker.precision import save_executed, timed_options

_LIBRARY_BYTES = 64 * 2**20  # size of the set of preprocessed images that LoadGen draws from
_LIBRARY_IMAGES = 256
_PAUSE_S = 0.1


def run(job: SpeedJob) -> Timing:
    """Warm the runtime up, load the file, measure how much memory that takes, then let LoadGen time it."""
    runtime = find.runtimes((job.runtime,))[job.runtime]
    options = timed_options(job.settings)
    samples = open_samples(job.samples, "evaluation")
    first = to_input(samples.images[:1], job.preprocess)
    doing(f"loading {job.runtime}")
    with ImportTimer() as imports:
        runtime.warm_up(options)
    before = load.pause(_PAUSE_S)
    with ExitStack() as stack:
        opened: list[Session] = []
        seconds: list[float] = []

        def load_and_run() -> None:
            start = time.perf_counter()
            opened.append(stack.enter_context(runtime.open_session(job.artifact, options)))
            seconds.append(time.perf_counter() - start)
            opened[0].predict(np.repeat(first, job.artifact.batch_size or job.settings.batch_size, axis=0))

        doing(f"opening {job.artifact.path.name} in {job.runtime} and running it once")
        peak = peak_above(load_and_run)
        fixed = job.artifact.batch_size
        predict = opened[0].predict if fixed is None else in_batches_of(opened[0].predict, fixed)
        count = max(1, min(len(samples), _LIBRARY_IMAGES, _LIBRARY_BYTES // first.nbytes))
        images = to_input(samples.images[:count], job.preprocess)
        doing(f"timing {job.artifact.path.name} in {job.runtime}")
        start = load.now()
        result = run_loadgen(predict, images, job.settings, job.logs)
        end = load.now()
        after = load.pause(_PAUSE_S)
        if job.executed is not None:
            save_executed(opened[0], job.layers, job.executed)
    return Timing(
        latency_p50_ms=result.latency_p50_ms,
        latency_p90_ms=result.latency_p90_ms,
        latency_p99_ms=result.latency_p99_ms,
        latency_p999_ms=result.latency_p999_ms,
        early_stopping_ms=result.early_stopping_ms,
        samples_per_s=result.samples_per_s,
        target_qps=result.target_qps,
        queries=result.queries,
        samples=result.samples,
        duration_s=result.duration_s,
        loadgen_valid=result.valid,
        verdict=result.verdict,
        peak_memory_bytes=peak,
        load_s=seconds[0],
        import_s=imports.seconds,
        load_before=before,
        load_during=load.others(start, end),
        load_after=after,
        disturbed=load.disturbed(start, end, job.settings.threads),
    )
