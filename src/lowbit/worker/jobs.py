"""The jobs a child process can be given, and what each leaves behind.

Job and result are JSON files; arrays are files of their own. Paths within the study are written relative to it, so that
a job means the same wherever the study lies.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from lowbit.core.artifact import Artifact, Manifest
from lowbit.core.cell import End, Outcome
from lowbit.core.codec import from_plain, load_json, save_json, to_plain
from lowbit.core.errors import DamagedFile, WrongField
from lowbit.core.inspected import Inspected
from lowbit.core.model import FloatModel, LayerMacs
from lowbit.core.outcome import Accuracy, Timing
from lowbit.core.preprocess import Preprocess
from lowbit.core.recipe import Recipe
from lowbit.core.settings import Settings
from lowbit.core.verified import Verified
from lowbit.measure.accuracy import Scoring
from lowbit.quant.plan.plan import QuantPlan

Result_co = TypeVar("Result_co", covariant=True)
Result = TypeVar("Result")


class Job(Protocol[Result_co]):
    """What every job has: the kind, which names the module in this package that does it, and the type of its result."""

    KIND: ClassVar[str]

    @property
    def result_type(self) -> type[Result_co]:
        """What a finished job leaves."""
        ...


@dataclass(frozen=True, slots=True)
class Nothing:
    """The result of a job that leaves files only."""


@dataclass(frozen=True, slots=True)
class SamplesJob:
    """Decode, resize and split `data` into the folder `out`. Leaves the images there. labelled: it must have labels."""

    KIND: ClassVar[str] = "samples"

    data: str
    preprocess: Preprocess
    calibration_samples: int
    seed: int
    limit: int | None
    out: Path
    workers: int
    labelled: bool = True

    @property
    def result_type(self) -> type[Nothing]:
        """Nothing."""
        return Nothing


@dataclass(frozen=True, slots=True)
class ModelJob:
    """Turn the user's model into `out`/float.onnx and check it against its source. Leaves a FloatModel.

    structure_only: its numbers may be anything, and are not checked. input_size: height and width for a model that
    leaves them free, where the user has said them.
    """

    KIND: ClassVar[str] = "model"

    spec: str
    weights: Path | None
    samples: Path
    preprocess: Preprocess
    out: Path
    seed: int
    threads: int
    structure_only: bool = False
    input_size: tuple[int, int] | None = None

    @property
    def result_type(self) -> type[FloatModel]:
        """FloatModel."""
        return FloatModel


@dataclass(frozen=True, slots=True)
class BuildJob:
    """Let a toolchain carry out one recipe into the folder `out`. Leaves a Manifest.

    evidence: the folder for what verification needs later; progress: the file that says how far the build is.
    """

    KIND: ClassVar[str] = "build"

    key: str
    toolchain: str
    recipe: Recipe
    model: FloatModel
    samples: Path
    preprocess: Preprocess
    out: Path
    cache: Path
    evidence: Path
    progress: Path
    batch_size: int
    threads: int
    seed: int

    @property
    def result_type(self) -> type[Manifest]:
        """Manifest."""
        return Manifest


@dataclass(frozen=True, slots=True)
class PlanJob:
    """Say what our own engine would make of a model. Leaves a QuantPlan."""

    KIND: ClassVar[str] = "plan"

    model: FloatModel
    recipe: Recipe

    @property
    def result_type(self) -> type[QuantPlan]:
        """QuantPlan."""
        return QuantPlan


@dataclass(frozen=True, slots=True)
class InspectJob:
    """Read a file, open it in a runtime and ask what is executed. Leaves an Inspected.

    format, runtime_options: as in the artifact's manifest, or of the file's suffix, and none. layers: names under which
    executed operators are to be told.
    """

    KIND: ClassVar[str] = "inspect"

    path: Path
    format: str
    runtime: str
    runtime_options: dict[str, str]
    layers: tuple[str, ...]
    threads: int

    @property
    def result_type(self) -> type[Inspected]:
        """Inspected."""
        return Inspected


@dataclass(frozen=True, slots=True)
class AccuracyJob:
    """Run one artifact in one runtime over all evaluation images. Leaves an Accuracy, and predictions.npy in `out`.

    reference: the folder in which the float model's scores.npy and right.npy lie, or None when this is the float
    model's own pass, which leaves them.
    """

    KIND: ClassVar[str] = "accuracy"

    artifact: Artifact
    runtime: str
    samples: Path
    preprocess: Preprocess
    task: Scoring
    batch_size: int
    threads: int
    reference: Path | None
    out: Path

    @property
    def result_type(self) -> type[Accuracy]:
        """Accuracy."""
        return Accuracy


@dataclass(frozen=True, slots=True)
class PrecisionJob:
    """Open one artifact in one runtime as a SpeedJob would, and leave what it executes (`Executed`) in the file `out`.

    layers: of the float graph, to which the runtime's list is held.
    """

    KIND: ClassVar[str] = "precision"

    artifact: Artifact
    runtime: str
    settings: Settings
    layers: tuple[LayerMacs, ...]
    out: Path

    @property
    def result_type(self) -> type[Nothing]:
        """Nothing."""
        return Nothing


@dataclass(frozen=True, slots=True)
class SpeedJob:
    """Time one artifact in one runtime under LoadGen, once; its logs go to `logs`. Leaves a Timing.

    executed: where to leave what the session that was timed executes (`Executed`), and the float graph's layers to
    which that is held; None where it is known already.
    """

    KIND: ClassVar[str] = "speed"

    artifact: Artifact
    runtime: str
    samples: Path
    preprocess: Preprocess
    settings: Settings
    logs: Path
    executed: Path | None = None
    layers: tuple[LayerMacs, ...] = ()

    @property
    def result_type(self) -> type[Timing]:
        """Timing."""
        return Timing


@dataclass(frozen=True, slots=True)
class VerifyJob:
    """Hold a built file against the integer-only reference in one runtime. Leaves a Verified.

    evidence: the folder that the build left for this; images: how many calibration images it is done on.
    """

    KIND: ClassVar[str] = "verify"

    artifact: Artifact
    evidence: Path
    runtime: str
    samples: Path
    preprocess: Preprocess
    images: int
    threads: int

    @property
    def result_type(self) -> type[Verified]:
        """Verified."""
        return Verified


KINDS: dict[str, type[Any]] = {
    cls.KIND: cls
    for cls in (SamplesJob, ModelJob, BuildJob, PlanJob, InspectJob, VerifyJob, AccuracyJob, PrecisionJob, SpeedJob)
}


@dataclass(frozen=True, slots=True)
class StoredOutcome:
    """An Outcome as its file holds it: `data` is the result in plain JSON."""

    end: End
    reason: str = ""
    remedy: str = ""
    data: dict[str, Any] = field(default_factory=dict)


def save_job(path: Path, job: Job[Any], study: Path) -> None:
    """Write the job where a child will read it; paths within `study` are written relative to it."""
    save_json(path, {"kind": job.KIND, "job": _moved(to_plain(job), str(study), _STUDY)})


def load_job(path: Path, study: Path) -> Job[Any]:
    """The job that `save_job` wrote, for a study that now lies at `study`."""
    stored = load_json(_StoredJob, path)
    job: Job[Any] = from_plain(KINDS[stored.kind], _moved(stored.job, _STUDY, str(study)))
    return job


def save_outcome(path: Path, outcome: Outcome[Any]) -> None:
    """Write how a job ended; the place of its log is not part of it."""
    data = {} if outcome.value is None else to_plain(outcome.value)
    save_json(path, StoredOutcome(outcome.end, outcome.reason, outcome.remedy, data))


def load_outcome(path: Path, result_type: type[Result], log: str | None = None) -> Outcome[Result]:
    """What `save_outcome` wrote; raises DamagedFile where that is no longer what lies there, FileNotFoundError."""
    stored = load_json(StoredOutcome, path)
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
    """`plain` with every path that begins with the folder `old` in `new` instead."""
    if isinstance(plain, dict):
        return {key: _moved(value, old, new) for key, value in plain.items()}
    if isinstance(plain, list | tuple):
        return [_moved(value, old, new) for value in plain]
    if isinstance(plain, str) and (plain == old or plain.startswith(old + "/")):
        return new + plain[len(old) :]
    return plain
