"""A flow of jobs: what runs next, and what becomes possible when a job has ended. It starts no process itself."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lowbit.core.cell import Outcome
from lowbit.study.execute.placed import PlacedJob, finished


@dataclass(frozen=True, slots=True)
class Step:
    """A job of a flow.

    - stage: what kind of work it is, for display
    - task: what runs
    - then: is told how it ended, and gives the steps that have become possible
    """

    stage: str
    task: PlacedJob[Any]
    then: Callable[[Outcome[Any]], "Iterable[Step]"]


@dataclass(slots=True)
class Flow:
    """The steps of a flow. Stored results are reused, and steps with the same result file are one job.

    - logged: an outcome with the place of the task's log
    - waiting: jobs that have not begun, in the order in which they were added
    - total, done: of each stage, how many jobs there are so far, and how many have ended
    """

    logged: Callable[[PlacedJob[Any], Outcome[Any]], Outcome[Any]]
    waiting: list[Step] = field(default_factory=list)
    total: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    _known: dict[Path, Outcome[Any]] = field(default_factory=dict)
    _followers: dict[Path, list[Step]] = field(default_factory=dict)
    _begun: dict[str, float] = field(default_factory=dict)

    def add(self, steps: Iterable[Step]) -> None:
        """Take in steps, and all that follows from those whose results are there already."""
        new = deque(steps)
        while new:
            step = new.popleft()
            result = step.task.result
            if result in self._followers:  # the same job is waiting or running
                self._followers[result].append(step)
                continue
            kept = self._known.get(result) or finished(step.task)
            if kept is None:
                self._followers[result] = [step]
                self.waiting.append(step)
                self.total[step.stage] += 1
            else:
                self._known[result] = kept
                new.extend(step.then(self.logged(step.task, kept)))

    def take(self, running: Iterable[Step]) -> Step | None:
        """The next step to begin beside those that are running; None where none may.

        Steps of one group never run side by side. Another stage than those that are running comes first: while one
        version is built, another is evaluated, so that its figures stand early.
        """
        groups = {step.task.group for step in running if step.task.group}
        stages = {step.stage for step in running}
        ready = [step for step in self.waiting if step.task.group not in groups]
        chosen = next((step for step in ready if step.stage not in stages), ready[0] if ready else None)
        if chosen is not None:
            self.waiting.remove(chosen)
            self._begun.setdefault(chosen.stage, time.monotonic())
        return chosen

    def end(self, step: Step, outcome: Outcome[Any]) -> None:
        """Note how a step has ended, and take in what follows from it."""
        self.done[step.stage] += 1
        self._known[step.task.result] = outcome
        for follower in self._followers.pop(step.task.result):
            self.add(follower.then(self.logged(follower.task, outcome)))

    def left_s(self, stage: str) -> float | None:
        """Estimated seconds until a stage's jobs have ended; None before the first one has."""
        done = self.done[stage]
        return (time.monotonic() - self._begun[stage]) / done * (self.total[stage] - done) if done else None
