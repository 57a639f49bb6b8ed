"""`torchvision:NAME`: torchvision's classifiers, with the user's weights or, to compare speed alone, random ones."""

from pathlib import Path

from lowbit.core import digest
from lowbit.sources._edge import Loaded, SourceInfo, SourceRequest, digest_weights, versions

INFO = SourceInfo(
    name="torchvision",
    form="torchvision:NAME",
    packages=("torch", "torchvision", "safetensors"),
    extra="torch",
    default_preprocess="imagenet",
    stable=True,
)

_CODE = [Path(__file__).with_name(name) for name in ("torch_zoo.py", "torch_random.py")]


def claims(spec: str) -> bool:
    """`torchvision:` and a name."""
    return spec.startswith("torchvision:")


def fingerprint(spec: str, weights: Path | None) -> str:
    """Digest of the name, the weights and the packages; of the code that draws random weights where there are none."""
    return digest.of_value([spec, versions(INFO), digest_weights(weights) or digest.of_files(_CODE)])


def load(request: SourceRequest) -> Loaded:
    """Build the network, fill it, export it."""
    import torch

    from lowbit.sources.torch_export import load_module
    from lowbit.sources.torch_zoo import random_network, trained_network

    torch.set_num_threads(request.threads)
    name = request.spec.partition(":")[2]
    module = random_network(name, request) if request.weights is None else trained_network(name, request.weights)
    return load_module(
        module,
        request,
        name=name,
        source_digest=fingerprint(request.spec, request.weights),
        random_weights=request.weights is None,
    )
