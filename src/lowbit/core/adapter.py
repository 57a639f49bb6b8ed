"""The interfaces of adapters: what a toolchain makes, what a runtime reads, and what an open session can do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lowbit.core.format import file_format
from lowbit.core.model import FloatModel
from lowbit.core.preprocess import Preprocess
from lowbit.core.progress import LayerListener
from lowbit.core.recipe import Recipe
from lowbit.core.samples import Samples
from lowbit.core.training import Training, TrainingProgress

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[Any]
RunCodes = Callable[
    [Sequence[Codes]], Codes
]  # runs one part of a model: arrays of codes, one per input → codes, or floats


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """What lowbit knows about a runtime before it imports the vendor's package.

    - packages: PyPI names of the packages whose versions are recorded with every measurement
    - extra: the pip extra of lowbit that installs them
    - reads: the artifact formats that the runtime can open
    - hidden: whether the runtime is used only when the user names it
    - limits: instruction set → the environment variables that limit the runtime to it, where they are set before its
      package is imported; empty for a runtime that asks the processor and cannot be limited
    - threads_change_scores: whether scores may differ with the number of threads
    """

    name: str
    packages: tuple[str, ...]
    extra: str | None
    reads: tuple[str, ...]
    hidden: bool = False
    limits: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    threads_change_scores: bool = True


@dataclass(frozen=True, slots=True)
class ToolchainInfo:
    """What lowbit knows about a toolchain before it imports the vendor's package.

    - packages: PyPI names of the packages that every recipe needs
    - extra: the pip extra of lowbit that installs them
    - makes: the artifact format of its recipes, unless a recipe names another
    - made_for: the runtimes that its files are meant for, unless a recipe names others
    - recipes: the recipes that it offers
    - refuses: name of a recipe that it cannot offer → the reason
    - families: short names for groups of recipes that are made only on request, such as "wNaM"
    - hidden: whether the toolchain is used only when the user names it
    """

    name: str
    packages: tuple[str, ...]
    extra: str | None
    makes: str
    made_for: tuple[str, ...]
    recipes: tuple[Recipe, ...]
    refuses: dict[str, str] = field(default_factory=dict)
    families: tuple[str, ...] = ()
    hidden: bool = False

    def format_of(self, recipe: Recipe) -> str:
        """The artifact format that `recipe` produces."""
        return recipe.makes or self.makes

    def fixes_batch(self, recipe: Recipe) -> bool:
        """Whether the file has a fixed batch size, and must be built for the batch size that is timed."""
        return file_format(self.format_of(recipe)).fixes_batch

    def runtimes_for(self, recipe: Recipe) -> tuple[str, ...]:
        """The runtimes that the recipe's files are meant for."""
        return recipe.made_for or self.made_for


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What a toolchain gets in order to build one artifact.

    - model: the float model
    - recipe: how to quantize it
    - calibration: the samples to calibrate with
    - preprocess: how a sample becomes the model's input
    - out: the folder to write the artifact into
    - cache: a folder shared by all builds of one study, for conversions that several recipes start from. A toolchain
      writes a file there under a temporary name, then renames it to a name that contains `model.digest`.
    - batch_size: images in a batch, for formats with a fixed batch size
    - threads: how many threads the build may use
    - seed: the seed of everything random
    - evidence: a folder for this build alone, not created yet. A toolchain whose files can be verified writes there
      what verification needs; none of it is shipped. None: nothing is kept for verification.
    - progress: may be called after each finished layer
    - given: the file that the user gives, for the toolchain that takes files as they are; None for all others
    - classes: classes[label] is the model's output for a label of the calibration samples, for recipes that train;
      empty: a label is its output
    - training: the samples to train on, the calibration samples among them; None: those alone
    - checkpoints: a folder for this build alone, where a training that is killed goes on; not created yet, and removed
      when the build is done. None: a training begins anew.
    - training_progress: may be called now and then during a training
    """

    model: FloatModel
    recipe: Recipe
    calibration: Samples
    preprocess: Preprocess
    out: Path
    cache: Path
    batch_size: int
    threads: int
    seed: int
    evidence: Path | None = None
    progress: LayerListener = lambda _done, _total, _layer: None
    given: Path | None = None
    classes: tuple[int, ...] = ()
    training: Samples | None = None
    checkpoints: Path | None = None
    training_progress: Callable[[TrainingProgress], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Built:
    """What a toolchain returns.

    - main: the artifact's main file, inside `out`
    - calibration_s: seconds spent on calibration; None where the recipe needs none
    - calibration_samples: how many samples calibrated it, where not all did; None: all
    - training: how its training went, where it was trained by our own engine
    - notes: sentences for the user
    - beside: files in `out` that explain the artifact and need not be shipped
    - verifiable: whether `evidence` holds what is needed to verify the file
    - batch_size: the batch size that the file fixes, where the file decides and not the request; None otherwise
    - dynamic: whether the file takes ranges over a whole call, where the recipe does not say so
    - probabilities: whether its scores are probabilities, where they need not be what the float model's are; None: they
      are the same
    """

    main: Path
    calibration_s: float | None = None
    notes: tuple[str, ...] = ()
    beside: tuple[Path, ...] = ()
    verifiable: bool = False
    batch_size: int | None = None
    dynamic: bool = False
    probabilities: bool | None = None
    calibration_samples: int | None = None
    training: Training | None = None


@dataclass(frozen=True, slots=True)
class OpPrecision:
    """One operator that a runtime executed, and the precision that it ran in.

    - name: the runtime's name of the operator
    - op_type: its type
    - precision: the runtime's own word (u8s8, f32, bf16 …)
    - integer: whether its kernel took both operands as integers
    - macs: multiply-accumulates per sample; 0 for operators that are neither convolutions nor matrix products
    - hybrid: whether it is an integer kernel that quantizes its float input itself (dynamic quantization)
    - reason: why it did not run as integers
    - fused: names of the file's nodes that this operator computes together, where the runtime reports them
    - kernel: the runtime's own name of the kernel (brgconv_avx512_I8), where it reports one
    """

    name: str
    op_type: str
    precision: str
    integer: bool
    macs: int = 0
    hybrid: bool = False
    reason: str = ""
    fused: tuple[str, ...] = ()
    kernel: str = ""


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How a session is opened.

    - threads: how many threads the session may use
    - batch_size: the largest number of images in one call of `predict`
    """

    threads: int = 1
    batch_size: int = 1


@dataclass(frozen=True, slots=True)
class CodePorts:
    """How integer codes are fed to one part of a model and read from it, where the file stores codes with an offset.

    - inputs: name and zero point of each input, in the order of the codes
    - result: zero point of the result; None where the result is float
    """

    inputs: tuple[tuple[str, int], ...]
    result: int | None


class Session(Protocol):
    """An opened artifact: preprocessed float images in NCHW go in, float scores come out, whatever the file stores.

    A session whose runtime can time its own operators has one method more: see `core.profile.ProfilingSession`.
    """

    def predict(self, images: Floats) -> Floats:
        """Scores [N, outputs] of images [N, C, H, W]. N is `Artifact.batch_size` where the file fixes a batch size."""
        ...

    def executed_precision(self) -> list[OpPrecision]:
        """Every executed operator with the precision it ran in, at the batch size of the session's options.

        May open a second, profiled session with the same options.
        """
        ...
