"""A model of Hugging Face's: a folder on disk or in the user's cache, its config.json and its files of weights."""

import importlib
import json
import re
from pathlib import Path
from typing import Any

from lowbit.core.errors import BadInput
from lowbit.core.text import kind_and_said, said

PREFIX = "hf:"
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
_SAFE, _PICKLED = "model.safetensors", "pytorch_model.bin"
_INDEX = ".index.json"  # beside weights in several files
_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def folder_of(spec: str) -> Path:
    """The folder that `spec` names, itself or its copy in the user's cache. BadInput where it is not there.

    Nothing is downloaded.
    """
    if not spec.startswith(PREFIX):
        folder = Path(spec)
        if not (folder / CONFIG).is_file():
            raise BadInput(f"{spec}: has no {CONFIG}; expected a folder that holds a model of transformers or timm")
        return folder
    hub = importlib.import_module("huggingface_hub")
    found = hub.try_to_load_from_cache(repository(spec), CONFIG)
    if not isinstance(found, str):
        raise BadInput(
            f"{spec}: not in the cache of Hugging Face's hub ({hub.constants.HF_HUB_CACHE}); give --download to fetch "
            "it, or the path of a folder that holds it"
        )
    return Path(found).parent


def repository(spec: str) -> str:
    """ORG/NAME of `hf:ORG/NAME`."""
    name = spec.removeprefix(PREFIX)
    if _REPOSITORY.fullmatch(name) is None:
        raise BadInput(f"{spec}: expected hf:ORG/NAME, as in hf:google/vit-base-patch16-224")
    return name


def name_of(spec: str) -> str:
    """The model's name for users: NAME of `hf:ORG/NAME`, or that of the folder."""
    return Path(spec.removeprefix(PREFIX)).resolve().name


def download(spec: str) -> None:
    """Fetch the config and the weights, safetensors where there are any, into the user's cache."""
    hub = importlib.import_module("huggingface_hub")
    name = repository(spec)
    try:
        folder = Path(hub.snapshot_download(name, allow_patterns=[CONFIG, PREPROCESSOR, *_patterns(_SAFE)]))
        if not any(folder.glob("*.safetensors")):
            hub.snapshot_download(name, allow_patterns=[CONFIG, PREPROCESSOR, *_patterns(_PICKLED)])
    except Exception as error:  # the client raises what the network, the hub and the disk make of it
        raise BadInput(
            f"{spec}: cannot be downloaded: {kind_and_said(error)}; look at the name, at the network, and, of a model "
            "with restricted access, at `hf auth login`"
        ) from error
    if not (folder / CONFIG).is_file():
        raise BadInput(f"{spec}: has no {CONFIG}; expected a model of transformers or timm")


def read_config(folder: Path) -> dict[str, Any]:
    """The contents of config.json; BadInput where it is no JSON object."""
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: not JSON ({said(error)}); copy the model's folder again") from error
    if not isinstance(config, dict):
        raise BadInput(f"{path}: a JSON object was expected, found a {type(config).__name__}")
    return config


def is_timm(config: dict[str, Any]) -> bool:
    """Whether a config.json is timm's own form, which names an architecture; that of transformers has a model type."""
    return "architecture" in config and ("pretrained_cfg" in config or "model_type" not in config)


def weights_of(folder: Path, spec: str) -> list[Path]:
    """The files of weights in a fixed order: safetensors, or pickles where there are none. BadInput without any."""
    for name in (_SAFE, _PICKLED):
        index = folder / f"{name}{_INDEX}"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            return [index, *_parts(index)]
    fetch = ": give --download to fetch them" if spec.startswith(PREFIX) else ""
    raise BadInput(f"{spec}: has a {CONFIG}, but no weights; expected {_SAFE} beside it{fetch}")


def pickled(files: list[Path]) -> list[Path]:
    """Those of the files that are pickles."""
    return [file for file in files if file.suffix == ".bin"]


def _parts(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BadInput(f"{index}: no list of weights ({said(error)}); copy the model's folder again") from error
    files = [index.with_name(Path(str(name)).name) for name in names]
    for file in files:
        if not file.is_file():
            raise BadInput(f"{index}: {file.name} is missing beside it; copy the model's folder again")
    return files


def _patterns(name: str) -> list[str]:
    stem, _, ending = name.partition(".")
    return [name, f"{name}{_INDEX}", f"{stem}-*-of-*.{ending}"]
