"""Runs jobs in child processes on this machine. Finished jobs are kept; a crash becomes an outcome with a reason."""

import signal
import time
from collections.abc import Callable, Mapping, Sequence
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

_KEPT = ("done", "unsupported")  # the next command tries a failed job again: its cause may be gone
_LOG_TAIL = 2
_TICK_S = 0.5

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class PlacedJob(Generic[Result]):
    """A job, and the files that it belongs to.

    - name: the name that users see, such as "nncf/int8-static@openvino"
    - job: what the child process does
    - result: the file that says how the job ended
    - logs: the folder for what the child prints
    - leaves: files that must exist for a stored result to be reused
    - group: jobs of the same group never run at the same time; empty: no group
    - environment: variables that are set for its child in addition
    - threads: how many threads the child's numeric libraries use; None: as many as the executor says
    """

    name: str
    job: Job[Result]
    result: Path
    logs: Path
    leaves: tuple[Path, ...] = ()
    group: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a running stage, for display.

    - stage: its name
    - done, total: how many of its jobs have ended, and how many there are
    - running: names of the jobs that are running
    - ended, end, reason: the job that has just ended, how, and why; empty where none has
    - value: the result of the job that has just ended; None where it has none
    - left_s: estimated seconds left in this stage; None before the first job has ended
    - detail: how far a running job is, in a few words; empty where it does not say
    """

    stage: str
    done: int
    total: int
    running: tuple[str, ...]
    ended: str = ""
    end: str = ""
    reason: str = ""
    value: Any = None
    left_s: float | None = None
    detail: str = ""


Listener = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class LocalExecutor:
    """Runs the jobs of one study on this machine.

    - folder: the study's folder
    - time_limit_s: seconds after which a child is killed
    - threads: how many threads a child's numeric libraries use
    - listener: is told of every start and end of a job
    - watch: returns a running job's progress in a few words. It is called twice a second, which costs a little CPU
      time, so it is not used where anything is timed.
    - host: facts about this machine
    """

    folder: Path
    time_limit_s: float
    threads: int
    listener: Listener
    watch: Callable[[PlacedJob[Any]], str] | None = None
    host: Host = field(default_factory=facts)

    def run(self, stage: str, tasks: Sequence[PlacedJob[Result]], slots: int = 1) -> list[Outcome[Result]]:
        """How each task ended, in order. At most `slots` children run at a time; stored results are reused.

        Tasks with the same result file are the same job, which is done once. Raises BadInput when the disk is full,
        after ending all children.
        """
        first: dict[Path, int] = {}  # result file → the first task that has it
        for place, task in enumerate(tasks):
            first.setdefault(task.result, place)
        results = {index: kept for index in first.values() if (kept := finished(tasks[index])) is not None}
        waiting = [index for index in first.values() if index not in results]
        total, begun = len(waiting), time.monotonic()
        running: dict[int, process.Child] = {}

        def detail() -> str:
            found = [self.watch(tasks[index]) for index in running] if self.watch else []
            return ", ".join(words for words in found if words)

        def tell(ended: str = "", outcome: Outcome[Any] | None = None) -> None:
            done = total - len(waiting) - len(running)
            left_s = (time.monotonic() - begun) / done * (total - done) if done else None
            names = tuple(tasks[index].name for index in running)
            state = Progress(stage, done, total, names, ended, left_s=left_s, detail=detail())
            if outcome is not None:
                state = replace(state, end=outcome.end, reason=outcome.reason, value=outcome.value)
            self.listener(state)

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
                tell(tasks[index].name, results[index])
        finally:
            for child in running.values():
                process.kill(child)
        return [replace(results[first[task.result]], log=self._place_of_log(task)) for task in tasks]

    def _start(self, task: PlacedJob[Any]) -> process.Child:
        job = task.logs / f"{task.result.stem}.job.json"
        save_job(job, task.job, self.folder)
        task.result.parent.mkdir(parents=True, exist_ok=True)
        for old in (task.result, doing.place_of(task.result)):
            old.unlink(missing_ok=True)
        threads = self.threads if task.threads is None else task.threads
        limit_s, log = self.time_limit_s, _log(task)
        return process.start(job, task.result, self.folder, log, limit_s, threads, task.environment)

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
    """The file that holds what the task's child prints."""
    return task.logs / f"{task.result.stem}.log"


def finished(task: PlacedJob[Result]) -> Outcome[Result] | None:
    """The stored outcome; None where the job must run, because there is none or its files are missing or damaged."""
    try:
        result = load_outcome(task.result, task.job.result_type)
    except (FileNotFoundError, DamagedFile):
        return None
    whole = result.end != "done" or all(path.exists() for path in task.leaves)
    return result if whole and result.end in _KEPT else None


def _next(waiting: Sequence[int], running: dict[int, process.Child], tasks: Sequence[PlacedJob[Any]]) -> int | None:
    """The first waiting job whose group has no running job."""
    busy = {tasks[index].group for index in running if tasks[index].group}
    return next((index for index in waiting if tasks[index].group not in busy), None)


def _why_dead(status: int, task: PlacedJob[Any], child: process.Child, *, limit_s: float) -> str:
    """The reason for a row whose child left no result: how it died, and during which call."""
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
