"""Times a call that is no operator's: what a run needs besides its operators."""

import time
from collections.abc import Callable
from statistics import median

_WARM_UP = 5


def median_us(call: Callable[[], object], runs: int) -> float:
    """Median microseconds of `runs` calls, after some that are not timed."""
    for _ in range(_WARM_UP):
        call()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return median(times) * 1e6
