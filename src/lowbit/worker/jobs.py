"""The jobs that a child process can do, and the result of each.

Jobs and results are JSON files; arrays are separate files. Paths within the study are written relative to it, so that a
study's folder can be moved.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from lowbit.core.artifact import Artifact, Manifest
from lowbit.core.difference import LayersDifference
from lowbit.core.inspected import Inspected
from lowbit.core.model import FloatModel, LayerMacs
from lowbit.core.outcome import Accuracy, Timing
from lowbit.core.peak import Peaks
from lowbit.core.preprocess import Preprocess
from lowbit.core.profile import Profile
from lowbit.core.recipe import Recipe
from lowbit.core.settings import Settings
from lowbit.core.verified import Verified
from lowbit.formats.facts import FileFacts
from lowbit.measure.accuracy import Scoring
from lowbit.quant.plan.plan import QuantPlan

Result_co = TypeVar("Result_co", covariant=True)


class Job(Protocol[Result_co]):
    """What every job has: its kind, which names the module in this package that does it, and its result's type."""

    KIND: ClassVar[str]

    @property
    def result_type(self) -> type[Result_co]:
        """The type of the result."""
        ...


@dataclass(frozen=True, slots=True)
class Nothing:
    """The result of a job that only writes files."""


@dataclass(frozen=True, slots=True)
class SamplesJob:
    """Decode, resize and split `data`, and write the images into the folder `out`.

    - preprocess: its resize and crop are applied
    - calibration_samples: how many images to set aside for calibration
    - seed: of the split
    - limit: how many images to evaluate; None: all
    - workers: how many processes decode
    - labelled: whether the data must have labels
    - training_samples: how many images to set aside for training, at most
    """

    KIND: ClassVar[str] = "samples"

    data: str
    preprocess: Preprocess
    calibration_samples: int
    seed: int
    limit: int | None
    out: Path
    workers: int
    labelled: bool = True
    training_samples: int = 0

    @property
    def result_type(self) -> type[Nothing]:
        """Nothing."""
        return Nothing


@dataclass(frozen=True, slots=True)
class DownloadJob:
    """Fetch the model `spec` from the network into the user's own cache: the only job that may use the network."""

    KIND: ClassVar[str] = "download"

    spec: str

    @property
    def result_type(self) -> type[Nothing]:
        """Nothing."""
        return Nothing


@dataclass(frozen=True, slots=True)
class PreprocessJob:
    """Ask the model `spec` how pictures are prepared for it. The result is a Preprocess."""

    KIND: ClassVar[str] = "preprocess"

    spec: str

    @property
    def result_type(self) -> type[Preprocess]:
        """Preprocess."""
        return Preprocess


@dataclass(frozen=True, slots=True)
class ModelJob:
    """Turn the user's model into `out`/float.onnx and compare it with its source. The result is a FloatModel.

    - spec: the model as the user named it
    - weights: a file of weights, if any
    - samples: folder of the samples that the comparison runs on
    - seed, threads: of the conversion
    - structure_only: only operators matter, so that the graph's numbers are not compared
    - input_size: (height, width) that the user gave for a model that leaves them free
    - trust: whether code that a model file brings along may run
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
    trust: bool = False

    @property
    def result_type(self) -> type[FloatModel]:
        """FloatModel."""
        return FloatModel


@dataclass(frozen=True, slots=True)
class BuildJob:
    """Let a toolchain carry out one recipe into the folder `out`. The result is a Manifest.

    - key: digest of everything that could change the artifact
    - samples: folder of the calibration samples
    - cache: folder for conversions that several builds share
    - evidence: folder for what verification needs later
    - progress: the file that says how far the build is
    - batch_size: for formats with a fixed batch size
    - given: the file that the user gives, for the toolchain that takes files as they are
    - classes: the model's output for each label, where the recipe trains
    - checkpoints: folder of an unfinished training; removed when the build is done
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
    given: Path | None = None
    classes: tuple[int, ...] = ()
    checkpoints: Path | None = None

    @property
    def result_type(self) -> type[Manifest]:
        """Manifest."""
        return Manifest


@dataclass(frozen=True, slots=True)
class PlanJob:
    """Plan how our own engine would quantize a model, without doing it. The result is a QuantPlan."""

    KIND: ClassVar[str] = "plan"

    model: FloatModel
    recipe: Recipe

    @property
    def result_type(self) -> type[QuantPlan]:
        """QuantPlan."""
        return QuantPlan


