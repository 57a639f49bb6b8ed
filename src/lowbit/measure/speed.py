"""Speed as MLPerf's load generator (LoadGen) measures it: one scenario, one session, LoadGen's own verdict and logs."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lowbit.core.adapter import Floats
from lowbit.core.errors import UnsupportedError
from lowbit.core.settings import MULTI_STREAM_SAMPLES, Settings
from lowbit.measure import loadgen
from lowbit.measure.memory import available_bytes
from lowbit.measure.rules import ROUNDS, SHORT, Rules
from lowbit.measure.server import Served, highest_rate

_WARM_UP_S = 0.3
# Share of the warm-up's median latency: other work slows the warm-up, and too high a guess is INVALID. LoadGen makes
# all the queries that it expects in advance, so that the guess is closer where there would be many.
_EXPECTED_SHARE, _CLOSE_SHARE, _MANY_QUERIES = 0.5, 0.9, 2e6
_MOST_OF_MEMORY = 0.7
_QUERY_BYTES = 320  # of memory for each query that is made in advance, as measured with LoadGen 6.0
_WARM_UP_QUERIES = 5
_ATTEMPTS, _STEP_DOWN = 10, 0.93  # server: runs at ever lower rates, until one is valid
_PERCENTILES = ("50.00", "90.00", "99.00", "99.90")

Predict = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True)
class Run:
    """What LoadGen reported. Latencies are per query, in milliseconds; None offline, where there is one query.

    - latency_p50_ms … latency_p999_ms: percentiles of the latency; p999 is the 99.9th
    - early_stopping_ms: LoadGen's estimate of the percentile that the scenario reports, which holds with a confidence
      of 99 %; None offline, and in the server scenario, where early stopping is a condition of validity instead
    - samples_per_s: throughput; by LoadGen where the scenario measures a rate, otherwise from the median latency
    - queries, samples: how many LoadGen sent
    - duration_s: how long it sent them
    - target_qps: in the server scenario, the rate of arrivals in queries per second
    - valid, verdict: whether LoadGen calls the run valid, and its own words
    """

    latency_p50_ms: float | None
    latency_p90_ms: float | None
    latency_p99_ms: float | None
    latency_p999_ms: float | None
    early_stopping_ms: float | None
    samples_per_s: float
    queries: int
    samples: int
    duration_s: float
    target_qps: float | None
    valid: bool
    verdict: str


def run_loadgen(predict: Predict, images: Floats, settings: Settings, out: Path) -> Run:
    """Let LoadGen drive `predict` over `images` [K, C, H, W]. LoadGen writes its logs into `out`.

    The samples of a query are passed to `predict` in calls of at most `settings.batch_size`. In the server scenario
    queries arrive one by one, and those that wait are answered together. LoadGen generates its queries in advance from
    an expected latency, which is set a little below the latency of a warm-up: an expectation that is too high makes too
    few queries and an INVALID run. Raises what `predict` raised, after LoadGen has ended properly.
    """
    scenario = settings.scenario
    together = {"offline": settings.batch_size, "multi-stream": MULTI_STREAM_SAMPLES}.get(scenario, 1)
    probe = [i % len(images) for i in range(together)]
    seconds = _warm_up(lambda: _answer(predict, images, probe, settings.batch_size))
    if scenario == "server":
        return _serve(predict, images, settings, seconds, out)
    errors: list[Exception] = []

    def issue(queries: list[Any]) -> None:
        import mlperf_loadgen

        try:
            if not errors:
                _answer(predict, images, [query.index for query in queries], settings.batch_size)
        except Exception as error:  # noqa: BLE001 - LoadGen waits for ever unless every query is completed
            errors.append(error)
        mlperf_loadgen.QuerySamplesComplete([mlperf_loadgen.QuerySampleResponse(query.id, 0, 0) for query in queries])

    def expecting(seconds: float) -> Run:
        start = time.perf_counter()
        loadgen.run(issue, _test_settings(settings, seconds, together), len(images), out)
        if errors:
            raise errors[0]
        return _read(out, settings, time.perf_counter() - start)

    run = expecting(seconds)
    if not run.valid and settings.max_duration_s is None:  # other work slowed the warm-up: expect what was measured now
        run = expecting(together / run.samples_per_s)
    return run


def _serve(predict: Predict, images: Floats, settings: Settings, seconds: float, out: Path) -> Run:
    """The server scenario at the settings' rate, or at the highest rate for which LoadGen calls a run valid."""
    served = Served(lambda chosen: _answer(predict, images, chosen, settings.batch_size), settings.batch_size)

    def at(rate: float, folder: Path) -> Run:
        start = time.perf_counter()
        served.run(_server_settings(settings, rate), len(images), folder)
        return _read(folder, settings, time.perf_counter() - start, rate)

    if settings.target_qps is not None:
        return at(settings.target_qps, out)
    rate = highest_rate(served, _server_settings(settings, 1 / seconds), len(images), out / "search")
    return _first_valid(at, rate, out)


def _first_valid(at: Callable[[float, Path], Run], rate: float, out: Path) -> Run:
    """The first valid run at `rate`, or at rates below it.

    LoadGen's search tries each rate for a moment only, so that a run as long as was asked for may fail at its result.
    """
    for attempt in range(_ATTEMPTS):
        run = at(rate * _STEP_DOWN**attempt, out)
        if run.valid:
            break
    return run


