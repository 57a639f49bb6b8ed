"""Child processes: each starts in its own process group, and is certain to end. Waiting for one uses no CPU."""

import errno
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from types import MappingProxyType

from lowbit.core.errors import LowbitError
from lowbit.core.lifeline import PARENT_VARIABLE

_UNLESS_SET = {  # no downloads, no telemetry, fewer messages; the user's own values win
    "HF_HUB_OFFLINE": "1",
    "OPENVINO_TELEMETRY_OPT_OUT": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}
_ALWAYS = {
    "PYTHONHASHSEED": "0",
    "PYTHONUNBUFFERED": "1",
}  # so that equal commands write equal bytes, and logs are complete
_LONGEST_POLL_S = 86_400.0  # poll(2) counts milliseconds in an int


@dataclass(slots=True)
class Child:
    """A running worker process.

    - pidfd: file descriptor that becomes readable when the process ends
    - deadline: when it is killed, in seconds on the monotonic clock
    - log_start: how many bytes its log held before it was started
    - timed_out: whether it was killed at its deadline
    """

    process: subprocess.Popen[bytes]
    pidfd: int
    deadline: float
    log_start: int = 0
    timed_out: bool = False


def start(
    job: Path,
    result: Path,
    study: Path,
    log: Path,
    limit_s: float,
    threads: int,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Child:
    """Start `python -m lowbit.worker` for a job of `study`. Its output goes to `log`; its standard input is closed.

    `environment`: what this job needs besides what every child gets. Python's -P keeps modules in the user's folder
    from hiding packages of the same name. The log begins with the environment variables that are set for the child.
    Raises LowbitError where the system cannot start a process.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    added = {name: value for name, value in _UNLESS_SET.items() if name not in os.environ} | _ALWAYS
    added |= {"OMP_NUM_THREADS": str(threads), **environment}
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
    """The first child to end, or None after `tick_s` seconds. Children past their deadline are killed.

    The process sleeps until the kernel reports that a child has ended.
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
    """Collect a child that has ended, kill what it left running in its group, and return its exit status."""
    _kill_group(child)
    os.close(child.pidfd)
    return child.process.wait()


def kill(child: Child) -> None:
    """Kill a child and its whole process group."""
    _kill_group(child)
    finish(child)


def _kill_group(child: Child) -> None:
    try:
        os.killpg(child.process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
