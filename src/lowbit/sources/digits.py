"""`digits-cnn`: a small network that is trained on the spot, so that a first study needs no file."""

from pathlib import Path

from lowbit.core import digest
from lowbit.core.errors import BadInput
from lowbit.sources._edge import Loaded, SourceInfo, SourceRequest, refuse_weights, versions

INFO = SourceInfo(
    name="digits-cnn",
    form="digits-cnn",
    packages=("torch", "scikit-learn"),
    extra="torch",
    default_preprocess="unit,channels=grey",
    stable=True,
)

_SHAPE = (1, 8, 8)
_TRAINING = Path(__file__).with_name("torch_digits.py")


def claims(spec: str) -> bool:
    """Exactly `digits-cnn`."""
    return spec == INFO.name


def fingerprint(spec: str, weights: Path | None) -> str:
    """Digest of the training code and of the packages that run it."""
    refuse_weights(INFO, weights)
    return digest.of_value([spec, versions(INFO), digest.of_files([_TRAINING])])


def load(request: SourceRequest) -> Loaded:
    """Train on the digits' training part (seconds, always on one thread: the same weights on every run)."""
    from lowbit.sources.torch_digits import trained
    from lowbit.sources.torch_export import load_module

    if request.sample_shape != _SHAPE:
        raise BadInput(
            f"{INFO.name}: takes grey images of 8 × 8, but the data gives {request.sample_shape} (channels, height, "
            "width); use --data digits --preprocess unit,channels=grey"
        )
    source_digest = fingerprint(request.spec, request.weights)
    return load_module(trained(), request, name=INFO.name, source_digest=source_digest)
