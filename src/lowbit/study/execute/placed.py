"""A job with the files that it belongs to, and the outcome that is stored there already."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from lowbit.core.cell import Outcome
from lowbit.core.errors import DamagedFile
from lowbit.worker.jobs import Job
from lowbit.worker.stored_jobs import load_outcome

_KEPT = ("done", "unsupported")  # the next command tries a failed job again: its cause may be gone

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


def finished(task: PlacedJob[Result]) -> Outcome[Result] | None:
    """The stored outcome; None where the job must run, because there is none or its files are missing or damaged."""
    try:
        result = load_outcome(task.result, task.job.result_type)
    except (FileNotFoundError, DamagedFile):
        return None
    whole = result.end != "done" or all(path.exists() for path in task.leaves)
    return result if whole and result.end in _KEPT else None
