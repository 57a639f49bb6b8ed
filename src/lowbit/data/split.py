"""Decides which pictures calibrate and which are evaluated: never the same ones."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lowbit.core.errors import BadInput
from lowbit.data.picture import DataPart, Dataset

Indices = npt.NDArray[np.int64]
_CALIBRATION, _LIMIT = 0, 1  # streams of random numbers, so that a limit does not move the calibration set
_FEWEST = 2  # pictures of either kind: one has no range, and cannot show that a model tells pictures apart


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Indices into the parts that the pictures come from.

    - calibration: in the order in which they were drawn, so that its beginning is a random sample too (in a dataset of
      class folders, the classes follow one another)
    - evaluation: ascending
    - training: from the calibration pictures' part, those first, then others
    - note: what the user should know; empty where there is nothing
    """

    calibration_from: DataPart
    calibration: Indices = field(repr=False)
    evaluation_from: DataPart
    evaluation: Indices = field(repr=False)
    training: Indices = field(default_factory=lambda: np.empty(0, np.int64), repr=False)
    note: str = ""


def split(
    dataset: Dataset, *, calibration_samples: int, seed: int, limit: int | None = None, training_samples: int = 0
) -> Split:
    """Draw `calibration_samples` from `train`, else from `test`, and leave them out of it; evaluate the rest.

    `training_samples`: how many pictures to train on at most, none that is evaluated: where there is no training part,
    these are the calibration pictures.

    `limit`: evaluate a random part of that many pictures; 0: none, and all may calibrate. `calibration_samples` may be
    0 too: nothing is measured against labels then, and one picture is enough. Otherwise both numbers are at least 2, as
    a study's request makes sure; BadInput when the data leave fewer than 2 pictures for either.
    """
    if calibration_samples == 0:
        return _evaluation_only(dataset, seed, limit)
    if limit == 0:
        return _calibration_only(dataset, calibration_samples, seed, training_samples)
    source = dataset.train or dataset.test
    order = np.random.default_rng([seed, _CALIBRATION]).permutation(len(source.labels))
    drawn = order[:calibration_samples]
    training = (drawn if dataset.train is None else order)[:training_samples]
    note = ""
    if dataset.train is None:
        evaluation = np.setdiff1d(np.arange(len(source.labels)), drawn)
        if len(evaluation) < _FEWEST:
            raise BadInput(
                f"{dataset.name}: {len(source.labels)} pictures and no training part: --calibration-samples "
                f"{calibration_samples} leaves {len(evaluation)} to evaluate, at least {_FEWEST} are needed; "
                "ask for fewer, or add training pictures"
            )
    else:
        evaluation = np.arange(len(dataset.test.labels))
        for part, count in (("training", len(drawn)), ("test", len(evaluation))):
            if count < _FEWEST:
                raise BadInput(f"{dataset.name}: {count} {part} picture, at least {_FEWEST} are needed; add some")
        if len(drawn) < calibration_samples:
            note = f"{calibration_samples} calibration samples were asked for; the training part has {len(drawn)}"
    return Split(source, drawn, dataset.test, _some(evaluation, seed, limit), training, note)


def _some(evaluation: Indices, seed: int, limit: int | None) -> Indices:
    """A random part of `limit` pictures, in order; all where that is None."""
    if limit is None:
        return evaluation
    return np.sort(np.random.default_rng([seed, _LIMIT]).permutation(evaluation)[:limit])


def _evaluation_only(dataset: Dataset, seed: int, limit: int | None) -> Split:
    """All pictures of the test part, or `limit` of them, where none calibrates."""
    evaluation = _some(np.arange(len(dataset.test.labels)), seed, limit)
    if not len(evaluation):
        raise BadInput(f"{dataset.name}: no pictures to compare on, at least 1 is needed; add some")
    return Split(dataset.test, np.empty(0, np.int64), dataset.test, evaluation)


def _calibration_only(dataset: Dataset, calibration_samples: int, seed: int, training_samples: int) -> Split:
    """The same calibration pictures as a study's, where nothing is evaluated; all others may train."""
    source = dataset.train or dataset.test
    order = np.random.default_rng([seed, _CALIBRATION]).permutation(len(source.labels))
    drawn = order[:calibration_samples]
    if len(drawn) < _FEWEST:
        raise BadInput(
            f"{dataset.name}: {len(drawn)} pictures to calibrate with, at least {_FEWEST} are needed; add some"
        )
    return Split(source, drawn, dataset.test, np.empty(0, np.int64), order[:training_samples])
