"""Compares the float graph with the model that it was made from: both must be the same function."""

import numpy as np

from lowbit.core.adapter import Floats
from lowbit.core.errors import BadInput, LowbitError
from lowbit.sources._edge import TOLERANCE, Predict

TIE = 1e-4  # of the largest score: two best scores closer than this may change places


def check_against_source(
    float_predict: Predict, source_predict: Predict, batch: Floats, tolerance: float = TOLERANCE
) -> float:
    """The largest absolute difference of scores on `batch` float32 [N, C, H, W].

    LowbitError, with the numbers, when it is more than `tolerance` of the largest score, when a prediction changes that
    was no tie, or when the float graph's scores are NaN: the conversion went wrong. BadInput where the source's own
    scores are NaN or infinite.
    """
    ours, theirs = float_predict(batch), source_predict(batch)
    if ours.shape != theirs.shape:
        raise LowbitError(f"the float graph gives scores {list(ours.shape)}, its source {list(theirs.shape)}")
    if not np.isfinite(theirs).all():
        raise BadInput(
            f"the model gives NaN or infinite scores on {len(batch)} real images; expected finite ones: look at its "
            "weights and at --preprocess"
        )
    if not np.isfinite(ours).all():
        raise LowbitError(f"the float graph gives NaN or infinite scores on {len(batch)} real images, its source none")
    largest = max(1.0, float(np.abs(theirs).max())) if theirs.size else 1.0
    difference = float(np.abs(ours - theirs).max(initial=0.0))
    if difference > tolerance * largest:
        raise LowbitError(
            f"the float graph's scores differ from its source's by up to {difference:.3g} on {len(batch)} real images "
            f"(largest score {largest:.3g}, expected at most {tolerance * largest:.1g}): "
            "the conversion changed the model"
        )
    if theirs.shape[1] == 1:
        return difference  # which side of the threshold a score is on, accuracy says; here it is the same number
    tie = TIE if tolerance <= TOLERANCE else tolerance
    best = np.sort(theirs, axis=1)
    changed = (ours.argmax(1) != theirs.argmax(1)) & (best[:, -1] - best[:, -2] > tie * largest)
    if changed.any():
        raise LowbitError(
            f"the float graph predicts another class than its source for {changed.sum()} of {len(batch)} real images "
            f"(first: image {int(changed.argmax())}; largest difference of scores {difference:.3g})"
        )
    return difference
