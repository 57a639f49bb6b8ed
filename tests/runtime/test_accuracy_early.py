"""An accuracy pass in a slow runtime ends once its difference to the float model is known, and no sooner."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lowbit.core.artifact import Artifact
from lowbit.core.preprocess import Preprocess
from lowbit.data.cache import make_samples
from lowbit.data.datasets import open_dataset
from lowbit.data.preprocess import parse
from lowbit.measure.accuracy import Scoring
from lowbit.measure.stats import paired_margin
from lowbit.worker.accuracy import PREDICTIONS, RIGHT, run
from lowbit.worker.jobs import AccuracyJob
from tests.models import tiny_model

CLASSES = 4
COUNT = 600


@pytest.fixture
def job(tmp_path: Path) -> AccuracyJob:
    """The pass of another version than the float model's, whose own has been done."""
    rng = np.random.default_rng(0)
    pictures, labels = rng.integers(0, 256, (COUNT + 64, 8, 8, 3), np.uint8), np.arange(COUNT + 64) % CLASSES
    np.savez(tmp_path / "data.npz", x=pictures, y=labels)
    preprocess: Preprocess = parse("unit")
    make_samples(
        open_dataset(str(tmp_path / "data.npz")), preprocess, calibration_samples=64, seed=0, limit=COUNT,
        out=tmp_path / "samples", workers=1,
    )  # fmt: skip
    floats, other = (tiny_model(tmp_path / f"{seed}.onnx", seed=seed) for seed in (0, 1))
    float_job = AccuracyJob(
        artifact=Artifact(floats.path, "onnx", "", (3, 8, 8), CLASSES, None, {}),
        runtime="onnxruntime",
        samples=tmp_path / "samples",
        preprocess=preprocess,
        task=Scoring(tuple(range(CLASSES)), "model", probabilities=False),
        batch_size=32,
        threads=1,
        reference=None,
        out=tmp_path / "float",
    )
    float_job.out.mkdir()
    run(float_job)
    return replace(
        float_job,
        artifact=replace(float_job.artifact, path=other.path),
        reference=float_job.out,
        out=tmp_path / "other",
    )


def test_it_ends_where_enough_is_known_and_counts_what_was_answered(job: AccuracyJob) -> None:
    job.out.mkdir()
    whole = run(job)
    right, predictions = np.load(job.out / RIGHT), np.load(job.out / PREDICTIONS)
    enough = 1.2 * paired_margin(whole.b, whole.c, COUNT)  # known after about 1 / 1.44 of the images
    early = run(replace(job, enough=enough))
    assert 128 < early.n_samples < COUNT
    assert paired_margin(early.b, early.c, early.n_samples) <= enough
    seen = np.load(job.out / RIGHT) >= 0
    assert seen.sum() == early.n_samples
    assert not seen[: early.n_samples].all()  # in random order: pictures may lie sorted by class
    np.testing.assert_array_equal(np.load(job.out / RIGHT)[seen], right[seen])
    np.testing.assert_array_equal(np.load(job.out / PREDICTIONS)[seen], predictions[seen])
    assert early.correct == right[seen].sum()


def test_where_enough_is_never_known_all_are_answered(job: AccuracyJob) -> None:
    job.out.mkdir()
    whole = run(job)
    assert run(replace(job, enough=1e-9)) == whole
