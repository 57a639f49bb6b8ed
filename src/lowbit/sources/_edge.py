"""What every kind of model shares: its face, what it is asked, what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lowbit.core import digest, discover
from lowbit.core.adapter import Floats
from lowbit.core.errors import BadInput, UnsupportedError
from lowbit.core.model import FloatModel
from lowbit.core.preprocess import Preprocess
from lowbit.core.samples import Samples

Predict = Callable[[Floats], Floats]

TOLERANCE = 1e-3  # of the largest score: other kernels sum in another order, another function differs by far more
HALF_TOLERANCE = (
    3e-2  # the same for a source that rounds every tensor to half precision, which the float graph does not
)


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """A kind of model, readable without the vendor's package.

    form: how a user writes it; packages: PyPI names that loading needs; extra: pip extra of lowbit that installs them;
    default_preprocess: the preprocessing such models are made for, None where nobody can know.
    stable: whether `fingerprint` covers all that the model is made of. Where it does not (user code may read any file),
    the study makes the float graph anew in every command, and what follows from it is named by that graph's contents.
    """

    name: str
    form: str
    packages: tuple[str, ...]
    extra: str | None
    default_preprocess: str | None
    stable: bool


@dataclass(frozen=True, slots=True)
class SourceRequest:
    """What a source gets. It writes `out/float.onnx`.

    sample_shape: (C, H, W) of the data after preprocessing; outputs: how many classes the data has, which sizes a head
    that has no weights; calibration: real samples, for networks that must see some; threads: of the vendor's library.
    structure_only: a network without weights of its own need not see samples, since nobody will look at its numbers;
    input_size: height and width that the user has said for a model that leaves them free.
    """

    spec: str
    weights: Path | None
    sample_shape: tuple[int, int, int]
    outputs: int | None
    calibration: Samples
    preprocess: Preprocess
    out: Path
    seed: int = 0
    threads: int = 1
    structure_only: bool = False
    input_size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """The float graph, and the source itself as a function: images float32 [N, C, H, W] → scores float32 [N, outputs].

    `model.difference` is None until both have been compared on real samples (`check.check_against_source`), where they
    may differ by `tolerance` of the largest score.
    """

    model: FloatModel
    predict: Predict = field(repr=False)
    tolerance: float = TOLERANCE


class Source(Protocol):
    """What a module of this room offers."""

    INFO: SourceInfo

    def claims(self, spec: str) -> bool:
        """Whether `spec` looks like a model of this kind; it need not exist."""
        ...

    def fingerprint(self, spec: str, weights: Path | None) -> str:
        """Digest of what the model is made of: files, code, package versions (`stable`: of all). Imports no vendor."""
        ...

    def load(self, request: SourceRequest) -> Loaded:
        """Write the float graph. Runs in a child process."""
        ...


def versions(info: SourceInfo) -> dict[str, str]:
    """`discover.require` as BadInput: a study without its model cannot go on, as it can without a toolchain."""
    try:
        return discover.require(info)
    except UnsupportedError as error:
        raise BadInput(f"a model of the form {info.form} cannot be loaded: {error}") from error


def digest_weights(weights: Path | None) -> str | None:
    """Digest of a weights file, None for none; BadInput when it does not exist."""
    if weights is None:
        return None
    if not weights.is_file():
        found = "not a file" if weights.exists() else "no such file"
        raise BadInput(f"--weights {weights}: {found}; give a .safetensors file or a state dict (.pt, .pth)")
    return digest.of_files([weights])


def refuse_weights(info: SourceInfo, weights: Path | None) -> None:
    """BadInput where weights are given to a model that brings its own."""
    if weights is not None:
        raise BadInput(f"--weights {weights}: {info.form} brings its own weights; leave --weights out")
