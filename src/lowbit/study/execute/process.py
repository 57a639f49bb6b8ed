"""A child process: started in a group of its own, waited for without using the CPU, ended for certain."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

from lowbit.core.lifeline import PARENT_VARIABLE

_QUIET = {
    "HF_HUB_OFFLINE": "1",
    "OPENVINO_TELEMETRY_OPT_OUT": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "PYTHONHASHSEED": "0",
    "PYTHONUNBUFFERED": "1",
}
_LONGEST_POLL_S = 86_400.0  # poll(2) counts milliseconds in an int


@dataclass(slots=True)
class Child:
    """A running worker. `deadline` is on the monotonic clock; `timed_out` is set when it was ended for being late."""

    process: subprocess.Popen[bytes]
    pidfd: int
    deadline: float
    timed_out: bool = False


def start(job: Path, result: Path, study: Path, log: Path, limit_s: float, threads: int) -> Child:
    """Start `python -m lowbit.worker` for a job of `study`, its output in `log`, its standard input closed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **_QUIET, "OMP_NUM_THREADS": str(threads), PARENT_VARIABLE: str(os.getpid())}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "lowbit.worker", str(job), str(result), str(study)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    return Child(process, os.pidfd_open(process.pid), time.monotonic() + limit_s)


def wait_for_any(children: Sequence[Child], tick_s: float = inf) -> Child | None:
    """The first child to end, or None once `tick_s` have passed. Those past their deadline are killed.

    The kernel wakes us; nothing is polled.
    """
    end = time.monotonic() + tick_s
    poll = select.poll()
    for child in children:
        poll.register(child.pidfd, select.POLLIN)
    while True:
        soonest = min(end, *(child.deadline for child in children))
        wait_s = min(max(0.0, soonest - time.monotonic()), _LONGEST_POLL_S)
        ready = {fd for fd, _ in poll.poll(wait_s * 1000 + 1)}
        for child in children:
            if child.pidfd in ready:
                return child
        for child in children:
            if time.monotonic() >= child.deadline:
                child.timed_out = True
                _kill_group(child)
        if time.monotonic() >= end:
            return None


def finish(child: Child) -> int:
    """Reap a child that has ended and all it left running in its group; its exit status as subprocess gives it."""
    _kill_group(child)
    os.close(child.pidfd)
    return child.process.wait()


def kill(child: Child) -> None:
    """End a child at once, with its whole group."""
    _kill_group(child)
    finish(child)


def _kill_group(child: Child) -> None:
    try:
        os.killpg(child.process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
