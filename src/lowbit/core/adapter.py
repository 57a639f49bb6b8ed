"""The faces of adapters: what a toolchain makes, what a runtime reads, what a session does."""

from collections.abc import Callable, Sequence
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

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[Any]
RunCodes = Callable[[Sequence[Codes]], Codes]  # a part alone: codes, an array an input → codes of its result, or floats


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """A runtime's face, readable without the vendor's package.

    packages: PyPI names whose versions stand beside every number; extra: pip extra of lowbit that installs them;
    reads: artifact formats; hidden: only used when it is named.
    """

    name: str
    packages: tuple[str, ...]
    extra: str | None
    reads: tuple[str, ...]
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class ToolchainInfo:
    """A toolchain's face, readable without the vendor's package.

    makes: the artifact format; made_for: the runtimes its files are meant for; refuses: recipe name → why it has none;
    families: what people call its recipes that are made on request, many at a time; hidden: only used when it is named.
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
        """The artifact format that `recipe` gives."""
        return recipe.makes or self.makes

    def fixes_batch(self, recipe: Recipe) -> bool:
        """Whether the file carries one batch size, so that it is built for the one that is timed."""
        return file_format(self.format_of(recipe)).fixes_batch

    def runtimes_for(self, recipe: Recipe) -> tuple[str, ...]:
        """The runtimes that the recipe's files are meant for."""
        return recipe.made_for or self.made_for


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What a toolchain gets: the float graph, a recipe, calibration samples, and a folder `out` to fill.

    `cache` is a folder shared by the builds of one study (conversions that several recipes start from); what is put
    there must be written aside and renamed, and named by `model.digest`. `evidence` is a folder of this build alone,
    not made yet: a toolchain whose files can be verified leaves there what verification needs, and nothing of it is
    shipped; None: nothing is kept for verification. `progress` may be called as layers are done.
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


@dataclass(frozen=True, slots=True)
class Built:
    """What a toolchain gives back: the main file inside `out`, seconds spent reading calibration data, and notes.

    beside: files in `out` that explain the artifact and need not be shipped. verifiable: whether `evidence` holds what
    the file can be verified with.
    """

    main: Path
    calibration_s: float | None = None
    notes: tuple[str, ...] = ()
    beside: tuple[Path, ...] = ()
    verifiable: bool = False


@dataclass(frozen=True, slots=True)
class OpPrecision:
    """One executed operator. `macs`: multiply-accumulates a sample (0 for what is no convolution or matrix product).

    precision: the runtime's own word (u8s8, f32, bf16 …); integer: its kernel took both operands as integers;
    hybrid: an integer kernel that quantizes its float input itself (dynamic rows); reason: why it is not integer.
    fused: the names of the file's nodes that it computes at once, where the runtime tells.
    """

    name: str
    op_type: str
    precision: str
    integer: bool
    macs: int = 0
    hybrid: bool = False
    reason: str = ""
    fused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """threads: of one session; batch_size: images a `predict` call gets at most."""

    threads: int = 1
    batch_size: int = 1


@dataclass(frozen=True, slots=True)
class CodePorts:
    """How a part of a model is read and written: for a file that holds shifted codes.

    inputs: name and zero point of each input, in the order of the codes; result: the zero point of the result, None
    where that is float.
    """

    inputs: tuple[tuple[str, int], ...]
    result: int | None


class Session(Protocol):
    """An opened artifact. Float NCHW after preprocessing goes in, float scores come out, whatever the file holds."""

    def predict(self, images: Floats) -> Floats:
        """Scores [N, outputs] of images [N, C, H, W]; N is `Artifact.batch_size` where the file fixes it."""
        ...

    def executed_precision(self) -> list[OpPrecision]:
        """Every executed operator with the precision it ran in, at the batch size of the session's options.

        May open a second, profiled session with the same options.
        """
        ...
