"""Job `scores`: runs one artifact in one runtime over every evaluation image and keeps the scores."""

import os
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from lowbit.core.adapter import Floats, SessionOptions
from lowbit.core.discover import require
from lowbit.core.files import aside
from lowbit.data.cache import batches, open_samples
from lowbit.measure.accuracy import in_batches_of
from lowbit.runtimes import find
from lowbit.worker.doing import doing
from lowbit.worker.jobs import Nothing, ScoresJob


def run(job: ScoresJob) -> Nothing:
    """Write float32 scores [N, outputs] to `job.out`, whatever they are: NaN and infinity too."""
    samples = open_samples(job.samples, "evaluation")
    runtime = find.runtimes((job.runtime,))[job.runtime]
    require(runtime.INFO)
    options = SessionOptions(threads=job.threads, batch_size=job.batch_size)
    doing(f"opening {job.artifact.path.name} in {job.runtime}")
    with runtime.open_session(job.artifact, options) as session, aside(job.out) as path:
        doing(f"running {job.artifact.path.name} in {job.runtime}")
        fixed = job.artifact.batch_size
        predict = session.predict if fixed is None else in_batches_of(session.predict, fixed)
        kept: Floats | None = None
        start = 0
        for batch in batches(samples, job.preprocess, fixed or job.batch_size):
            found = np.asarray(predict(batch), np.float32).reshape(len(batch), -1)
            kept = _allocated(path, len(samples), found.shape[1]) if kept is None else kept
            kept[start : start + len(batch)] = found
            start += len(batch)
        if isinstance(kept, np.memmap):
            kept.flush()
    return Nothing()


def _allocated(path: Path, images: int, outputs: int) -> Floats:
    """A memory-mapped array. Its place on the disk is taken now: writing to a map on a full disk would be a crash."""
    scores: Floats = open_memmap(path, "w+", np.float32, (images, outputs))
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return scores
