"""`x.keras`, `x.h5`: a model that Keras saved, of Keras 2 or 3."""

from dataclasses import replace
from pathlib import Path

from lowbit.core import digest
from lowbit.core.errors import BadInput
from lowbit.sources._edge import Loaded, SourceInfo, SourceRequest, refuse_weights, versions

INFO = SourceInfo(
    name="keras-file",
    form="x.keras or x.h5",
    packages=("tensorflow", "keras", "tf-keras", "h5py", "ai-edge-litert"),
    extra="tensorflow",
    default_preprocess=None,
    stable=True,
)

_SUFFIXES = (".keras", ".h5", ".hdf5")


def claims(spec: str) -> bool:
    """A path that ends in .keras, .h5 or .hdf5, but for .weights.h5, which holds no network."""
    return spec.lower().endswith(_SUFFIXES) and not spec.lower().endswith(".weights.h5")


def fingerprint(spec: str, weights: Path | None) -> str:
    """Digest of the file."""
    refuse_weights(INFO, weights)
    path = Path(spec)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise BadInput(f"{path}: {found}; expected the path of a Keras model, .keras or .h5")
    return digest.of_value([digest.of_files([path]), versions(INFO)])


def load(request: SourceRequest) -> Loaded:
    """Read the file and convert the model; the source is the model as Keras runs it.

    What is trained later may start from the file itself, unless reading it runs code that came with it.
    """
    from lowbit.sources._keras_config import read_keras_file
    from lowbit.sources._keras_load import load_file
    from lowbit.sources._keras_model import load_keras
    from lowbit.sources._tensorflow import start

    path = Path(request.spec)
    start(request.threads, request.seed)
    model = load_file(path, trust=request.trust)
    source_digest = fingerprint(request.spec, request.weights)
    loaded = load_keras(model, request, name=path.stem, source_digest=source_digest)
    return replace(loaded, model=replace(loaded.model, keras_file=None if read_keras_file(path).needs_trust else path))
