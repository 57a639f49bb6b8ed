"""LoadGen itself, driven with functions of known duration."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lowbit.core.adapter import Floats
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
