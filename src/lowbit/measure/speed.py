"""Speed as MLPerf's load generator (LoadGen) measures it: one scenario, one session, LoadGen's own verdict and logs."""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lowbit.core.adapter import Floats
from lowbit.core.errors import MeasurementError
from lowbit.core.settings import MULTI_STREAM_SAMPLES, Settings

_WARM_UP_S = 0.3
# Share of the warm-up's median latency: other work slows the warm-up, and too high a guess is INVALID.
_EXPECTED_SHARE = 0.5
_WARM_UP_QUERIES = 5

# Fewest queries (Offline: samples) for a VALID result, and MLPerf's own counts and durations for the edge.
_SHORT_QUERIES = {"single-stream": 64, "multi-stream": 662, "offline": 1}
_OFFICIAL_QUERIES = {"single-stream": 1024, "multi-stream": 270_336, "offline": 24_576}
_OFFICIAL_DURATION_S = {"single-stream": 60.0, "multi-stream": 600.0, "offline": 60.0}


@dataclass(frozen=True, slots=True)
class Run:
    """What LoadGen reported. Latencies are per query, in milliseconds; None offline, where there is one query.

    - samples_per_s: throughput; in the offline scenario by LoadGen, otherwise from the median latency
    - queries: how many queries LoadGen sent
    - valid, verdict: whether LoadGen calls the run valid, and its own words
    """

    latency_p50_ms: float | None
    latency_p90_ms: float | None
    latency_p99_ms: float | None
    samples_per_s: float
    queries: int
    valid: bool
    verdict: str


def run_loadgen(predict: Callable[[Floats], Floats], images: Floats, settings: Settings, out: Path) -> Run:
    """Let LoadGen drive `predict` over `images` [K, C, H, W]. LoadGen writes its logs into `out`.

    The samples of a query are passed to `predict` in calls of at most `settings.batch_size`. LoadGen generates its
    queries in advance from an expected latency, which is set a little below the latency of a warm-up: an expectation
    that is too high makes too few queries and an INVALID run. Raises what `predict` raised, after LoadGen has ended
    properly.
    """
    import mlperf_loadgen as loadgen

    out.mkdir(parents=True, exist_ok=True)
    query_samples = MULTI_STREAM_SAMPLES if settings.scenario == "multi-stream" else 1
    probe = settings.batch_size if settings.scenario == "offline" else query_samples
    seconds = _warm_up(lambda: _answer(predict, images, [i % len(images) for i in range(probe)], settings.batch_size))
    errors: list[Exception] = []

    def issue(queries: list[Any]) -> None:
        try:
            if not errors:
                _answer(predict, images, [query.index for query in queries], settings.batch_size)
        except Exception as error:  # noqa: BLE001 - LoadGen waits for ever unless every query is completed
            errors.append(error)
        loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(query.id, 0, 0) for query in queries])

    logs = loadgen.LogSettings()
    logs.log_output.outdir = str(out)
    logs.log_output.copy_summary_to_stdout = False
    logs.enable_trace = False
    system = loadgen.ConstructSUT(issue, lambda: None)
    library = loadgen.ConstructQSL(len(images), len(images), lambda _: None, lambda _: None)
    try:
        loadgen.StartTestWithLogSettings(
            system, library, _test_settings(loadgen, settings, seconds, query_samples, probe / seconds), logs
        )
    finally:
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(system)
    if errors:
        raise errors[0]
    return _read(out, settings, query_samples)


def _answer(predict: Callable[[Floats], Floats], images: Floats, indices: list[int], batch_size: int) -> None:
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


def _test_settings(loadgen: Any, settings: Settings, seconds: float, query_samples: int, rate: float) -> Any:
    """LoadGen's settings. `seconds` per query and `rate` (samples per second) come from the warm-up."""
    test = loadgen.TestSettings()
    test.mode = loadgen.TestMode.PerformanceOnly
    scenario = settings.scenario
    duration_s = max(settings.min_duration_s, _OFFICIAL_DURATION_S[scenario] if settings.official else 0.0)
    test.min_duration_ms = round(duration_s * 1000)
    test.min_query_count = (_OFFICIAL_QUERIES if settings.official else _SHORT_QUERIES)[scenario]
    for name in ("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed"):
        setattr(test, name, settings.seed + 1)
    expected_ns = max(1, round(seconds * _EXPECTED_SHARE * 1e9))
    if scenario == "single-stream":
        test.scenario = loadgen.TestScenario.SingleStream
        test.single_stream_expected_latency_ns = expected_ns
    elif scenario == "multi-stream":
        test.scenario = loadgen.TestScenario.MultiStream
        test.multi_stream_samples_per_query = query_samples
        test.multi_stream_expected_latency_ns = expected_ns
    else:
        test.scenario = loadgen.TestScenario.Offline
        test.offline_expected_qps = (
            rate * 1.25
        )  # LoadGen runs all the queries that it expects, so do not ask for many more than needed
    return test


def _read(out: Path, settings: Settings, query_samples: int) -> Run:
    """The results in LoadGen's detail log, which holds one JSON object per line."""
    results = dict(_results(out / "mlperf_log_detail.txt"))
    if "result_validity" not in results:
        raise MeasurementError(f"LoadGen left no result in {out}: see its mlperf_log_summary.txt")
    word = "per_query_latency" if settings.scenario == "multi-stream" else "latency"
    latency = {p: results[f"result_{p}.00_percentile_{word}_ns"] / 1e6 for p in (50, 90, 99)}
    offline = settings.scenario == "offline"
    rate = results["result_samples_per_second"] if offline else query_samples * 1e3 / latency[50]
    return Run(
        latency_p50_ms=None if offline else latency[50],
        latency_p90_ms=None if offline else latency[90],
        latency_p99_ms=None if offline else latency[99],
        samples_per_s=rate,
        queries=results["result_query_count"],
        valid=results["result_validity"] == "VALID",
        verdict=_verdict(out / "mlperf_log_summary.txt"),
    )


def _results(path: Path) -> Iterator[tuple[str, Any]]:
    for line in path.read_text().splitlines():
        entry = json.loads(line.removeprefix(":::MLLOG "))
        if entry["key"].startswith("result_"):
            yield entry["key"], entry["value"]


def _verdict(path: Path) -> str:
    """LoadGen's own words: the result and, when it is INVALID, its recommendations."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    words = [line.removeprefix("Result is : ") for line in lines if line.startswith("Result is")]
    return "; ".join(words + [line.removeprefix("* ") for line in lines if line.startswith("* ") and "xpected" in line])
