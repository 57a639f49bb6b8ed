"""What else the machine was doing: CPU time of others, from the kernel's own counters."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

_STAT = Path("/proc/stat")
_IDLE = (3, 4)  # columns of the first line of /proc/stat: idle, iowait (proc(5))
_GUEST = 8  # from here on: time that is counted as user time already


@dataclass(frozen=True, slots=True)
class Clock:
    """A moment: wall time, CPU seconds of this process and of the whole machine (stolen time included)."""

    wall_s: float
    own_s: float
    machine_s: float


def now() -> Clock:
    """Read the counters."""
    ticks = [int(value) for value in _STAT.read_text().split("\n", 1)[0].split()[1 : 1 + _GUEST]]
    busy = sum(value for column, value in enumerate(ticks) if column not in _IDLE)
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    return Clock(time.monotonic(), own, busy / os.sysconf("SC_CLK_TCK"))


def others(start: Clock, end: Clock) -> float:
    """Cores kept busy by everything but this process between two moments: 0.5 is half a core."""
    wall = max(end.wall_s - start.wall_s, 1e-9)
    return max(0.0, ((end.machine_s - start.machine_s) - (end.own_s - start.own_s)) / wall)


def pause(seconds: float) -> float:
    """Do nothing for a moment and say how many cores others kept busy meanwhile."""
    start = now()
    time.sleep(seconds)
    return others(start, now())
