"""MLPerf's load generator (LoadGen): one test is started with settings, and its logs are read."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lowbit.core.errors import MeasurementError

_DETAIL, _SUMMARY = "mlperf_log_detail.txt", "mlperf_log_summary.txt"
_PEAK = re.compile(r"Found peak performance field: ([0-9.]+)")


def run(issue: Callable[[list[Any]], None], test: Any, count: int, out: Path) -> None:
    """Run one test over `count` samples. LoadGen writes its logs into `out`.

    - issue: called with a list of LoadGen's queries (`id`, `index` of the sample); every query must be completed with
      `QuerySamplesComplete`, or LoadGen waits for ever
    - test: LoadGen's `TestSettings`
    """
    import mlperf_loadgen as loadgen

    out.mkdir(parents=True, exist_ok=True)
    logs = loadgen.LogSettings()
    logs.log_output.outdir = str(out)
    logs.log_output.copy_summary_to_stdout = False
    logs.enable_trace = False
    system = loadgen.ConstructSUT(issue, lambda: None)
    library = loadgen.ConstructQSL(count, count, lambda _: None, lambda _: None)
    try:
        loadgen.StartTestWithLogSettings(system, library, test, logs)
    finally:
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(system)


def results(out: Path) -> dict[str, Any]:
    """What LoadGen wrote about the test's result, by the names in its detail log; MeasurementError where nothing."""
    found = {key: value for key, value in _entries(out) if key.startswith(("result_", "early_stopping_", "generated_"))}
    if "result_validity" not in found:
        raise MeasurementError(f"LoadGen left no result in {out}: see its {_SUMMARY}")
    return found


def peak_rate(out: Path) -> float | None:
    """The highest rate, in queries per second, that a test in LoadGen's mode FindPeakPerformance found; None: none."""
    said = (_PEAK.search(value) for key, value in _entries(out) if key == "generic_message" and isinstance(value, str))
    return next((float(match[1]) for match in said if match is not None), None)


def verdict(out: Path) -> str:
    """LoadGen's own words: the result and, when it is INVALID, its recommendations."""
    lines = [line.strip() for line in (out / _SUMMARY).read_text().splitlines()]
    words = [line.removeprefix("Result is : ") for line in lines if line.startswith("Result is")]
    return "; ".join(words + [line.removeprefix("* ") for line in lines if line.startswith("* ") and "xpected" in line])


def _entries(out: Path) -> Iterator[tuple[str, Any]]:
    for line in (out / _DETAIL).read_text().splitlines():
        entry = json.loads(line.removeprefix(":::MLLOG "))
        yield entry["key"], entry["value"]
