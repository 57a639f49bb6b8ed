"""`keras:NAME`: Keras Applications, with the user's weights or, to compare speed alone, random ones."""

from pathlib import Path

from lowbit.core import digest
from lowbit.sources._edge import Loaded, SourceInfo, SourceRequest, digest_weights, versions
from lowbit.sources._keras_names import network


def _preprocess(spec: str) -> str:
    return network(_name(spec)).preprocess


INFO = SourceInfo(
    name="keras",
    form="keras:NAME",
    packages=("tensorflow", "keras", "h5py", "ai-edge-litert"),
    extra="tensorflow",
    default_preprocess=_preprocess,
    stable=True,
)

_CODE = Path(__file__).with_name("_keras_zoo.py")


def claims(spec: str) -> bool:
    """`keras:` and a name."""
    return spec.startswith("keras:")


def fingerprint(spec: str, weights: Path | None) -> str:
    """Digest of the name, the weights and the packages; of the code that draws random weights where there are none."""
    from lowbit.sources._keras_weights import EXPECTED

    network(_name(spec))
    given = digest_weights(weights, EXPECTED)
    return digest.of_value([spec, versions(INFO), given or digest.of_files([_CODE])])


def load(request: SourceRequest) -> Loaded:
    """Build the network, fill it, convert it; the source is the network as Keras runs it."""
    from lowbit.sources._keras_model import load_keras
    from lowbit.sources._keras_zoo import random_network, trained_network
    from lowbit.sources._tensorflow import start

    start(request.threads, request.seed)
    name = _name(request.spec)
    if request.weights is None:
        model = random_network(name, request)
    else:
        model = trained_network(name, request.weights, request)
    return load_keras(
        model,
        request,
        name=name,
        source_digest=fingerprint(request.spec, request.weights),
        random_weights=request.weights is None,
    )


def _name(spec: str) -> str:
    return spec.partition(":")[2]
