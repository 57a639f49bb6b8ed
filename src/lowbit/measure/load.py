"""Measures other work on the cores that this process may use, from the kernel's counters of CPU time."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_STAT = Path("/proc/stat")
_WAITS = Path("/proc/thread-self/schedstat")
_THREADS = Path("/proc/self/task")
_IDLE = (3, 4)  # columns of a line of /proc/stat: idle, iowait (proc(5))
_OTHER_WORK = 0.2  # cores: more other work than this shows in the latency percentiles
_WAITED = 0.05  # share of the time that a thread may wait for a core
_GUEST = 8  # the columns from here on are already included in user time


@dataclass(frozen=True, slots=True)
class Clock:
    """A moment in time, with the counters read then.

    - wall_s: wall time in seconds
    - own_s: CPU seconds of this process and its children
    - cores_s: busy seconds of the cores that this process may use, stolen time included
    - waited_s: seconds that this thread was ready to run and got no core
    """

    wall_s: float
    own_s: float
    cores_s: float
    waited_s: float


def now() -> Clock:
    """Read the clock and the counters."""
    usable = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    busy = 0
    for line in _STAT.read_text().splitlines():
        name, *columns = line.split()
        if name in usable:
            busy += sum(int(value) for column, value in enumerate(columns[:_GUEST]) if column not in _IDLE)
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    return Clock(time.monotonic(), own, busy / os.sysconf("SC_CLK_TCK"), waited_ns() / 1e9)


def waited_ns() -> int:
    """Nanoseconds that this thread was ready to run and got no core; 0 where the kernel does not count them."""
    return int(_WAITS.read_text().split()[1]) if _WAITS.exists() else 0


def all_waited_ns() -> int:
    """The sum of `waited_ns` over all threads of this process that are alive."""
    waited = 0
    for path in _THREADS.glob("*/schedstat"):
        with suppress(OSError):  # a thread may end meanwhile
            waited += int(path.read_text().split()[1])
    return waited


def others(start: Clock, end: Clock) -> float:
    """How many of the cores that this process may use other work kept busy between two moments; 0.5 is half a core."""
    wall = max(end.wall_s - start.wall_s, 1e-9)
    return max(0.0, ((end.cores_s - start.cores_s) - (end.own_s - start.own_s)) / wall)


def disturbed(start: Clock, end: Clock, threads: int) -> bool:
    """Whether other work disturbed this thread and its helpers, `threads` in all, between two moments.

    It did where the thread waited for a core, or where other work left hardly any core free beyond those that the
    threads need. Work on the remaining cores of a large machine disturbs nobody.
    """
    waited = (end.waited_s - start.waited_s) / max(end.wall_s - start.wall_s, 1e-9)
    spare = max(0, len(os.sched_getaffinity(0)) - threads - 1)
    return waited > _WAITED or others(start, end) > spare + _OTHER_WORK


def pause(seconds: float) -> float:
    """Sleep for `seconds` and return how many cores other work kept busy meanwhile."""
    start = now()
    time.sleep(seconds)
    return others(start, now())
