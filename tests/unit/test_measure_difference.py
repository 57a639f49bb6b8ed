"""Laws of the difference between two arrays of scores, and of the difference between two results of one layer."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lowbit.core.difference import ScoresDifference, Verdict
from lowbit.core.errors import BadInput, MeasurementError
from lowbit.measure import difference
from lowbit.measure.difference import compare_layer, compare_scores, error_of, look_like_probabilities, verdict_of

Scores = npt.NDArray[np.float32]

numbers = st.floats(-50, 50, width=32)
scores = st.tuples(st.integers(1, 9), st.integers(2, 6)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=numbers)
)


@given(scores)
def test_what_is_the_same_differs_in_nothing(a: Scores) -> None:
    found = compare_scores(a, a.copy())
    assert (found.same_answers, found.equal_images) == (len(a), len(a))
    assert (found.largest, found.mean, found.error, found.kl, found.kl_back) == (0, 0, 0, 0, 0)
    assert found.farthest == ()
    assert verdict_of(found, same_network=True) == "equal"


@given(scores, st.data())
def test_both_directions_agree_on_what_is_symmetric(a: Scores, draw: st.DataObject) -> None:
    b = draw.draw(arrays(np.float32, a.shape, elements=numbers))
    there, back = compare_scores(a, b), compare_scores(b, a)
    assert (there.same_answers, there.equal_images) == (back.same_answers, back.equal_images)
    assert (there.largest, there.mean) == (back.largest, back.mean)
    assert (there.kl, there.kl_back) == (back.kl_back, back.kl)
    assert there.kl is not None and there.kl >= 0
    assert there.mean <= there.largest
    assert there.same_answers >= there.equal_images


@given(scores, st.data())
def test_figures_are_those_of_the_definition(a: Scores, draw: st.DataObject) -> None:
    b = draw.draw(arrays(np.float32, a.shape, elements=numbers))
    found = compare_scores(a, b)
    apart = np.abs(a.astype(np.float64) - b)
    assert found.largest == apart.max()
    assert found.mean == pytest.approx(apart.mean())
    spread = a.std(dtype=np.float64)
    if spread > 1e-3:
        assert found.error == pytest.approx(np.sqrt((apart**2).mean()) / spread, rel=1e-4)
    if found.probabilities == (False, False):
        p, q = (np.exp(x.astype(np.float64)) / np.exp(x.astype(np.float64)).sum(axis=1, keepdims=True) for x in (a, b))
        assert found.kl == pytest.approx((p * np.log(p / q)).sum(axis=1).mean(), abs=1e-6)
    listed = [picture.largest for picture in found.farthest]
    assert listed == sorted((each for each in apart.max(axis=1) if each > 0), reverse=True)[:5]
    for picture in found.farthest:
        assert picture.largest == apart[picture.index].max()
        assert picture.answers == (a[picture.index].argmax(), b[picture.index].argmax())


@settings(deadline=None)
@given(st.integers(1, 23))
def test_chunks_change_nothing(size: int) -> None:
    rng = np.random.default_rng(size)
    a, b = rng.normal(size=(2, 23, 4)).astype(np.float32)
    whole = compare_scores(a, b)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(difference, "_CHUNK", size)
        parts = compare_scores(a, b)
    for name in ("mean", "error", "kl", "kl_back"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name))
    rounded = {"mean": 0.0, "error": 0.0, "kl": 0.0, "kl_back": 0.0}
    assert replace(parts, **rounded) == replace(whole, **rounded)  # type: ignore[arg-type]


def test_nan_and_infinity_count_and_are_told() -> None:
    a = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    b = np.array([[1, np.nan], [np.inf, 4], [5, 6]], np.float32)
    found = compare_scores(a, b)
    assert found.not_finite == (0, 2)
    assert found.equal_images == 1 and found.largest == float(np.finfo(np.float32).max)
    assert found.kl == 0, "the only picture with finite scores on both sides is equal"
    assert verdict_of(found, same_network=True) == "miscomputed"
    assert compare_scores(a[:2], b[:2]).kl is None
    assert compare_scores(b, b.copy()).largest == 0, "the same NaN at the same place is no difference"


def test_minus_zero_is_no_difference_but_other_bits() -> None:
    found = compare_scores(np.array([[0.0, 1]], np.float32), np.array([[-0.0, 1]], np.float32))
    assert (found.largest, found.equal_images) == (0, 0)


def test_one_output_answers_by_its_sign_or_by_one_half() -> None:
    logits = compare_scores(np.array([[-2.0], [3]], np.float32), np.array([[2.0], [1]], np.float32))
    assert logits.same_answers == 1 and logits.probabilities == (False, False)
    shares = compare_scores(np.array([[0.4], [0.9]], np.float32), np.array([[0.6], [0.8]], np.float32))
    assert shares.same_answers == 1 and shares.probabilities == (True, True)


def test_probabilities_are_known_by_their_values() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, 10)).astype(np.float32)
    soft = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert look_like_probabilities(soft.astype(np.float32))
    coarse: Scores = np.asarray(np.rint(soft * 256) / 256, np.float32)
    assert look_like_probabilities(coarse), "an int8 softmax"
    assert not look_like_probabilities(logits)
    assert not look_like_probabilities((np.abs(logits) / 10).astype(np.float32))
    mixed = compare_scores(logits, soft.astype(np.float32))
    assert mixed.probabilities == (False, True)
    assert mixed.kl == pytest.approx(0, abs=1e-6), "logits and their softmax are the same probabilities"


@pytest.mark.parametrize(
    ("error", "same_network", "verdict"),
    [
        (0.0257, True, "agree"), (0.05, False, "agree"), (0.07, True, "close"), (0.1, False, "close"),
        (0.2, True, "miscomputed"), (0.2, False, "apart"),
    ],
)  # fmt: skip
def test_verdicts(error: float, same_network: bool, verdict: Verdict) -> None:
    found = ScoresDifference(10, 4, (False, False), 9, 0, 1.0, 0.1, error, 0.1, 0.1, (0, 0))
    assert verdict_of(found, same_network=same_network) == verdict


@pytest.mark.parametrize("other", [(3, 5), (2, 4)])
def test_scores_of_other_pictures_or_outputs_are_refused(other: tuple[int, int]) -> None:
    with pytest.raises(BadInput, match="as many pictures"):
        compare_scores(np.zeros((3, 4), np.float32), np.zeros(other, np.float32))
    with pytest.raises(BadInput, match="at least one picture"):
        compare_scores(np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32))


@given(st.integers(0, 2**32), st.sampled_from([0.02, 0.5, 3.0]))
def test_one_step_apart_is_rounding_two_are_not(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (2, 8, 16, 16))
    codes[0, 0, 0, :2] = 0, 255  # the whole range, so that the quantizer's step is what counts
    a = (codes * scale).astype(np.float32)
    by_one = (np.clip(codes + rng.integers(-1, 2, codes.shape), 0, 255) * scale).astype(np.float32)
    found = compare_layer(1, "n", "Conv", a, by_one, scale=scale)
    assert not found.parted and found.largest == pytest.approx(1, rel=1e-3) and found.beyond == 0
    codes[1, :, 3, 3] = (codes[1, :, 3, 3] + 100) % 256
    moved = compare_layer(1, "n", "Conv", a, (codes * scale).astype(np.float32), scale=scale)
    assert moved.parted and moved.beyond == pytest.approx(8 / codes.size)


def test_a_few_values_of_many_do_not_part() -> None:
    a = np.linspace(0, 255, 100_000, dtype=np.float32)
    b = a.copy()
    b[:9] += 3
    assert not compare_layer(1, "n", "Conv", a, b, scale=1.0).parted
    b[:11] += 3
    assert compare_layer(1, "n", "Conv", a, b, scale=1.0).parted


def test_sixteen_bits_are_judged_in_steps_of_eight() -> None:
    """Float kernels that round to 16 bits are many of its steps apart without being wrong."""
    a = np.linspace(-1, 1, 1000, dtype=np.float32)
    found = compare_layer(1, "n", "Conv", a, a + np.float32(20 / 65535), scale=2 / 65535)
    assert found.step == pytest.approx(2 / 255) and not found.parted


def test_other_numbers_part_by_their_error() -> None:
    a = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    for size, parted in ((0.09, False), (0.11, True)):
        b = a + np.float32(size) * np.float32(a.std()) * np.sign(np.arange(1000) % 2 - 0.5).astype(np.float32)
        found = compare_layer(1, "n", "Conv", a, b, scale=None, same_numbers=False)
        assert found.error == pytest.approx(size, rel=1e-3) and found.parted == parted


def test_broken_results_part() -> None:
    a = np.linspace(0, 1, 100, dtype=np.float32)
    assert compare_layer(1, "n", "Conv", a, np.full_like(a, np.nan), scale=None).parted
    assert error_of(a, np.full_like(a, np.inf)) > 1
    with pytest.raises(MeasurementError, match=r"Conv n: one side gives \[100\], the other \[50\]"):
        compare_layer(1, "n", "Conv", a, a[:50], scale=None)
