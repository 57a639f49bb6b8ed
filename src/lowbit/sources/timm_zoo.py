"""`timm:NAME`: timm's classifiers, with the user's weights or, to compare speed alone, random ones."""

from pathlib import Path

from lowbit.core import digest
from lowbit.core.preprocess import Preprocess
from lowbit.sources._edge import Loaded, SourceInfo, SourceRequest, digest_weights, versions

INFO = SourceInfo(
    name="timm",
    form="timm:NAME",
    packages=("torch", "torchvision", "timm", "safetensors"),
    extra="timm",
    default_preprocess=None,
    stable=True,
    own_preprocess=True,
)

_CODE = [Path(__file__).with_name(name) for name in ("torch_timm.py", "torch_random.py")]


def claims(spec: str) -> bool:
    """`timm:` and a name."""
    return spec.startswith("timm:")


def fingerprint(spec: str, weights: Path | None) -> str:
    """Digest of the name, the weights and the packages; of the code that draws random weights where there are none."""
    return digest.of_value([spec, versions(INFO), digest_weights(weights) or digest.of_files(_CODE)])


def preprocess_of(spec: str) -> Preprocess:
    """What timm says of the pictures that this network's weights are for. Runs in a child process."""
    from lowbit.sources.torch_timm import preprocess_of_config, pretrained_config

    versions(INFO)
    return preprocess_of_config(pretrained_config(spec.partition(":")[2]), spec)


def load(request: SourceRequest) -> Loaded:
    """Build the network, fill it, export it."""
    import torch

    from lowbit.sources.torch_timm import load_network

    torch.set_num_threads(request.threads)
    return load_network(request, fingerprint(request.spec, request.weights))
