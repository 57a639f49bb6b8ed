"""A child process: started in a group of its own, waited for without using the CPU, ended for certain."""

import errno
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

from lowbit.core.errors import LowbitError
from lowbit.core.lifeline import PARENT_VARIABLE

_UNLESS_SET = {  # no downloads, no telemetry, fewer messages: where the user has not said otherwise
    "HF_HUB_OFFLINE": "1",
    "OPENVINO_TELEMETRY_OPT_OUT": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}
_ALWAYS = {"PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}  # equal commands give equal bytes; logs are whole
_LONGEST_POLL_S = 86_400.0  # poll(2) counts milliseconds in an int


@dataclass(slots=True)
class Child:
    """A running worker. `deadline` is on the monotonic clock; `timed_out` is set when it was ended for being late.

    log_start: bytes of its log that were written before it was started.
    """

    process: subprocess.Popen[bytes]
    pidfd: int
    deadline: float
    log_start: int = 0
    timed_out: bool = False


def start(job: Path, result: Path, study: Path, log: Path, limit_s: float, threads: int) -> Child:
    """Start `python -m lowbit.worker` for a job of `study`, its output in `log`, its standard input closed.

    With -P, so that no file of the user's folder is taken for a package of the same name. The log begins with the
    environment variables that were set for the child. Raises LowbitError where the system starts no more processes.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    added = {name: value for name, value in _UNLESS_SET.items() if name not in os.environ} | _ALWAYS
    added["OMP_NUM_THREADS"] = str(threads)
    said = f"set by lowbit: {' '.join(f'{name}={value}' for name, value in sorted(added.items()))}\n".encode()
    process: subprocess.Popen[bytes] | None = None
    try:
        with log.open("wb", buffering=0) as output:
            output.write(said)
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "lowbit.worker", str(job), str(result), str(study)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **added, PARENT_VARIABLE: str(os.getpid())},
                start_new_session=True,
            )
        return Child(process, os.pidfd_open(process.pid), time.monotonic() + limit_s, len(said))
    except OSError as error:
        if process is not None:
            process.kill()
            process.wait()
        if error.errno == errno.ENOSPC:
            raise
        raise LowbitError(
            f"this system starts no child process ({error.strerror or error}): look at the limits of processes and "
            "memory (ulimit -u, the container's), and whether a sandbox forbids pidfd_open"
        ) from error


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
