"""How far two arrays of scores, or two results of one layer, are from each other. Arithmetic over arrays only."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lowbit.core.adapter import Floats
from lowbit.core.difference import LayerDifference, PictureDifference, ScoresDifference, Verdict
from lowbit.core.errors import BadInput, MeasurementError
from lowbit.measure.accuracy import log_probabilities
from lowbit.measure.verify import step_of

AGREES = 0.05  # root mean squared difference over the scores' spread, up to which two sides agree
CLOSE = 0.1  # the same; what is farther is another function. Verification judges by the same bound.
_LARGEST = float(np.finfo(np.float32).max)  # what NaN and infinity count as
_SUMS_TO_ONE = 0.05  # an int8 softmax lies on a grid of 1/256, so that the sum of many outputs is not exactly 1
_CHUNK = 4096  # pictures at a time, so that memory does not grow with their number
_BEYOND = 1.5  # steps: two runtimes that round differently are one step apart
_FEW = 1e-4  # share of a layer's values that may lie farther apart


@dataclass(slots=True)
class _Sums:
    """What is added up over chunks of pictures: counts, differences, and moments of the first side's scores."""

    same_answers: int = 0
    equal_images: int = 0
    absolute: float = 0.0
    squared: float = 0.0
    score: float = 0.0
    score_squared: float = 0.0
    kl: float = 0.0
    kl_back: float = 0.0
    finite: int = 0


def compare_scores(first: Floats, second: Floats, most: int = 5) -> ScoresDifference:
    """How the scores of two sides differ, both [N, outputs] on the same pictures.

    `most`: how many of the pictures that differ most are listed, without names. Raises BadInput where there are no
    pictures, or the two sides give other numbers of scores.
    """
    if first.shape != second.shape or not first.size:
        raise BadInput(
            f"scores of shapes {list(first.shape)} and {list(second.shape)}: expected as many pictures and as many "
            "outputs on both sides, and at least one picture"
        )
    probabilities = (look_like_probabilities(first), look_like_probabilities(second))
    largest = np.zeros(len(first))
    broken = np.zeros((2, len(first)), np.bool_)
    sums = _Sums()
    for start in range(0, len(first), _CHUNK):
        part = slice(start, start + _CHUNK)
        a, b = np.asarray(first[part]), np.asarray(second[part])
        apart = _apart(a, b)
        largest[part] = apart.max(axis=1)
        broken[:, part] = ~np.isfinite(a).all(axis=1), ~np.isfinite(b).all(axis=1)
        _add(sums, a, b, apart, np.logical_not(np.logical_or(*broken[:, part])), probabilities)
    spread = np.sqrt(max(0.0, sums.score_squared / first.size - (sums.score / first.size) ** 2)) or 1.0
    order = np.argsort(-largest, kind="stable")[:most]
    answers = np.stack([answers_of(np.asarray(side[order])) for side in (first, second)], axis=1)
    return ScoresDifference(
        images=len(first),
        outputs=first.shape[1],
        probabilities=probabilities,
        same_answers=sums.same_answers,
        equal_images=sums.equal_images,
        largest=float(largest.max()),
        mean=sums.absolute / first.size,
        error=float(np.sqrt(sums.squared / first.size) / spread),
        kl=sums.kl / sums.finite if sums.finite else None,
        kl_back=sums.kl_back / sums.finite if sums.finite else None,
        not_finite=(int(broken[0].sum()), int(broken[1].sum())),
        farthest=tuple(
            PictureDifference(int(index), "", (int(a), int(b)), float(largest[index]))
            for index, (a, b) in zip(order, answers, strict=True)
            if largest[index] > 0
        ),
    )


