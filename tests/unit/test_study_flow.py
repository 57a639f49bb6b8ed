"""A flow of jobs: which is next, what follows from what, and that nothing is done twice. No process is started."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from lowbit.core.cell import Outcome
from lowbit.study.execute.flow import Flow, Step
from lowbit.study.execute.placed import PlacedJob
from lowbit.worker.jobs import PeakJob
from lowbit.worker.stored_jobs import save_outcome

DONE: Outcome[Any] = Outcome("done")


@pytest.fixture
def flow() -> Flow:
    return Flow(lambda _task, outcome: outcome)


def step(
    folder: Path,
    name: str,
    stage: str = "build",
    group: str = "",
    then: Callable[[Outcome[Any]], Iterable[Step]] = lambda _: (),
) -> Step:
    return Step(stage, PlacedJob(name, PeakJob(1), folder / f"{name}.json", folder, group=group), then)


def noting(seen: list[str], what: str) -> tuple[Step, ...]:
    seen.append(what)
    return ()


def names(steps: Iterable[Step]) -> list[str]:
    return [each.task.name for each in steps]


def test_what_follows_waits_for_what_it_needs(flow: Flow, tmp_path: Path) -> None:
    evaluate = step(tmp_path, "evaluate", "accuracy")
    flow.add([step(tmp_path, "build", then=lambda outcome: [evaluate] if outcome.end == "done" else [])])
    first = flow.take([])
    assert first is not None
    assert flow.take([first]) is None
    flow.end(first, DONE)
    assert names(flow.waiting) == ["evaluate"]
    assert (flow.total["build"], flow.done["build"], flow.total["accuracy"]) == (1, 1, 1)


def test_a_failed_job_says_itself_what_follows(flow: Flow, tmp_path: Path) -> None:
    seen: list[str] = []
    flow.add([step(tmp_path, "build", then=lambda outcome: noting(seen, outcome.end))])
    first = flow.take([])
    assert first is not None
    flow.end(first, Outcome("failed", reason="no"))
    assert seen == ["failed"]
    assert not flow.waiting


def test_while_one_is_built_another_is_evaluated(flow: Flow, tmp_path: Path) -> None:
    flow.add([step(tmp_path, "a"), step(tmp_path, "b"), step(tmp_path, "c", "accuracy")])
    first = flow.take([])
    assert first is not None
    second = flow.take([first])
    assert second is not None
    assert names([first, second]) == ["a", "c"]
    third = flow.take([first, second])  # nothing else is left than what is running already
    assert third is not None
    assert third.task.name == "b"


def test_steps_of_one_group_never_run_side_by_side(flow: Flow, tmp_path: Path) -> None:
    flow.add([step(tmp_path, "a", group="x"), step(tmp_path, "b", group="x"), step(tmp_path, "c", group="y")])
    first = flow.take([])
    assert first is not None
    second = flow.take([first])
    assert second is not None
    assert names([first, second]) == ["a", "c"]
    assert flow.take([first, second]) is None


def test_one_result_is_one_job_and_answers_every_step_early_and_late(flow: Flow, tmp_path: Path) -> None:
    answered: list[str] = []

    def asking(who: str) -> Step:
        return step(tmp_path, "same", then=lambda _: noting(answered, who))

    flow.add([asking("first"), asking("second")])
    assert flow.total["build"] == 1
    only = flow.take([])
    assert only is not None
    flow.add([asking("while it runs")])
    flow.end(only, DONE)
    flow.add([asking("afterwards")])
    assert answered == ["first", "second", "while it runs", "afterwards"]
    assert not flow.waiting


def test_what_is_stored_runs_no_more_and_what_follows_from_it_is_taken_in(flow: Flow, tmp_path: Path) -> None:
    stored = step(tmp_path, "stored", then=lambda _: [step(tmp_path, "next", "accuracy")])
    save_outcome(stored.task.result, Outcome("unsupported", reason="it cannot"))
    flow.add([stored])
    assert names(flow.waiting) == ["next"]
    assert flow.total["build"] == 0
