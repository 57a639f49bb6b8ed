"""The jobs a child process can be given, and what it leaves behind. Job and result are JSON files; arrays are files."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lowbit.core.artifact import Artifact
from lowbit.core.codec import from_plain, save_json, to_plain
from lowbit.core.model import FloatModel, LayerMacs
from lowbit.core.preprocess import Preprocess
from lowbit.core.recipe import Recipe
from lowbit.core.settings import Settings
from lowbit.measure.accuracy import Scoring


@dataclass(frozen=True, slots=True)
class SamplesJob:
    """Decode, resize and split `data` into the folder `out`. Leaves the images there. labelled: it must have labels."""

    data: str
    preprocess: Preprocess
    calibration_samples: int
    seed: int
    limit: int | None
    out: Path
    workers: int
    labelled: bool = True


@dataclass(frozen=True, slots=True)
class ModelJob:
    """Turn the user's model into `out`/float.onnx and check it against its source. Leaves a FloatModel."""

    spec: str
    weights: Path | None
    samples: Path
    preprocess: Preprocess
    out: Path
    seed: int
    threads: int


@dataclass(frozen=True, slots=True)
class BuildJob:
    """Let a toolchain carry out one recipe into the folder `out`. Leaves a Manifest."""

    key: str
    toolchain: str
    recipe: Recipe
    model: FloatModel
    samples: Path
    preprocess: Preprocess
    out: Path
    cache: Path
    batch_size: int
    threads: int
    seed: int


@dataclass(frozen=True, slots=True)
class PlanJob:
    """Say what our own engine would make of a model. Leaves a QuantPlan."""

    model: FloatModel
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class InspectJob:
    """Read a file, open it in a runtime and ask what is executed. Leaves an Inspected.

    format, runtime_options: as in the artifact's manifest, or of the file's suffix, and none. layers: names under which
    executed operators are to be told.
    """

    path: Path
    format: str
    runtime: str
    runtime_options: dict[str, str]
    layers: tuple[str, ...]
    threads: int


@dataclass(frozen=True, slots=True)
class AccuracyJob:
    """Run one artifact in one runtime over all evaluation images. Leaves an Accuracy, and predictions.npy in `out`.

    reference: the folder in which the float model's scores.npy and right.npy lie, or None when this is the float
    model's own pass, which leaves them.
    """

    artifact: Artifact
    runtime: str
    samples: Path
    preprocess: Preprocess
    task: Scoring
    batch_size: int
    threads: int
    reference: Path | None
    out: Path


@dataclass(frozen=True, slots=True)
class PrecisionJob:
    """Open one artifact in one runtime as a SpeedJob would, and leave what it executes (`Executed`) in the file `out`.

    layers: of the float graph, to which the runtime's list is held.
    """

    artifact: Artifact
    runtime: str
    settings: Settings
    layers: tuple[LayerMacs, ...]
    out: Path


@dataclass(frozen=True, slots=True)
class SpeedJob:
    """Time one artifact in one runtime under LoadGen, once; its logs go to `logs`. Leaves a Timing.

    executed: where to leave what the session that was timed executes (`Executed`), and the float graph's layers to
    which that is held; None where it is known already.
    """

    artifact: Artifact
    runtime: str
    samples: Path
    preprocess: Preprocess
    settings: Settings
    logs: Path
    executed: Path | None = None
    layers: tuple[LayerMacs, ...] = ()


Job = SamplesJob | ModelJob | BuildJob | PlanJob | InspectJob | AccuracyJob | PrecisionJob | SpeedJob
KINDS: dict[str, type[Job]] = {
    "samples": SamplesJob,
    "model": ModelJob,
    "build": BuildJob,
    "plan": PlanJob,
    "inspect": InspectJob,
    "accuracy": AccuracyJob,
    "precision": PrecisionJob,
    "speed": SpeedJob,
}
_KIND_OF = {cls: kind for kind, cls in KINDS.items()}

End = Literal["done", "unsupported", "failed", "bad-input"]


@dataclass(frozen=True, slots=True)
class JobResult:
    """How a job ended. `data` is what it measured when `end` is done; `log` the child's output."""

    end: End
    reason: str = ""
    remedy: str = ""
    log: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


def kind(job: Job) -> str:
    """The job's kind, which is also the name of the module in this package that does it."""
    return _KIND_OF[type(job)]


def save_job(path: Path, job: Job) -> None:
    """Write the job where a child will read it."""
    save_json(path, {"kind": kind(job), "job": to_plain(job)})


def job_from(plain: dict[str, Any]) -> Job:
    """The job that `save_job` wrote."""
    return from_plain(KINDS[plain["kind"]], plain["job"])
