from collections.abc import Iterator

import numpy as np
import pytest
from scipy.special import rel_entr, softmax

from lowbit.core.adapter import Floats
from lowbit.core.errors import MeasurementError
from lowbit.measure.accuracy import Answers, Scoring, answer, divergence, in_batches_of, in_kind

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(50, 12)).astype(np.float32)  # images are their own index; the "model" looks its scores up
LABELS = RNG.integers(0, 12, 50)
TASK = Scoring(tuple(range(12)), "model", probabilities=False)


def images(size: int) -> Iterator[Floats]:
    indices = np.arange(50, dtype=np.float32).reshape(-1, 1, 1, 1)
    yield from (indices[start : start + size] for start in range(0, 50, size))


def look_up(batch: Floats) -> Floats:
    return np.asarray(SCORES[batch[:, 0, 0, 0].astype(int)])


@pytest.mark.parametrize("size", [1, 7, 50])
def test_counts_do_not_depend_on_the_batch_size(size: int) -> None:
    answers = answer(look_up, images(size), LABELS, TASK)
    assert (answers.predictions == SCORES.argmax(axis=1)).all()
    assert (answers.right == (SCORES.argmax(axis=1) == LABELS)).all()
    in_best_five = [label in np.argsort(row)[-5:] for row, label in zip(SCORES, LABELS, strict=True)]
    assert answers.correct_top5 == sum(in_best_five)


def test_among_data_lets_only_the_mapped_outputs_compete() -> None:
    mapped = (3, 7, 1)
    labels = RNG.integers(0, 3, 50)
    among_data = answer(look_up, images(10), labels, Scoring(mapped, "data", probabilities=False))
    assert (among_data.predictions == SCORES[:, mapped].argmax(axis=1)).all()
    assert (among_data.right == (SCORES[:, mapped].argmax(axis=1) == labels)).all()
    assert among_data.correct_top5 is None  # three classes: five guesses are all of them
    among_model = answer(look_up, images(10), labels, Scoring(mapped, "model", probabilities=False))
    assert (among_model.right == (SCORES.argmax(axis=1) == np.asarray(mapped)[labels])).all()


@pytest.mark.parametrize("probabilities", [True, False])
def test_divergence_is_scipys_relative_entropy(probabilities: bool) -> None:
    p, q = softmax(SCORES, axis=1), softmax(SCORES[::-1], axis=1)
    given = (p, q) if probabilities else (SCORES, SCORES[::-1])
    assert divergence(*given, probabilities=probabilities) == pytest.approx(rel_entr(p, q).sum(axis=1), abs=1e-5)
    assert divergence(SCORES, SCORES, probabilities=False) == pytest.approx(np.zeros(50), abs=1e-12)


def test_nan_and_constant_outputs_are_errors_that_say_where() -> None:
    def broken(batch: Floats) -> Floats:
        scores = look_up(batch).copy()
        scores[batch[:, 0, 0, 0] == 33] = np.nan
        return scores

    with pytest.raises(MeasurementError, match="image 33"):
        answer(broken, images(8), LABELS, TASK)
    with pytest.raises(MeasurementError, match="same for all 50"):
        answer(lambda batch: np.ones((len(batch), 12), np.float32), images(8), LABELS, TASK)
    with pytest.raises(MeasurementError, match="8 images were answered, 50"):
        answer(look_up, [next(images(8))], LABELS, TASK)


def test_a_fixed_batch_is_filled_up_and_cut_off() -> None:
    def only_eight(batch: Floats) -> Floats:
        assert len(batch) == 8
        return look_up(batch)

    answers = answer(in_batches_of(only_eight, 8), images(7), LABELS, TASK)
    assert (answers.predictions == SCORES.argmax(axis=1)).all()


def test_a_longer_batch_than_the_fixed_one_is_split() -> None:
    calls: list[int] = []

    def only_four(batch: Floats) -> Floats:
        calls.append(len(batch))
        return look_up(batch)

    answers = answer(in_batches_of(only_four, 4), images(10), LABELS, TASK)
    assert (answers.predictions == SCORES.argmax(axis=1)).all()
    assert calls == [4] * 15  # three a batch of ten


def test_scores_of_another_shape_are_no_version_of_the_float_model() -> None:
    with pytest.raises(MeasurementError, match=r"\[8, 11\] for 8 images, expected \[8, 12\]"):
        answer(lambda batch: look_up(batch)[:, :11], images(8), LABELS, TASK, reference=SCORES)


@pytest.mark.parametrize("outputs", [1, 12])
def test_logits_and_probabilities_become_each_other(outputs: int) -> None:
    """The textbook's softmax and sigmoid; logits are known up to a constant a row, which one output does not have."""
    logits = SCORES[:, :outputs]
    odds = np.exp(logits.astype(np.float64))
    probabilities = (odds / (1 + odds if outputs == 1 else odds.sum(axis=1, keepdims=True))).astype(np.float32)
    nothing = np.zeros((50, 1), np.float32)
    made = in_kind(lambda _: logits, probabilities=False)(nothing)
    np.testing.assert_allclose(made, probabilities, rtol=1e-5)
    back = in_kind(lambda _: probabilities, probabilities=True)(nothing)
    shift = back - logits
    assert np.ptp(shift, axis=1).max() < 1e-4
    if outputs == 1:
        np.testing.assert_allclose(back, logits, atol=1e-4)
    with pytest.raises(MeasurementError, match="not finite"):
        in_kind(lambda _: logits * np.float32(np.nan), probabilities=True)(nothing)


ONE = RNG.normal(size=(50, 1)).astype(np.float32)


@pytest.mark.parametrize("probabilities", [True, False])
def test_one_output_tells_two_classes_apart_by_a_threshold(probabilities: bool) -> None:
    scores: Floats = (1 / (1 + np.exp(-ONE)) if probabilities else ONE).astype(np.float32)
    threshold = 0.5 if probabilities else 0.0
    labels = RNG.integers(0, 2, 50)

    def of(values: Floats, outputs: tuple[int, ...] = (0, 1), threshold: float = threshold) -> Answers:
        task = Scoring(outputs, "model", probabilities, threshold)
        return answer(lambda batch: values[batch[:, 0, 0, 0].astype(int)], images(9), labels, task, reference=scores)

    plain = of(scores)
    assert (plain.predictions == (ONE[:, 0] > 0)).all()
    assert (plain.right == ((ONE[:, 0] > 0) == labels)).all()
    assert 0 < plain.right.mean() < 1, "argmax over one number would be right on every image, or on none"
    assert plain.correct_top5 is None
    assert plain.kl == pytest.approx(np.zeros(50), abs=1e-12)
    assert (of(scores, outputs=(1, 0)).right == ~plain.right).all()
    assert of(scores, threshold=10.0).predictions.sum() == 0
    p, q = (1 / (1 + np.exp(-values[:, 0].astype(np.float64))) for values in (ONE, ONE[::-1]))
    expected = rel_entr(p, q) + rel_entr(1 - p, 1 - q)
    assert of(np.ascontiguousarray(scores[::-1])).kl == pytest.approx(expected, abs=1e-5)


def test_among_the_datas_classes_a_threshold_stays_one() -> None:
    labels = RNG.integers(0, 2, 50)
    first, second = (
        answer(
            lambda batch: ONE[batch[:, 0, 0, 0].astype(int)], images(9), labels, Scoring((1, 0), among, False, 0.0)
        ).right
        for among in ("model", "data")
    )
    assert (first == second).all()
