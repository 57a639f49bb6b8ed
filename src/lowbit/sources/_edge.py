"""The interface that all kinds of models share: a source's facts, its request, and its result."""

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

SAY_TRUST = "say --trust (in a study file: trust: true)"
TOLERANCE = 1e-3  # of the largest score: other kernels sum in another order, another function differs by far more
HALF_TOLERANCE = (
    3e-2  # the same for a source that rounds every tensor to half precision, which the float graph does not
)


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """A kind of model, described without importing the vendor's package.

    - name: the kind's name
    - form: how a user writes such a model
    - packages: PyPI names that loading needs
    - extra: the pip extra of lowbit that installs them
    - default_preprocess: the preprocessing that such models are made for, or a function that says it of a model as the
      user wrote it; None where it is not known
    - stable: whether `fingerprint` covers everything that the model is made of. Where it does not (user code may read
      any file), every command makes the float graph anew, and later results are keyed by that graph's contents.
    - own_preprocess: whether each model says itself how pictures are prepared for it; the module then has
      `preprocess_of` (`OwnPreprocess`)
    - downloads: whether such a model may be fetched from the network; the module then has `download` (`Downloads`)
    """

    name: str
    form: str
    packages: tuple[str, ...]
    extra: str | None
    default_preprocess: str | Callable[[str], str | None] | None
    stable: bool
    own_preprocess: bool = False
    downloads: bool = False

    def default_for(self, spec: str) -> str | None:
        """The preprocessing that models like `spec` are made for; None where it is not known."""
        default = self.default_preprocess
        return default(spec) if callable(default) else default


@dataclass(frozen=True, slots=True)
class SourceRequest:
    """What a source gets in order to write `out/float.onnx`.

    - spec: the model as the user named it
    - weights: a file of weights, if any
    - sample_shape: (C, H, W) of the data after preprocessing
    - outputs: how many classes the data has, for a head that has no weights yet
    - calibration: real samples, for networks that must see some
    - preprocess: how a picture becomes the model's input
    - out: the folder to write into
    - seed: of random weights
    - threads: of the vendor's library
    - structure_only: whether the graph's numbers do not matter, so that a network without weights needs no samples
    - input_size: (height, width) that the user gave for a model that leaves them free
    - trust: whether code that a model file brings along may run
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
    trust: bool = False


@dataclass(frozen=True, slots=True)
class Loaded:
    """The float graph, and its source as a function: images float32 [N, C, H, W] → scores float32 [N, outputs].

    `model.difference` is None until both have been compared on real samples (`check.check_against_source`), where they
    may differ by `tolerance` times the largest score.
    """

    model: FloatModel
    predict: Predict = field(repr=False)
    tolerance: float = TOLERANCE


class Source(Protocol):
    """The interface of a source's module."""

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


def free_size(request: SourceRequest) -> tuple[int, int] | None:
    """Height and width for a graph that leaves them free: what the user says, or preprocessing makes of any picture."""
    if request.input_size is not None:
        return request.input_size
    return None if request.preprocess.crop is None else request.sample_shape[1:]


class OwnPreprocess(Source, Protocol):
    """A source whose models say themselves how pictures are prepared for them."""

    def preprocess_of(self, spec: str) -> Preprocess:
        """That preprocessing. Runs in a child process; BadInput where it is not known or cannot be said."""
        ...


class Downloads(Source, Protocol):
    """A source that may fetch its models from the network, into the user's own cache."""

    def download(self, spec: str) -> None:
        """Fetch the model. Runs in a child process, and only where the user allows the network."""
        ...


def versions(info: SourceInfo) -> dict[str, str]:
    """Like `discover.require`, but raises BadInput: a study cannot go on without its model."""
    try:
        return discover.require(info)
    except UnsupportedError as error:
        raise BadInput(f"a model of the form {info.form} cannot be loaded: {error}") from error


def digest_weights(
    weights: Path | None, expected: str = "a .safetensors file or a state dict (.pt, .pth)"
) -> str | None:
    """Digest of a weights file, None for none; BadInput, saying what was `expected`, when it does not exist."""
    if weights is None:
        return None
    if not weights.is_file():
        found = "not a file" if weights.exists() else "no such file"
        raise BadInput(f"--weights {weights}: {found}; give {expected}")
    return digest.of_files([weights])


def refuse_weights(info: SourceInfo, weights: Path | None) -> None:
    """BadInput where weights are given to a model that brings its own."""
    if weights is not None:
        raise BadInput(f"--weights {weights}: {info.form} brings its own weights; leave --weights out")