def _answer(predict: Predict, images: Floats, indices: list[int], batch_size: int) -> None:
    if len(indices) == 1:  # a view costs nothing; fancy indexing would copy
        predict(images[indices[0] : indices[0] + 1])
        return
    for start in range(0, len(indices), batch_size):
        predict(np.ascontiguousarray(images[indices[start : start + batch_size]]))


def _warm_up(query: Callable[[], None]) -> float:
    """Median seconds of one query, after at least _WARM_UP_QUERIES of them and _WARM_UP_S of work."""
    query()
    seconds: list[float] = []
    begin = time.perf_counter()
    while len(seconds) < _WARM_UP_QUERIES or time.perf_counter() - begin < _WARM_UP_S:
        start = time.perf_counter()
        query()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _rules(settings: Settings) -> Rules:
    """The demands that the run is made to meet: a round's, or those of a short run that LoadGen calls valid."""
    official = ROUNDS[settings.rules].get(settings.scenario) if settings.official else None
    return official or SHORT[settings.scenario]


def _test_settings(settings: Settings, seconds: float, together: int) -> Any:
    """LoadGen's settings. `seconds`: of one query in the warm-up, which had `together` samples."""
    import mlperf_loadgen

    test = _common_settings(settings)
    queries = test.min_duration_ms / 1000 / seconds
    share = _EXPECTED_SHARE if queries < _MANY_QUERIES else _CLOSE_SHARE
    expected_ns = max(1, round(seconds * share * 1e9))
    if settings.scenario != "offline":
        _check_memory(queries / share, test.min_duration_ms / 1000)
    if settings.scenario == "single-stream":
        test.scenario = mlperf_loadgen.TestScenario.SingleStream
        test.single_stream_expected_latency_ns = expected_ns
    elif settings.scenario == "multi-stream":
        test.scenario = mlperf_loadgen.TestScenario.MultiStream
        test.multi_stream_samples_per_query = together
        test.multi_stream_expected_latency_ns = expected_ns
    else:
        test.scenario = mlperf_loadgen.TestScenario.Offline
        # LoadGen runs all the queries that it expects, so do not ask for many more than needed.
        test.offline_expected_qps = together / seconds * 1.25
    return test


def _check_memory(queries: float, duration_s: float) -> None:
    """Raises UnsupportedError where the queries that LoadGen makes in advance would not fit into memory."""
    needed, there = queries * _QUERY_BYTES, available_bytes()
    if needed > _MOST_OF_MEMORY * there:
        raise UnsupportedError(
            f"LoadGen makes queries in advance: {queries:,.0f} for {duration_s:g} s would take {needed / 1e9:.1f} GB, "
            f"and {there / 1e9:.1f} GB are free",
            "shorten the run (--min-duration), or leave --official out",
        )


def _server_settings(settings: Settings, rate: float) -> Any:
    """LoadGen's settings for Poisson arrivals of `rate` queries per second."""
    import mlperf_loadgen

    test = _common_settings(settings)
    test.scenario = mlperf_loadgen.TestScenario.Server
    test.server_target_qps = rate
    test.server_target_latency_ns = round(settings.target_latency_ms * 1e6)
    test.server_target_latency_percentile = (SHORT["server"].percentile or 0) / 100
    return test


def _common_settings(settings: Settings) -> Any:
    import mlperf_loadgen

    rules = _rules(settings)
    test = mlperf_loadgen.TestSettings()
    test.mode = mlperf_loadgen.TestMode.PerformanceOnly
    test.min_duration_ms = round(max(settings.min_duration_s, rules.min_duration_s) * 1000)
    if settings.max_duration_s is not None:
        test.max_duration_ms = max(test.min_duration_ms, round(settings.max_duration_s * 1000))
    test.min_query_count = max(rules.min_queries, rules.min_samples)  # offline, LoadGen takes it for samples
    for name in ("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed"):
        setattr(test, name, settings.seed + 1)
    return test


def _read(out: Path, settings: Settings, duration_s: float, target_qps: float | None = None) -> Run:
    """The results in LoadGen's logs of a run that took `duration_s`."""
    found = loadgen.results(out)
    scenario = settings.scenario
    word = "per_query_latency" if scenario == "multi-stream" else "latency"
    p50, p90, p99, p999 = (found[f"result_{p}_percentile_{word}_ns"] / 1e6 for p in _PERCENTILES)
    offline = scenario == "offline"
    queries, together = found["result_query_count"], found["generated_samples_per_query"]
    if offline:
        rate = found["result_samples_per_second"]
    elif scenario == "server":
        rate = found["result_completed_samples_per_sec"]
    else:
        rate = together * 1e3 / p50
    estimate = {"single-stream": "early_stopping_latency_ss", "multi-stream": "early_stopping_latency_ms"}.get(scenario)
    early = found.get(estimate, 0) if estimate else 0  # 0: too few queries for an estimate
    return Run(
        latency_p50_ms=None if offline else p50,
        latency_p90_ms=None if offline else p90,
        latency_p99_ms=None if offline else p99,
        latency_p999_ms=None if offline else p999,
        early_stopping_ms=early / 1e6 if early else None,
        samples_per_s=rate,
        queries=queries,
        samples=queries * together,
        duration_s=duration_s,
        target_qps=target_qps,
        valid=found["result_validity"] == "VALID",
        verdict=loadgen.verdict(out),
    )
