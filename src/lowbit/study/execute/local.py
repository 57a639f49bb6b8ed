"""Run jobs in child processes of this machine: what is finished is kept, what breaks is an outcome with a reason."""

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any, Generic, TypeVar

from lowbit.core.cell import Outcome
from lowbit.core.errors import BadInput, DamagedFile
from lowbit.core.host import Host
from lowbit.core.text import shortened
from lowbit.measure.host import facts
from lowbit.study.execute import process
from lowbit.worker import doing
from lowbit.worker.__main__ import DISK_FULL
from lowbit.worker.jobs import Job, load_outcome, save_job

_KEPT = ("done", "unsupported")  # what failed is tried again by the next command: the cause may be gone
_LOG_TAIL = 2
_TICK_S = 0.5

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class PlacedJob(Generic[Result]):
    """A job with its place: the file `result` says how it ended, the folder `logs` holds all that the child printed.

    name: what a person sees ("nncf/int8-static@openvino"); leaves: files without which the result is worth nothing;
    group: tasks of one group never run side by side.
    """

    name: str
    job: Job[Result]
    result: Path
    logs: Path
    leaves: tuple[Path, ...] = ()
    group: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """A moment of a study: `done` of `total` jobs of a stage; `ended` has just ended, `running` are at work.

    left_s: seconds left in this stage, judged by the jobs so far; None before the first has ended. detail: how far a
    running job is, in a few words, where it tells.
    """

    stage: str
    done: int
    total: int
    running: tuple[str, ...]
    ended: str = ""
    end: str = ""
    reason: str = ""
    left_s: float | None = None
    detail: str = ""


Listener = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class LocalExecutor:
    """Runs the jobs of one study on this machine; a child gets `time_limit_s`, and `threads` for numeric libraries.

    folder: the study's; host: the facts of this machine. watch: from a running job to how far it is, in a few words;
    asked twice a second, which costs a little of the CPU, so not where anything is timed.
    """

    folder: Path
    time_limit_s: float
    threads: int
    listener: Listener
    watch: Callable[[PlacedJob[Any]], str] | None = None
    host: Host = field(default_factory=facts)

    def run(self, stage: str, tasks: Sequence[PlacedJob[Result]], slots: int = 1) -> list[Outcome[Result]]:
        """How each job ended, in their order; at most `slots` children at a time. Finished ones are only read.

        Raises BadInput when the disk is full; children are ended then.
        """
        results = {index: kept for index, task in enumerate(tasks) if (kept := finished(task)) is not None}
        waiting = [index for index in range(len(tasks)) if index not in results]
        total, begun = len(waiting), time.monotonic()
        running: dict[int, process.Child] = {}

        def detail() -> str:
            found = [self.watch(tasks[index]) for index in running] if self.watch else []
            return ", ".join(words for words in found if words)

        def tell(ended: str = "", end: str = "", reason: str = "") -> None:
            done = total - len(waiting) - len(running)
            left_s = (time.monotonic() - begun) / done * (total - done) if done else None
            names = tuple(tasks[index].name for index in running)
            self.listener(Progress(stage, done, total, names, ended, end, reason, left_s, detail()))

        try:
            while waiting or running:
                while len(running) < slots and (index := _next(waiting, running, tasks)) is not None:
                    waiting.remove(index)
                    running[index] = self._start(tasks[index])
                    tell()
                child = process.wait_for_any(list(running.values()), _TICK_S if self.watch else inf)
                if child is None:
                    tell()
                    continue
                index = next(index for index, other in running.items() if other is child)
                del running[index]
                results[index] = self._collect(tasks[index], child)
                tell(tasks[index].name, results[index].end, results[index].reason)
        finally:
            for child in running.values():
                process.kill(child)
        return [replace(results[index], log=self._place_of_log(task)) for index, task in enumerate(tasks)]

    def _start(self, task: PlacedJob[Any]) -> process.Child:
        job = task.logs / f"{task.result.stem}.job.json"
        save_job(job, task.job, self.folder)
        task.result.parent.mkdir(parents=True, exist_ok=True)
        for old in (task.result, doing.place_of(task.result)):
            old.unlink(missing_ok=True)
        return process.start(job, task.result, self.folder, _log(task), self.time_limit_s, self.threads)

    def _collect(self, task: PlacedJob[Result], child: process.Child) -> Outcome[Result]:
        status = process.finish(child)
        if status == DISK_FULL:
            raise BadInput(
                f"{self.folder}: no space left on the disk while working on {task.name}; free some space and give the "
                "same command again: everything finished is kept"
            )
        if not task.result.exists():
            reason = _why_dead(status, task, child, limit_s=self.time_limit_s)
            return Outcome("failed", reason=reason)
        return load_outcome(task.result, task.job.result_type)

    def _place_of_log(self, task: PlacedJob[Any]) -> str:
        return str(_log(task).relative_to(self.folder))


def _log(task: PlacedJob[Any]) -> Path:
    """All that the child of a task prints."""
    return task.logs / f"{task.result.stem}.log"


def finished(task: PlacedJob[Result]) -> Outcome[Result] | None:
    """The outcome that is kept, or None when the job is still to be done, or what it left is gone or damaged."""
    try:
        result = load_outcome(task.result, task.job.result_type)
    except (FileNotFoundError, DamagedFile):
        return None
    whole = result.end != "done" or all(path.exists() for path in task.leaves)
    return result if whole and result.end in _KEPT else None


def _next(waiting: Sequence[int], running: dict[int, process.Child], tasks: Sequence[PlacedJob[Any]]) -> int | None:
    """The first waiting job whose group is idle."""
    busy = {tasks[index].group for index in running if tasks[index].group}
    return next((index for index in waiting if tasks[index].group not in busy), None)


def _why_dead(status: int, task: PlacedJob[Any], child: process.Child, *, limit_s: float) -> str:
    """A sentence for a row about a child that left no result: how it died, and in which call."""
    place = doing.place_of(task.result)
    call = f" while {place.read_text()}" if place.exists() else ""
    if child.timed_out:
        return f"it did not end within {limit_s:g} s and was killed{call}"
    if status < 0:
        name = signal.Signals(-status).name
        hint = ", which is often the kernel when memory runs out" if name == "SIGKILL" else ""
        return f"the process died of {name}{call}{hint}"
    printed = _log(task).read_bytes()[child.log_start :].decode(errors="replace")
    lines = [line for line in printed.splitlines() if line.strip()]
    tail = shortened(" / ".join(lines[-_LOG_TAIL:])) or "nothing was printed"
    return f"the process ended with status {status}{call}: {tail}"