def _add(
    sums: _Sums,
    a: Floats,
    b: Floats,
    apart: npt.NDArray[np.float64],
    finite: npt.NDArray[np.bool_],
    probabilities: tuple[bool, bool],
) -> None:
    sums.same_answers += int((answers_of(a) == answers_of(b)).sum())
    sums.equal_images += int((a.view(np.uint32) == b.view(np.uint32)).all(axis=1).sum())
    sums.absolute += float(apart.sum())
    sums.squared += float((apart**2).sum())
    exact = np.where(np.isfinite(a), a, 0).astype(np.float64)
    sums.score += float(exact.sum())
    sums.score_squared += float((exact**2).sum())
    log_p = log_probabilities(a[finite], probabilities[0])
    log_q = log_probabilities(b[finite], probabilities[1])
    sums.kl += float(np.maximum((np.exp(log_p) * (log_p - log_q)).sum(axis=1), 0).sum())
    sums.kl_back += float(np.maximum((np.exp(log_q) * (log_q - log_p)).sum(axis=1), 0).sum())
    sums.finite += int(finite.sum())


def answers_of(scores: Floats) -> npt.NDArray[np.int64]:
    """The best output of each picture [N]; of a single output whether it says the second of two classes."""
    if scores.shape[1] > 1:
        return np.asarray(scores.argmax(axis=1), np.int64)
    threshold = 0.5 if look_like_probabilities(scores) else 0.0
    return np.asarray(scores[:, 0] > threshold, np.int64)


def look_like_probabilities(scores: Floats) -> bool:
    """Whether all scores lie between 0 and 1 and, where there are several outputs, nearly sum to 1 for each picture."""
    for start in range(0, len(scores), _CHUNK):
        part = np.asarray(scores[start : start + _CHUNK], np.float64)
        if not ((part >= 0) & (part <= 1)).all():
            return False
        if part.shape[1] > 1 and (np.abs(part.sum(axis=1) - 1) > _SUMS_TO_ONE).any():
            return False
    return True


def verdict_of(scores: ScoresDifference, *, same_network: bool) -> Verdict:
    """What the difference of the scores means."""
    if scores.equal_images == scores.images:
        return "equal"
    if scores.error <= AGREES:
        return "agree"
    if scores.error <= CLOSE:
        return "close"
    return "miscomputed" if same_network else "apart"


def compare_layer(
    number: int,
    name: str,
    op_type: str,
    first: npt.NDArray[np.floating],
    second: npt.NDArray[np.floating],
    *,
    scale: float | None,
    same_numbers: bool = True,
) -> LayerDifference:
    """How two results of one layer differ, both of the same shape, computed from equal inputs.

    - scale: of the quantizer behind the layer; None where the result is not quantized
    - same_numbers: whether both sides have the same weights and quantizers. Then they part where more values than one
      in ten thousand lie more than one and a half steps apart. Otherwise they part where the root mean squared
      difference exceeds a tenth of the spread.

    Raises MeasurementError where the shapes differ.
    """
    if first.shape != second.shape:
        raise MeasurementError(
            f"{op_type} {name}: one side gives {list(first.shape)}, the other {list(second.shape)}: nothing to compare"
        )
    step = max(scale or 0.0, step_of(np.where(np.isfinite(first), first, 0)))
    apart = _apart(first, second)
    beyond = float((apart > _BEYOND * step).mean()) if apart.size else 0.0
    error = error_of(first, second)
    return LayerDifference(
        number=number,
        name=name,
        op_type=op_type,
        values=first.size,
        step=step,
        largest=float(apart.max(initial=0.0)) / step,
        beyond=beyond,
        error=error,
        parted=beyond > _FEW if same_numbers else error > CLOSE,
    )


def error_of(expected: npt.NDArray[np.floating], found: npt.NDArray[np.floating]) -> float:
    """Root mean squared difference, divided by the standard deviation of what was expected."""
    if not expected.size:
        return 0.0
    spread = float(np.where(np.isfinite(expected), expected, 0).std(dtype=np.float64)) or 1.0
    return float(np.sqrt(np.mean(_apart(expected, found) ** 2)) / spread)


def _apart(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Absolute differences. NaN and infinity differ from everything but themselves by the largest float32."""
    with np.errstate(invalid="ignore"):
        found = np.array(np.abs(a.astype(np.float64) - b.astype(np.float64)))
    found[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    found[~np.isfinite(found)] = _LARGEST
    return found
