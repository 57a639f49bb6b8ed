"""A budget: rounds and durations that fit into it, and stay the same when a command goes on."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowbit.core.errors import BadInput
from lowbit.core.settings import Settings
from lowbit.study.pace import Pace, kept_pace, pace, paced, seconds_of
from lowbit.study.store import Store

SETTINGS = Settings(rounds=3, min_duration_s=2.0)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("90s", 90.0), ("20m", 1200.0), ("1.5 h", 5400.0), (45.0, 45.0)]
)
def test_times_in_words(text: str | float, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["soon", "-3m", "0", "2d", ""])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="--budget"):
        seconds_of(text)


def test_much_time_leaves_rounds_and_durations_as_they_were_asked_for() -> None:
    found = pace(SETTINGS, cells=10, left_s=3600.0)
    assert (found.rounds, found.min_duration_s) == (3, 2.0)


def test_rounds_are_given_up_before_runs_become_shorter() -> None:
    assert pace(SETTINGS, cells=10, left_s=120.0).rounds == 2
    short = pace(SETTINGS, cells=10, left_s=40.0)
    assert (short.rounds, short.min_duration_s) == (1, 1.0)


@given(
    cells=st.integers(1, 500), left_s=st.floats(-100.0, 1e5), rounds=st.integers(1, 9), shortest=st.floats(0.05, 60.0)
)
def test_a_pace_never_asks_for_more_than_was_asked_for(cells: int, left_s: float, rounds: int, shortest: float) -> None:
    found = pace(replace(SETTINGS, rounds=rounds, min_duration_s=shortest), cells, left_s)
    assert 1 <= found.rounds <= rounds
    assert 0 < found.min_duration_s <= shortest
    assert found.min_duration_s <= found.max_duration_s
    if found.rounds > 1:
        assert found.min_duration_s == shortest
        assert cells * found.rounds * found.min_duration_s < left_s


def test_a_command_that_goes_on_keeps_the_pace(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = kept_pace(store, 60.0, [SETTINGS], ["a", "b"], 50.0)
    assert kept_pace(store, 60.0, [SETTINGS], ["b", "a"], 5.0) == first
    assert kept_pace(store, 70.0, [SETTINGS], ["a", "b"], 5.0) != first
    assert paced(SETTINGS, Pace(1, 0.5, 4.0)) == replace(SETTINGS, rounds=1, min_duration_s=0.5, max_duration_s=4.0)
