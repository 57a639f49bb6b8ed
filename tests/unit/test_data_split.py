"""Calibration and evaluation never share a picture, and what cannot be split is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowbit.core.errors import BadInput
from lowbit.data.arrays import ArrayPart
from lowbit.data.picture import Dataset
from lowbit.data.split import split


def data(test: int, train: int | None = None) -> Dataset:
    def part(count: int) -> ArrayPart:
        return ArrayPart("x", np.zeros((count, 2, 2), np.uint8), np.zeros(count, np.int64))

    return Dataset("toy", ("a",), test=part(test), train=None if train is None else part(train))


@given(st.integers(4, 200), st.data(), st.integers(0, 2**32))
def test_without_a_training_part_the_two_share_out_the_pictures(count: int, draw: st.DataObject, seed: int) -> None:
    wanted = draw.draw(st.integers(2, count - 2))
    chosen = split(data(count), calibration_samples=wanted, seed=seed)
    assert chosen.calibration_from is chosen.evaluation_from
    assert len(chosen.calibration) == wanted
    assert sorted([*chosen.calibration, *chosen.evaluation]) == list(range(count))
    assert np.all(np.diff(chosen.evaluation) > 0)


@given(st.integers(2, 50), st.integers(2, 100), st.integers(2, 200), st.integers(0, 99))
def test_with_a_training_part_every_test_picture_is_evaluated(test: int, train: int, wanted: int, seed: int) -> None:
    dataset = data(test, train)
    chosen = split(dataset, calibration_samples=wanted, seed=seed)
    assert chosen.calibration_from is dataset.train
    assert chosen.evaluation.tolist() == list(range(test))
    assert len(set(chosen.calibration.tolist())) == len(chosen.calibration) == min(wanted, train)
    assert set(chosen.calibration.tolist()) <= set(range(train))
    assert bool(chosen.note) == (wanted > train)


@given(st.integers(5, 100), st.integers(2, 120), st.integers(0, 99))
def test_a_limit_takes_a_part_and_leaves_the_calibration_alone(count: int, limit: int, seed: int) -> None:
    whole = split(data(count), calibration_samples=3, seed=seed)
    part = split(data(count), calibration_samples=3, seed=seed, limit=limit)
    assert part.calibration.tolist() == whole.calibration.tolist()
    assert len(part.evaluation) == min(limit, count - 3)
    assert set(part.evaluation.tolist()) <= set(whole.evaluation.tolist())
    assert np.all(np.diff(part.evaluation) > 0)


def test_the_seed_decides() -> None:
    def drawn(seed: int) -> list[int]:
        return [int(i) for i in split(data(1000), calibration_samples=20, seed=seed).calibration]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_a_limit_and_the_beginning_of_the_calibration_are_spread_over_the_data() -> None:
    chosen = split(data(10_000, 10_000), calibration_samples=1000, seed=0, limit=1000)
    # 1,000 of 10,000 uniform numbers have a mean of 5,000 ± 91; the first of them in order would have 500
    assert abs(chosen.evaluation.mean() - 5000) < 5 * 91
    assert abs(chosen.calibration[:100].mean() - 5000) < 5 * 289


@pytest.mark.parametrize(
    ("dataset", "wanted", "said"),
    [
        (data(10), 9, "leaves 1 to evaluate"),
        (data(10), 10, "10 pictures"),
        (data(10), 512, "leaves 0 to evaluate"),
        (data(1), 2, "leaves 0 to evaluate"),
        (data(10, 1), 512, "1 training picture"),
        (data(1, 10), 2, "1 test picture"),
    ],
)
def test_what_cannot_be_split_is_refused(dataset: Dataset, wanted: int, said: str) -> None:
    with pytest.raises(BadInput) as error:
        split(dataset, calibration_samples=wanted, seed=0)
    assert said in str(error.value)


@given(st.integers(1, 60), st.integers(0, 9), st.one_of(st.none(), st.integers(1, 80)))
def test_where_nothing_calibrates_all_test_pictures_or_the_limit_are_compared(
    count: int, train: int, limit: int | None
) -> None:
    dataset = data(count, train or None)
    chosen = split(dataset, calibration_samples=0, seed=0, limit=limit)
    assert chosen.evaluation_from is dataset.test and len(chosen.calibration) == 0
    assert len(chosen.evaluation) == min(count, limit or count)
    assert np.all(np.diff(chosen.evaluation) > 0)
