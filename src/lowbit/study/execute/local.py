"""Run jobs in child processes: what is finished is kept, what breaks becomes a result with a reason."""

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

from lowbit.core.codec import load_json
from lowbit.core.errors import BadInput, DamagedFile
from lowbit.study.execute import process
from lowbit.worker.__main__ import DISK_FULL
from lowbit.worker.jobs import Job, JobResult, save_job

_KEPT = ("done", "unsupported")  # what failed is tried again by the next command: the cause may be gone
_LOG_TAIL = 2
_TICK_S = 0.5


@dataclass(frozen=True, slots=True)
class PlacedJob:
    """A job with its place: `result` holds the JobResult once it is finished, `logs` all that the child printed.

    name: what a person sees ("nncf/int8-static@openvino"); leaves: files without which the result is worth nothing;
    group: tasks of one group never run side by side.
    """

    name: str
    job: Job
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
    """Runs tasks for one study folder; every child gets `time_limit_s`, and `threads` for its numeric libraries.

    watch: from a running child's log to how far it is, in a few words; asked twice a second, which costs a little of
    the CPU, so not where anything is timed.
    """

    folder: Path
    time_limit_s: float
    threads: int
    listener: Listener
    watch: Callable[[Path], str] | None = None

    def run(self, stage: str, tasks: Sequence[PlacedJob], slots: int = 1) -> list[JobResult]:
        """The tasks' results, in their order; at most `slots` children at a time. Finished ones are only read.

        Raises BadInput when a child found the user's input to be bad, or the disk full; children are ended then.
        """
        results = {index: kept for index, task in enumerate(tasks) if (kept := finished(task)) is not None}
        waiting = [index for index in range(len(tasks)) if index not in results]
        total, begun = len(waiting), time.monotonic()
        running: dict[int, process.Child] = {}

        def detail() -> str:
            found = [self.watch(_log(tasks[index])) for index in running] if self.watch else []
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

    def _start(self, task: PlacedJob) -> process.Child:
        job = task.logs / f"{task.result.stem}.job.json"
        save_job(job, task.job)
        task.result.parent.mkdir(parents=True, exist_ok=True)
        task.result.unlink(missing_ok=True)
        return process.start(job, task.result, _log(task), self.time_limit_s, self.threads)

    def _collect(self, task: PlacedJob, child: process.Child) -> JobResult:
        status = process.finish(child)
        if status == DISK_FULL:
            raise BadInput(
                f"{self.folder}: no space left on the disk while working on {task.name}; free some space and give the "
                "same command again: everything finished is kept"
            )
        if not task.result.exists():
            reason = _why_dead(status, child, limit_s=self.time_limit_s, log=_log(task))
            return JobResult("failed", reason)
        result = load_json(JobResult, task.result)
        if result.end == "bad-input":
            raise BadInput(result.reason)
        return result

    def _place_of_log(self, task: PlacedJob) -> str:
        return str(_log(task).relative_to(self.folder))


def _log(task: PlacedJob) -> Path:
    """All that the child of a task prints."""
    return task.logs / f"{task.result.stem}.log"


def finished(task: PlacedJob) -> JobResult | None:
    """The result that is kept, or None when the job is still to be done, or what it left is gone or damaged."""
    try:
        result = load_json(JobResult, task.result)
    except (FileNotFoundError, DamagedFile):
        return None
    whole = result.end != "done" or all(path.exists() for path in task.leaves)
    return result if whole and result.end in _KEPT else None


def _next(waiting: Sequence[int], running: dict[int, process.Child], tasks: Sequence[PlacedJob]) -> int | None:
    """The first waiting task whose group is idle."""
    busy = {tasks[index].group for index in running if tasks[index].group}
    return next((index for index in waiting if tasks[index].group not in busy), None)


def _why_dead(status: int, child: process.Child, *, limit_s: float, log: Path) -> str:
    """A sentence for a row about a child that left no result."""
    if child.timed_out:
        return f"it did not end within {limit_s:g} s and was killed"
    if status < 0:
        name = signal.Signals(-status).name
        hint = ", which is often the kernel when memory runs out" if name == "SIGKILL" else ""
        return f"the process died of {name}{hint}"
    printed = log.read_bytes()[child.log_start :].decode(errors="replace")
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    return f"the process ended with status {status}: {' / '.join(lines[-_LOG_TAIL:]) or 'nothing was printed'}"
