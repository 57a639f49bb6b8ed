"""Jobs and their outcomes as files: what the parent writes, the child reads, and the other way round."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from lowbit.core.cell import End, Outcome
from lowbit.core.codec import from_plain, load_json, save_json, to_plain
from lowbit.core.errors import DamagedFile, WrongField
from lowbit.worker.jobs import KINDS, Job

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _StoredOutcome:
    """An Outcome as it is stored. `data` is the result as plain JSON."""

    end: End
    reason: str = ""
    remedy: str = ""
    data: dict[str, Any] = field(default_factory=dict)


def save_job(path: Path, job: Job[Any], study: Path) -> None:
    """Write the job for a child process to read. Paths within `study` are written relative to it."""
    save_json(path, {"kind": job.KIND, "job": _moved(to_plain(job), str(study), _STUDY)})


def load_job(path: Path, study: Path) -> Job[Any]:
    """Read a job that `save_job` wrote, for a study whose folder is now `study`."""
    stored = load_json(_StoredJob, path)
    job: Job[Any] = from_plain(KINDS[stored.kind], _moved(stored.job, _STUDY, str(study)))
    return job


def save_outcome(path: Path, outcome: Outcome[Any]) -> None:
    """Write how a job ended, without the path of its log."""
    data = {} if outcome.value is None else to_plain(outcome.value)
    save_json(path, _StoredOutcome(outcome.end, outcome.reason, outcome.remedy, data))


def load_outcome(path: Path, result_type: type[Result], log: str | None = None) -> Outcome[Result]:
    """Read what `save_outcome` wrote. Raises FileNotFoundError, and DamagedFile where it cannot be read."""
    stored = load_json(_StoredOutcome, path)
    value = None
    if stored.end == "done":
        try:
            value = from_plain(result_type, stored.data)
        except WrongField as error:
            raise DamagedFile(f"{path}: no result of this version of lowbit") from error
    return Outcome(stored.end, value, stored.reason, stored.remedy, log)


@dataclass(frozen=True, slots=True)
class _StoredJob:
    kind: str
    job: dict[str, Any]


_STUDY = "@study"  # stands for the study's folder in a job's paths


def _moved(plain: Any, old: str, new: str) -> Any:
    """`plain` with the folder `old` replaced by `new` in every path that begins with it."""
    if isinstance(plain, dict):
        return {key: _moved(value, old, new) for key, value in plain.items()}
    if isinstance(plain, list | tuple):
        return [_moved(value, old, new) for value in plain]
    if isinstance(plain, str) and (plain == old or plain.startswith(old + "/")):
        return new + plain[len(old) :]
    return plain
