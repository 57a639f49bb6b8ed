"""Job `accuracy`: runs one artifact in one runtime over every evaluation image."""

import os
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from lowbit.core.adapter import SessionOptions
from lowbit.core.files import aside
from lowbit.core.outcome import Accuracy
from lowbit.data.cache import batches, open_samples
from lowbit.measure.accuracy import Answers, answer, in_batches_of, in_kind
from lowbit.measure.stats import mcnemar
from lowbit.runtimes import find
from lowbit.worker.doing import doing
from lowbit.worker.jobs import AccuracyJob

SCORES, PREDICTIONS, RIGHT = "scores.npy", "predictions.npy", "right.npy"


def run(job: AccuracyJob) -> Accuracy:
    """Predict every image and save the predictions. The float model's own pass also saves the scores."""
    samples = open_samples(job.samples, "evaluation")
    runtime = find.runtimes((job.runtime,))[job.runtime]
    options = SessionOptions(threads=job.threads, batch_size=job.batch_size)
    doing(f"opening {job.artifact.path.name} in {job.runtime}")
    with runtime.open_session(job.artifact, options) as session:
        doing(f"running {job.artifact.path.name} in {job.runtime}")
        fixed = job.artifact.batch_size
        predict = session.predict if fixed is None else in_batches_of(session.predict, fixed)
        if job.probabilities is not None and job.probabilities != job.task.probabilities:
            predict = in_kind(predict, probabilities=job.probabilities)
        pictures = batches(samples, job.preprocess, fixed or job.batch_size)
        if job.reference is None:
            with aside(job.out / SCORES) as path:
                shape = (len(samples), job.artifact.outputs)
                scores = open_memmap(path, "w+", np.float32, shape)
                with path.open(
                    "r+b"
                ) as file:  # allocate now: on a full disk, writing to the memory map would raise SIGBUS
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)

                def keep(first: int, part: np.ndarray) -> None:
                    scores[first : first + len(part)] = part

                answers = answer(predict, pictures, samples.labels, job.task, keep=keep)
                scores.flush()
        else:
            reference = np.load(job.reference / SCORES, mmap_mode="r")
            answers = answer(predict, pictures, samples.labels, job.task, reference=reference)
    _save(job.out, answers)
    float_folder = job.reference or job.out
    float_right = np.load(float_folder / RIGHT)
    b = int((float_right & ~answers.right).sum())
    c = int((~float_right & answers.right).sum())
    return Accuracy(
        n_samples=len(samples),
        correct=int(answers.right.sum()),
        correct_top5=answers.correct_top5,
        agreement=float((answers.predictions == np.load(float_folder / PREDICTIONS)).mean()),
        kl=None if answers.kl is None else float(answers.kl.mean()),
        b=b,
        c=c,
        p_value=mcnemar(b, c),
    )


def _save(folder: Path, answers: Answers) -> None:
    for name, values in ((PREDICTIONS, answers.predictions), (RIGHT, answers.right)):
        with aside(folder / name) as path:
            np.save(path, values)
