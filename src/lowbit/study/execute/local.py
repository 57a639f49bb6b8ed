"""Runs jobs in child processes on this machine. Finished jobs are kept; a crash becomes an outcome with a reason."""

import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any, TypeVar

from lowbit.core.cell import Outcome
from lowbit.core.errors import BadInput
from lowbit.core.host import Host
from lowbit.core.text import shortened
from lowbit.measure.host import facts
from lowbit.study.execute import process
from lowbit.study.execute.flow import Flow, Step
from lowbit.study.execute.placed import PlacedJob
from lowbit.worker import doing
from lowbit.worker.__main__ import DISK_FULL
from lowbit.worker.stored_jobs import load_outcome, save_job

_LOG_TAIL = 2
_TICK_S = 0.5

Result = TypeVar("Result")


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
        found: dict[int, Outcome[Result]] = {}

        def keep(place: int) -> Callable[[Outcome[Any]], tuple[Step, ...]]:
            def then(outcome: Outcome[Any]) -> tuple[Step, ...]:
                found[place] = outcome
                return ()

            return then

        self.flow([Step(stage, task, keep(place)) for place, task in enumerate(tasks)], slots)
        return [found[place] for place in range(len(tasks))]

    def flow(self, steps: Iterable[Step], slots: int = 1) -> None:
        """Run steps, and all that follow from them, as `run` does; which one is next, `Flow.take` says."""
        flow = Flow(lambda task, outcome: replace(outcome, log=self._place_of_log(task)))
        flow.add(steps)
        running: list[tuple[process.Child, Step]] = []

        def tell(stage: str, ended: str = "", outcome: Outcome[Any] | None = None) -> None:
            here = [step.task for _, step in running if step.stage == stage]
            said = [self.watch(task) for task in here] if self.watch else []
            state = Progress(
                stage,
                flow.done[stage],
                flow.total[stage],
                tuple(task.name for task in here),
                ended,
                left_s=flow.left_s(stage),
                detail=", ".join(words for words in said if words),
            )
            if outcome is not None:
                state = replace(state, end=outcome.end, reason=outcome.reason, value=outcome.value)
            self.listener(state)

        try:
            while flow.waiting or running:
                while len(running) < slots and (step := flow.take([step for _, step in running])) is not None:
                    running.append((self._start(step.task), step))
                    tell(step.stage)
                child = process.wait_for_any([each for each, _ in running], _TICK_S if self.watch else inf)
                if child is None:
                    for stage in dict.fromkeys(step.stage for _, step in running):
                        tell(stage)
                    continue
                step = next(step for each, step in running if each is child)
                running = [(each, other) for each, other in running if each is not child]
                outcome = self._collect(step.task, child)
                flow.end(step, outcome)
                tell(step.stage, step.task.name, outcome)
        finally:
            for child, _ in running:
                process.kill(child)

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
