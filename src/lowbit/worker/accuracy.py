"""Job `accuracy`: runs one artifact in one runtime over every evaluation image."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib.format import open_memmap

from lowbit.core.adapter import Floats, SessionOptions
from lowbit.core.files import aside
from lowbit.core.outcome import Accuracy
from lowbit.core.samples import Samples
from lowbit.data.cache import batches, open_samples
from lowbit.measure.accuracy import Answers, answer, in_batches_of, in_kind, joined
from lowbit.measure.stats import mcnemar, paired_margin
from lowbit.runtimes import find
from lowbit.worker.doing import doing
from lowbit.worker.jobs import AccuracyJob

SCORES, PREDICTIONS, RIGHT = "scores.npy", "predictions.npy", "right.npy"
_BLOCK = 128  # images, at least, after which a pass that may end early looks whether it knows enough
_SEED = 0

Images: TypeAlias = npt.NDArray[np.int64]
"""Numbers of images."""


def run(job: AccuracyJob) -> Accuracy:
    """Predict every image, or as many as are enough, and save the predictions.

    The float model's own pass also saves the scores.
    """
    seen: Images | slice = slice(None)
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
            if job.enough is None:
                answers = answer(predict, pictures, samples.labels, job.task, reference=reference)
            else:
                answers, seen = _until_known(job, predict, samples, reference)
    _save(job.out, answers, seen, len(samples))
    float_folder = job.reference or job.out
    b, c = _discordant(_right(float_folder)[seen], answers.right)
    return Accuracy(
        n_samples=len(answers.right),
        correct=int(answers.right.sum()),
        correct_top5=answers.correct_top5,
        agreement=float((answers.predictions == np.load(float_folder / PREDICTIONS)[seen]).mean()),
        kl=None if answers.kl is None else float(answers.kl.mean()),
        b=b,
        c=c,
        p_value=mcnemar(b, c),
    )


def _until_known(
    job: AccuracyJob, predict: Callable[[Floats], Floats], samples: Samples, reference: Floats
) -> tuple[Answers, Images]:
    """Answers for images in random order, until the difference to the float model is known; and which images."""
    assert job.reference is not None
    assert job.enough is not None
    float_right = _right(job.reference)
    order = np.random.default_rng(_SEED).permutation(len(samples))
    parts: list[Answers] = []
    for block in np.array_split(order, max(1, len(order) // _BLOCK)):
        chosen = replace(samples, images=samples.images[block], labels=samples.labels[block])
        pictures = batches(chosen, job.preprocess, job.artifact.batch_size or job.batch_size)
        parts.append(answer(predict, pictures, chosen.labels, job.task, reference=reference[block]))
        seen = order[: sum(len(part.right) for part in parts)]
        right = np.concatenate([part.right for part in parts])
        if paired_margin(*_discordant(float_right[seen], right), len(seen)) <= job.enough:
            break
    return joined(parts), seen


def _right(folder: Path) -> npt.NDArray[np.bool_]:
    """Whether each prediction of the float model is right."""
    right: npt.NDArray[np.bool_] = np.load(folder / RIGHT) == 1
    return right


def _discordant(float_right: npt.NDArray[np.bool_], right: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """How many images only the float model, and only this one, gets right."""
    return int((float_right & ~right).sum()), int((~float_right & right).sum())


def _save(folder: Path, answers: Answers, seen: Images | slice, count: int) -> None:
    """Write what was answered for each of `count` images: -1 for those that were not."""
    predictions, right = np.full(count, -1, np.int32), np.full(count, -1, np.int8)
    predictions[seen], right[seen] = answers.predictions, answers.right
    for name, values in ((PREDICTIONS, predictions), (RIGHT, right)):
        with aside(folder / name) as path:
            np.save(path, values)
