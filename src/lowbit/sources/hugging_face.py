"""`hf:ORG/NAME` from the user's cache, or a folder with a config.json: an image classifier of transformers or timm."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from lowbit.core import digest
from lowbit.core.preprocess import Preprocess
from lowbit.sources import _hub
from lowbit.sources._edge import Loaded, SourceInfo, SourceRequest, refuse_weights, versions

INFO = SourceInfo(
    name="hugging-face",
    form="hf:ORG/NAME or a folder with config.json",
    packages=("torch", "torchvision", "safetensors"),
    extra="huggingface",
    default_preprocess=None,
    stable=True,
    own_preprocess=True,
    downloads=True,
)

_CLIENT = replace(INFO, packages=("huggingface-hub",))
_TRANSFORMERS = replace(INFO, packages=(*INFO.packages, "transformers"))
_TIMM = replace(INFO, packages=(*INFO.packages, "timm"), extra="timm")


def claims(spec: str) -> bool:
    """`hf:` and a name, or a folder in which a config.json lies."""
    return spec.startswith(_hub.PREFIX) or (Path(spec) / _hub.CONFIG).is_file()


def fingerprint(spec: str, weights: Path | None) -> str:
    """Digest of config, weights and packages; BadInput where they are not on disk."""
    refuse_weights(INFO, weights)
    folder, config = _opened(spec)
    there = [file for name in (_hub.CONFIG, _hub.PREPROCESSOR) if (file := folder / name).is_file()]
    return digest.of_value([digest.of_files([*there, *_hub.weights_of(folder, spec)]), versions(_info(config))])


def preprocess_of(spec: str) -> Preprocess:
    """How the model itself says that pictures are prepared. Runs in a child process."""
    folder, config = _opened(spec)
    versions(_info(config))
    if _hub.is_timm(config):
        from lowbit.sources.torch_timm import preprocess_of_config

        return preprocess_of_config(config.get("pretrained_cfg", config), spec)
    from lowbit.sources.torch_processors import own_preprocess

    return own_preprocess(folder, spec)


def download(spec: str) -> None:
    """Fetch the model into the user's cache. Runs in a child process, the only one that may use the network."""
    versions(_CLIENT)
    _hub.download(spec)


def load(request: SourceRequest) -> Loaded:
    """Build the network, fill it, export it; what was taken from its files is said."""
    import torch

    torch.set_num_threads(request.threads)
    folder, config = _opened(request.spec)
    source_digest = fingerprint(request.spec, request.weights)
    if _hub.is_timm(config):
        from lowbit.sources.torch_timm import load_folder

        return load_folder(folder, config, request, source_digest)
    from lowbit.sources.torch_transformers import load_folder as load_of_transformers

    return load_of_transformers(folder, request, source_digest)


def _opened(spec: str) -> tuple[Path, dict[str, Any]]:
    if spec.startswith(_hub.PREFIX):
        versions(_CLIENT)
    folder = _hub.folder_of(spec)
    return folder, _hub.read_config(folder)


def _info(config: dict[str, Any]) -> SourceInfo:
    return _TIMM if _hub.is_timm(config) else _TRANSFORMERS
