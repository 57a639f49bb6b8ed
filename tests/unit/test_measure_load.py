"""Whether other work was in the way is judged by the cores that the process may use, not by all of the machine."""

import os
from pathlib import Path

import pytest

from lowbit.measure import load

TICKS = os.sysconf("SC_CLK_TCK")


def moments(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, usable: set[int], busy: list[float], waited_s: float = 0.0
) -> tuple[load.Clock, load.Clock]:
    """Two moments ten seconds apart; busy: cores' worth of work a core meanwhile. This process did nothing."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: usable)
    monkeypatch.setattr(load, "_STAT", tmp_path / "stat")
    monkeypatch.setattr(load, "_WAITS", tmp_path / "waits")
    found = []
    for second in (0.0, 10.0):
        lines = [f"cpu{core} {int(share * second * TICKS)} 0 0 0 0 0 0 0 0 0" for core, share in enumerate(busy)]
        total = f"cpu  {int(sum(busy) * second * TICKS)} 0 0 0 0 0 0 0 0 0"
        (tmp_path / "stat").write_text("\n".join([total, *lines, "intr 1 2 3"]) + "\n")
        (tmp_path / "waits").write_text(f"1 {int(waited_s * second / 10 * 1e9)} 1\n")
        now = load.now()
        found.append(load.Clock(second, 0.0, now.cores_s, now.waited_s))
    return found[0], found[1]


ALL = set(range(64))


@pytest.mark.parametrize(
    ("usable", "busy", "threads", "disturbed"),
    [
        (ALL, [1.0] * 40 + [0.0] * 24, 1, False),  # a busy large machine with room left
        (ALL, [1.0] * 40 + [0.0] * 24, 32, True),  # and without, for 32 threads
        (ALL, [1.0] * 64, 1, True),
        ({62, 63}, [1.0] * 60 + [0.0] * 4, 1, False),  # pinned to idle cores
        ({0}, [0.5] + [0.0] * 63, 1, True),
        ({0, 1}, [0.1, 0.0], 1, False),
        ({0, 1}, [0.5, 0.0], 1, True),  # two cores may be one with two threads
    ],
)
def test_cores_that_may_not_be_used_or_are_not_needed_do_not_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, usable: set[int], busy: list[float], threads: int, disturbed: bool
) -> None:
    start, end = moments(monkeypatch, tmp_path, usable=usable, busy=busy)
    assert load.others(start, end) == pytest.approx(sum(busy[core] for core in usable), abs=0.01)
    assert load.disturbed(start, end, threads) is disturbed


def test_waiting_for_a_core_is_a_disturbance_however_many_there_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    start, end = moments(monkeypatch, tmp_path, usable=ALL, busy=[0.0] * 64, waited_s=1.0)
    assert load.disturbed(start, end, 1)


def test_the_real_counters_are_read() -> None:
    first, second = load.now(), load.now()
    assert second.cores_s >= first.cores_s > 0
    assert second.waited_s >= first.waited_s >= 0
