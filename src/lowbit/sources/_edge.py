"""What every kind of model shares: its face, what it is asked, what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Protocol

from lowbit.core import digest
from lowbit.core.adapter import Floats
from lowbit.core.errors import BadInput
from lowbit.core.model import FloatModel
from lowbit.core.preprocess import Preprocess
from lowbit.core.samples import Samples

Predict = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """A kind of model, readable without the vendor's package.

    form: how a user writes it; packages: PyPI names that loading needs; extra: pip extra of lowbit that installs them;
    default_preprocess: the preprocessing such models are made for, None where nobody can know.
    """

    name: str
    form: str
    packages: tuple[str, ...]
    extra: str | None
    default_preprocess: str | None


@dataclass(frozen=True, slots=True)
class SourceRequest:
    """What a source gets. It writes `out/float.onnx`.

    sample_shape: (C, H, W) of the data after preprocessing; outputs: how many classes the data has, which sizes a head
    that has no weights; calibration: real samples, for networks that must see some; threads: of the vendor's library.
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


@dataclass(frozen=True, slots=True)
class Loaded:
    """The float graph, and the source itself as a function: images float32 [N, C, H, W] → scores float32 [N, outputs].

    `model.difference` is None until both have been compared on real samples (`check.check_against_source`).
    """

    model: FloatModel
    predict: Predict = field(repr=False)


class Source(Protocol):
    """What a module of this room offers."""

    INFO: SourceInfo

    def claims(self, spec: str) -> bool:
        """Whether `spec` looks like a model of this kind; it need not exist."""
        ...

    def fingerprint(self, spec: str, weights: Path | None) -> str:
        """Digest of all that the model is made of: files, code, package versions. Cheap, imports no vendor."""
        ...

    def load(self, request: SourceRequest) -> Loaded:
        """Write the float graph. Runs in a child process."""
        ...


def versions(info: SourceInfo) -> dict[str, str]:
    """Installed versions of the packages that a source needs; BadInput with the way to install them when one lacks."""
    found = {}
    for package in info.packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError as error:
            raise BadInput(
                f"a model of the form {info.form} needs the package {package}, which is not installed: "
                f"pip install 'lowbit[{info.extra}]'"
            ) from error
    return found


def digest_weights(weights: Path | None) -> str | None:
    """Digest of a weights file, None for none; BadInput when it does not exist."""
    if weights is None:
        return None
    if not weights.is_file():
        raise BadInput(f"--weights {weights}: no such file; give a .safetensors file or a state dict (.pt, .pth)")
    return digest.of_files([weights])


def refuse_weights(info: SourceInfo, weights: Path | None) -> None:
    """BadInput where weights are given to a model that brings its own."""
    if weights is not None:
        raise BadInput(f"--weights {weights}: {info.form} brings its own weights; leave --weights out")