@dataclass(frozen=True, slots=True)
class InspectJob:
    """Read a file, open it in a runtime and list what it executes. The result is an Inspected.

    - format: from the artifact's manifest, or guessed from the file's ending
    - runtime_options: from the artifact's manifest, or empty
    - layers: names of layers; executed operators are listed under these names
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
class ProfileJob:
    """Open a file in a runtime and time its operators with the runtime's own profiler. The result is a Profile.

    - format, runtime_options: as for an InspectJob
    - samples, preprocess: folder of the pictures, and how they become the model's input
    - batch_size: images in a run; None: the file's own, or 1
    - runs: how many runs are timed
    - graph: the file of the float graph; None where it is not known
    - layers: its layers that multiply
    - nodes: names of layers where no float graph is known
    """

    KIND: ClassVar[str] = "profile"

    path: Path
    format: str
    runtime: str
    runtime_options: dict[str, str]
    samples: Path
    preprocess: Preprocess
    threads: int
    batch_size: int | None
    runs: int
    graph: Path | None = None
    layers: tuple[LayerMacs, ...] = ()
    nodes: tuple[str, ...] = ()

    @property
    def result_type(self) -> type[Profile]:
        """Profile."""
        return Profile


@dataclass(frozen=True, slots=True)
class PeakJob:
    """Measure how fast this machine multiplies matrices with so many threads. The result is Peaks."""

    KIND: ClassVar[str] = "peak"

    threads: int

    @property
    def result_type(self) -> type[Peaks]:
        """Peaks."""
        return Peaks


@dataclass(frozen=True, slots=True)
class AccuracyJob:
    """Run one artifact in one runtime over all evaluation images. The result is an Accuracy.

    predictions.npy is written into the folder `out`.

    - task: how scores become predictions
    - reference: the folder with the float model's scores.npy and right.npy; None for the float model's own pass, which
      writes them
    - probabilities: whether the file's scores are probabilities; None: they are what `task` says
    - enough: the pass ends once the difference to the float model's top-1 is known to within this share of the images,
      at 95 %; it then takes them in random order. None: all images are answered.
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
    probabilities: bool | None = None
    enough: float | None = None

    @property
    def result_type(self) -> type[Accuracy]:
        """Accuracy."""
        return Accuracy


@dataclass(frozen=True, slots=True)
class PrecisionJob:
    """Open one artifact in one runtime as a SpeedJob would, and write what it executes (`Executed`) to the file `out`.

    - layers: the float graph's layers, with which the executed operators are matched
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
    """Time one artifact in one runtime under LoadGen, once. The result is a Timing.

    - logs: folder for LoadGen's logs
    - executed: the file to write the session's executed operators to (`Executed`); None where they are known already
    - layers: the float graph's layers, with which these operators are matched
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
    """Compare a built file with the integer-only reference in one runtime. The result is a Verified.

    - evidence: the folder that the build wrote for this
    - images: how many calibration images to compare on
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


@dataclass(frozen=True, slots=True)
class FactsJob:
    """Read what a file says of itself, without opening it in a runtime. The result is a FileFacts."""

    KIND: ClassVar[str] = "facts"

    path: Path
    format: str

    @property
    def result_type(self) -> type[FileFacts]:
        """FileFacts."""
        return FileFacts


@dataclass(frozen=True, slots=True)
class ScoresJob:
    """Run one artifact in one runtime over all evaluation images, and write its scores [N, outputs] to the file `out`.

    Nothing is compared and no labels are read.
    """

    KIND: ClassVar[str] = "scores"

    artifact: Artifact
    runtime: str
    samples: Path
    preprocess: Preprocess
    batch_size: int
    threads: int
    out: Path

    @property
    def result_type(self) -> type[Nothing]:
        """Nothing."""
        return Nothing


@dataclass(frozen=True, slots=True)
class Ran:
    """A file, the runtime that runs it, and the folder of what its build left for verification, where there is one."""

    artifact: Artifact
    runtime: str
    evidence: Path | None = None


@dataclass(frozen=True, slots=True)
class LayersJob:
    """Run every layer of two files alone, each file in its runtime, on equal inputs. The result is a LayersDifference.

    - images: how many evaluation images to run them on
    - same_file: whether both sides are the same file, so that all that differs are the runtimes
    - together: whether to look for the layer at which they part when all before it runs along, where none parts alone
    """

    KIND: ClassVar[str] = "layers"

    first: Ran
    second: Ran
    samples: Path
    preprocess: Preprocess
    images: int
    threads: int
    same_file: bool
    together: bool

    @property
    def result_type(self) -> type[LayersDifference]:
        """LayersDifference."""
        return LayersDifference


KINDS: dict[str, type[Any]] = {
    cls.KIND: cls
    for cls in (
        SamplesJob, ModelJob, BuildJob, PlanJob, InspectJob, ProfileJob, PeakJob, VerifyJob, AccuracyJob, PrecisionJob,
        SpeedJob, FactsJob, ScoresJob, LayersJob, DownloadJob, PreprocessJob,
    )
}  # fmt: skip
