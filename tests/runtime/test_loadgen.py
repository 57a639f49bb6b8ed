"""LoadGen itself, driven with functions of known duration."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lowbit.core.adapter import Floats
from lowbit.core.errors import UnsupportedError
from lowbit.core.settings import Settings
from lowbit.measure.speed import run_loadgen

IMAGES = np.random.default_rng(0).normal(size=(16, 1, 2, 2)).astype(np.float32)
SETTINGS = Settings(min_duration_s=0.3, rounds=1)


class Sleeper:
    """Takes 2 ms a call and remembers how many images each call got."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, images: Floats) -> Floats:
        time.sleep(0.002)
        self.sizes.append(len(images))
        return np.zeros((len(images), 2), np.float32)


def test_single_stream_is_valid_and_is_no_faster_than_a_call(tmp_path: Path) -> None:
    sleeper = Sleeper()
    run = run_loadgen(sleeper, IMAGES, SETTINGS, tmp_path)
    assert run.valid, run.verdict
    assert run.queries >= 64
    assert run.latency_p50_ms is not None
    assert run.latency_p50_ms >= 2.0  # a sleep may take longer, never less: figures are in ms
    assert set(sleeper.sizes) == {1}
    assert (tmp_path / "mlperf_log_summary.txt").exists()


def test_multi_stream_asks_for_eight_images_in_calls_of_the_batch_size(tmp_path: Path) -> None:
    sleeper = Sleeper()
    run = run_loadgen(sleeper, IMAGES, replace(SETTINGS, scenario="multi-stream", batch_size=8), tmp_path)
    assert run.valid, run.verdict
    assert run.queries >= 662
    assert set(sleeper.sizes) == {8}


def test_offline_is_one_query_with_a_rate_and_no_latency(tmp_path: Path) -> None:
    sleeper = Sleeper()
    run = run_loadgen(sleeper, IMAGES, replace(SETTINGS, scenario="offline", batch_size=4), tmp_path)
    assert run.valid, run.verdict
    assert run.latency_p50_ms is None
    assert 0 < run.samples_per_s <= 4 / 0.002


def test_a_model_that_breaks_in_the_middle_ends_the_run_with_its_own_error(tmp_path: Path) -> None:
    calls = 0

    def breaks(images: Floats) -> Floats:
        nonlocal calls
        calls += 1
        if calls > 200:
            raise ValueError("the two hundred and first")
        return np.zeros((len(images), 2), np.float32)

    with pytest.raises(ValueError, match="two hundred and first"):
        run_loadgen(breaks, IMAGES, SETTINGS, tmp_path)


SERVER = replace(SETTINGS, scenario="server")


def test_a_server_answers_arrivals_at_the_given_rate(tmp_path: Path) -> None:
    sleeper = Sleeper()
    run = run_loadgen(sleeper, IMAGES, replace(SERVER, target_qps=250.0, target_latency_ms=2000.0), tmp_path)
    assert run.valid, run.verdict
    assert (run.target_qps, run.queries >= 662) == (250.0, True)
    assert run.latency_p50_ms is not None
    assert run.latency_p999_ms is not None
    assert 2.0 <= run.latency_p50_ms <= run.latency_p999_ms
    assert set(sleeper.sizes) == {1}


def test_queries_that_wait_for_a_server_are_answered_together(tmp_path: Path) -> None:
    sleeper = Sleeper()
    settings = replace(SERVER, batch_size=4, target_qps=1200.0, target_latency_ms=2000.0)  # 500 a second, one by one
    run = run_loadgen(sleeper, IMAGES, settings, tmp_path)
    assert run.valid, run.verdict
    assert set(sleeper.sizes[12:]) <= {1, 2, 3, 4}
    assert 4 in sleeper.sizes


def test_a_server_that_is_asked_for_too_much_is_invalid(tmp_path: Path) -> None:
    run = run_loadgen(Sleeper(), IMAGES, replace(SERVER, target_qps=2000.0, target_latency_ms=5.0), tmp_path)
    assert not run.valid
    assert run.verdict.startswith("INVALID")


def test_a_server_that_breaks_ends_the_run_with_its_own_error(tmp_path: Path) -> None:
    def breaks(images: Floats) -> Floats:
        if threading.current_thread() is not threading.main_thread():  # an arrival, not the warm-up
            raise ValueError("the first arrival")
        return np.zeros((len(images), 2), np.float32)

    with pytest.raises(ValueError, match="first arrival"):
        run_loadgen(breaks, IMAGES, replace(SERVER, target_qps=3000.0), tmp_path)


@pytest.mark.slow
def test_the_rate_that_loadgen_finds_is_valid_and_half_as_much_again_is_not(tmp_path: Path) -> None:
    found = run_loadgen(Sleeper(), IMAGES, SERVER, tmp_path / "found")
    assert found.valid, found.verdict
    assert found.target_qps is not None
    beyond = replace(SERVER, target_qps=1.5 * found.target_qps)
    assert not run_loadgen(Sleeper(), IMAGES, beyond, tmp_path / "beyond").valid


def test_more_queries_than_fit_into_memory_are_refused_before_they_are_made(tmp_path: Path) -> None:
    def at_once(images: Floats) -> Floats:
        return np.zeros((len(images), 2), np.float32)

    with pytest.raises(UnsupportedError, match=r"would take \d+\.\d GB, and .*--min-duration"):
        run_loadgen(at_once, IMAGES, replace(SETTINGS, min_duration_s=36_000.0), tmp_path)
    assert not (tmp_path / "mlperf_log_summary.txt").exists()


def test_a_model_slower_than_the_target_latency_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"a query alone takes .* ms, and .*--target-latency"):
        run_loadgen(Sleeper(), IMAGES, replace(SERVER, target_latency_ms=1.0), tmp_path)
    assert not any(tmp_path.iterdir())
