"""Accuracy: what a session predicts for the evaluation images, and how its scores differ from the float model's."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lowbit.core.adapter import Floats
from lowbit.core.errors import MeasurementError

_TOP = 5


@dataclass(frozen=True, slots=True)
class Scoring:
    """How scores become predictions.

    - outputs: `outputs[label]` is the model's output for a label; with a threshold, it is the side (0 or 1) that is
      right
    - among: whether a prediction is the argmax over all outputs of the "model" or over the classes of the "data"
    - probabilities: whether the scores are probabilities, so that no softmax is applied for the divergence
    - threshold: of a model with one output for two classes, in the unit of that output; a score above it predicts 1,
      any other 0. None where every class has an output of its own.
    """

    outputs: tuple[int, ...]
    among: str
    probabilities: bool
    threshold: float | None = None

    def candidates(self, scores: Floats) -> Floats:
        """The scores that the argmax is taken over.

        They are [N, outputs]; [N, classes] among the data's classes; or [N, 2], the threshold and the only output,
        where the first wins if both are equal.
        """
        if self.threshold is not None:
            return np.concatenate([np.full_like(scores, self.threshold), scores], axis=1)
        return scores[:, self.outputs] if self.among == "data" else scores

    @property
    def by_index(self) -> bool:
        """Whether predictions are indices of outputs or sides of a threshold, rather than the data's labels."""
        return self.among != "data" or self.threshold is not None

    def targets(self, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The correct prediction for each label, as an index into `candidates`."""
        return np.asarray(self.outputs, np.int64)[labels] if self.by_index else labels


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """A model's predictions for all images.

    - predictions: index of the best candidate, [N]
    - right: whether each prediction is correct, [N]
    - correct_top5: number of top-5 hits; None for five candidates or fewer
    - kl: Kullback–Leibler divergence from the float model's scores in nats, [N]; None for the float model's own pass
    """

    predictions: npt.NDArray[np.int32]
    right: npt.NDArray[np.bool_]
    correct_top5: int | None
    kl: npt.NDArray[np.float64] | None


def answer(
    predict: Callable[[Floats], Floats],
    batches: Iterable[Floats],
    labels: npt.NDArray[np.int64],
    task: Scoring,
    *,
    reference: Floats | None = None,
    keep: Callable[[int, Floats], None] | None = None,
) -> Answers:
    """Run every batch [n, C, H, W] through `predict` and compare with `labels` [N] and `reference` scores [N, outputs].

    `keep(start, scores)` receives the raw scores of each batch. Memory grows by only 13 bytes per image. Raises
    MeasurementError when scores are NaN or infinite, of another shape than `reference`, or the same for every image.
    """
    predictions = np.empty(len(labels), np.int32)
    top5 = np.zeros(len(labels), np.bool_)
    kl = None if reference is None else np.empty(len(labels), np.float64)
    targets, first, varies, start = task.targets(labels), None, False, 0
    for batch in batches:
        scores = predict(batch)
        if reference is not None and scores.shape != (len(batch), reference.shape[1]):
            shapes = f"{list(scores.shape)} for {len(batch)} images, expected {[len(batch), reference.shape[1]]}"
            raise MeasurementError(f"the scores are {shapes}: it is no version of this float model")
        part = slice(start, start + len(batch))
        _check_finite(scores, start)
        first = scores[:1].copy() if first is None else first
        varies = varies or bool((scores != first).any())
        candidates = task.candidates(scores)
        predictions[part] = candidates.argmax(axis=1)
        if candidates.shape[1] > _TOP:
            best = np.argpartition(candidates, -_TOP, axis=1)[:, -_TOP:]
            top5[part] = (best == targets[part, None]).any(axis=1)
        if kl is not None and reference is not None:
            kl[part] = divergence(reference[part], scores, probabilities=task.probabilities)
        if keep is not None:
            keep(start, scores)
        start += len(batch)
    if start != len(labels):
        raise MeasurementError(f"{start} images were answered, {len(labels)} were asked: the pass is incomplete")
    if not varies and start > 1:
        raise MeasurementError(f"the outputs are the same for all {start} images: the model no longer sees its input")
    has_top5 = candidates.shape[1] > _TOP
    return Answers(predictions, predictions == targets, int(top5.sum()) if has_top5 else None, kl)


def joined(parts: Sequence[Answers]) -> Answers:
    """The answers for the images of all parts, one after the other."""
    top5 = [part.correct_top5 for part in parts if part.correct_top5 is not None]
    kl = [part.kl for part in parts if part.kl is not None]
    return Answers(
        np.concatenate([part.predictions for part in parts]),
        np.concatenate([part.right for part in parts]),
        sum(top5) if len(top5) == len(parts) else None,
        np.concatenate(kl) if len(kl) == len(parts) else None,
    )


def divergence(reference: Floats, scores: Floats, *, probabilities: bool) -> npt.NDArray[np.float64]:
    """Kullback-Leibler divergence KL(reference || scores) of each row [N, outputs], in nats, never below zero.

    A single output stands for two classes: probabilities p and 1 - p, or logits z and 0.
    """
    log_p = log_probabilities(reference, probabilities)
    log_q = log_probabilities(scores, probabilities)
    result: npt.NDArray[np.float64] = np.maximum((np.exp(log_p) * (log_p - log_q)).sum(axis=1), 0.0)
    return result


def log_probabilities(scores: Floats, probabilities: bool) -> npt.NDArray[np.float64]:
    """Log-softmax of logits; probabilities are normalized, and at least 1e-12, so that a zero costs 28 nats."""
    exact = scores.astype(np.float64)
    if exact.shape[1] == 1:
        exact = np.concatenate([1 - exact if probabilities else np.zeros_like(exact), exact], axis=1)
    if probabilities:
        exact = np.log(np.maximum(exact, 1e-12))
    exact -= exact.max(axis=1, keepdims=True)
    result: npt.NDArray[np.float64] = exact - np.log(np.exp(exact).sum(axis=1, keepdims=True))
    return result


def _check_finite(scores: Floats, start: int) -> None:
    finite = np.isfinite(scores).all(axis=1)
    if not finite.all():
        index = start + int(np.argmin(finite))
        raise MeasurementError(f"the outputs for image {index} are not finite: {scores[index - start][:4]}")


def in_batches_of(predict: Callable[[Floats], Floats], size: int) -> Callable[[Floats], Floats]:
    """A `predict` for a file with a fixed batch size.

    Short batches are padded by repetition, and what was added is cut off afterwards; long ones are split.
    """

    def fixed(images: Floats) -> Floats:
        if len(images) == size:
            return predict(images)
        if len(images) > size:
            return np.concatenate([fixed(images[start : start + size]) for start in range(0, len(images), size)])
        filled = np.concatenate([images, np.repeat(images[-1:], size - len(images), axis=0)])
        return predict(filled)[: len(images)]

    return fixed


def in_kind(predict: Callable[[Floats], Floats], *, probabilities: bool) -> Callable[[Floats], Floats]:
    """A `predict` that gives logits where the file gives `probabilities`, and probabilities where it gives logits.

    The order of the classes stays, and so does the divergence from any other scores. A single output p or z stands for
    two classes: z is log(p / (1 - p)).
    """

    def other(images: Floats) -> Floats:
        scores = predict(images)
        _check_finite(scores, 0)
        logs = log_probabilities(scores, probabilities)
        if scores.shape[1] == 1:
            logs = logs[:, 1:] - logs[:, :1] if probabilities else logs[:, 1:]
        return (logs if probabilities else np.exp(logs)).astype(np.float32)

    return other
