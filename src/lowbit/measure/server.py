"""LoadGen's server scenario: queries arrive at random moments, wait in a queue, and are answered by one thread."""

import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from lowbit.core.errors import UnsupportedError
from lowbit.measure import loadgen

_START = 0.25  # share of the rate of one query after the other: a search must begin at a rate that is valid
_LOWER = 0.5  # the next start where that was not
_ATTEMPTS = 3
_SEARCH_S = 1.0  # shortest run of a search for one rate
_FAST = 50.0  # queries per second above which the search ends at a whole number
_STEP = 0.5  # by which share the search raises the rate until a run is no longer valid


class Served:
    """Answers LoadGen's queries in the order of their arrival, those that wait together up to `batch_size`.

    LoadGen sends a query when it is due and must not be kept waiting, so that a second thread answers.

    - answer: gets the indices of the samples
    """

    def __init__(self, answer: Callable[[list[int]], None], batch_size: int) -> None:
        self._answer = answer
        self._batch_size = batch_size

    def run(self, test: Any, count: int, out: Path) -> None:
        """Run one of LoadGen's tests over `count` samples; raises what `answer` raised once LoadGen has ended."""
        waiting: SimpleQueue[Any] = SimpleQueue()
        errors: list[Exception] = []

        def enqueue(queries: list[Any]) -> None:
            for query in queries:
                waiting.put(query)

        thread = threading.Thread(target=self._work, args=(waiting, errors), daemon=True)
        thread.start()
        try:
            loadgen.run(enqueue, test, count, out)
        finally:
            waiting.put(None)
            thread.join()
        if errors:
            raise errors[0]

    def _work(self, waiting: "SimpleQueue[Any]", errors: list[Exception]) -> None:
        """Answer until None comes. After an error, queries are completed without an answer, or LoadGen never ends."""
        import mlperf_loadgen

        while (query := waiting.get()) is not None:
            queries, ended = [query], False
            while len(queries) < self._batch_size:
                try:
                    more = waiting.get_nowait()
                except Empty:
                    break
                if more is None:
                    ended = True
                    break
                queries.append(more)
            try:
                if not errors:
                    self._answer([each.index for each in queries])
            except Exception as error:  # noqa: BLE001 - raised by `run` once LoadGen has ended
                errors.append(error)
            mlperf_loadgen.QuerySamplesComplete([mlperf_loadgen.QuerySampleResponse(q.id, 0, 0) for q in queries])
            if ended:
                return


def highest_rate(served: Served, test: Any, count: int, out: Path) -> float:
    """Queries per second of the highest rate that LoadGen's own search finds valid. Its logs are written into `out`.

    - test: settings of the run that is to follow; its rate is that of one query after the other

    Raises UnsupportedError where no rate is valid, as for a model that takes longer than the target latency.
    """
    import mlperf_loadgen

    test.mode = mlperf_loadgen.TestMode.FindPeakPerformance
    test.min_duration_ms = min(test.min_duration_ms, round(_SEARCH_S * 1000))
    test.server_find_peak_qps_boundary_step_size = _STEP
    one_by_one = test.server_target_qps
    if 1e9 / one_by_one > test.server_target_latency_ns:
        raise _too_slow(test, f"a query alone takes {1e3 / one_by_one:.3g} ms")
    test.server_find_peak_qps_decimals_of_precision = 0 if one_by_one > _FAST else 1
    for attempt in range(_ATTEMPTS):
        test.server_target_qps = one_by_one * _START * _LOWER**attempt
        served.run(test, count, out)
        found = loadgen.peak_rate(out)
        if found is not None:
            return found
    raise _too_slow(test, f"LoadGen finds no valid rate, down to {test.server_target_qps:.3g} queries a second")


def _too_slow(test: Any, found: str) -> UnsupportedError:
    allowed = test.server_target_latency_ns / 1e6
    reason = f"server: {found}, and 99 % of the latencies must stay within {allowed:g} ms"
    return UnsupportedError(reason, "allow more with --target-latency")
