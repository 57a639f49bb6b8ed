"""Trained weights into a module: safetensors, or a state dict that needs no code to be read."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from lowbit.core.errors import BadInput
from lowbit.core.text import said

_SHOWN = 4  # names that a message lists


def read_weights(path: Path) -> dict[str, Tensor]:
    """Names and tensors in `path`, floating ones as float32; BadInput when it holds anything else.

    A .pt or .pth file is a pickle, which may run code when it is read: `weights_only=True` refuses one that would.
    """
    if not path.is_file():
        raise BadInput(f"--weights {path}: no such file; give a .safetensors file or a state dict (.pt, .pth)")
    found = _read_safetensors(path) if path.suffix == ".safetensors" else _read_state_dict(path)
    weights = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in found.items()}
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise BadInput(
                f"--weights {path}: {name!r} holds NaN or infinite values, expected finite weights; "
                "look for where the training diverged"
            )
    return weights


def check_plain(path: Path) -> None:
    """BadInput unless the weights that a model brings along are tensors alone, which no code is needed to read."""
    try:
        read_weights(path)
    except BadInput as error:
        raise BadInput(str(error).removeprefix("--weights ")) from error


def put_weights(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Load `weights` into `module`; BadInput naming what is missing, left over, or of another shape."""
    own = module.state_dict()
    missing = [name for name in own if name not in weights and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in weights if name not in own]
    if missing or unexpected:
        parts = [f"lacks {_some(missing)}"] * bool(missing) + [f"has {_some(unexpected)} too many"] * bool(unexpected)
        raise BadInput(
            f"{where}: the weights do not fit the model: the file {' and '.join(parts)}; "
            f"expected {_some(list(own))}: give the weights of this very model, under its own names"
        )
    for name, tensor in own.items():
        given = weights.get(name)
        if given is not None and given.shape != tensor.shape:
            raise BadInput(
                f"{where}: the weight {name!r} has shape {list(given.shape)}, the model expects {list(tensor.shape)}; "
                "give the weights of this very model"
            )
    module.load_state_dict(dict(weights), strict=False)  # strict but for BatchNorm's counters, checked above


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise BadInput(
            f"--weights {path}: not a safetensors file, or cut short ({said(error)}); copy it again"
        ) from error


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadInput(
            f"--weights {path}: cannot be read without running code that it brings, or is no file of torch; expected "
            "only tensors: save them with torch.save(model.state_dict(), path) or as .safetensors"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise BadInput(
            f"--weights {path}: not a state dict, or cut short ({said(error)}); "
            "save it with torch.save(model.state_dict(), path) or as .safetensors"
        ) from error
    if not isinstance(found, Mapping):
        raise BadInput(
            f"--weights {path}: holds a {type(found).__name__}, expected a state dict (names and tensors); "
            "save it with torch.save(model.state_dict(), path)"
        )
    others = [str(name) for name, value in found.items() if not isinstance(value, Tensor)]
    if others or not found:
        raise BadInput(
            f"--weights {path}: expected names and tensors only, found {_some(others)} as something else; "
            "if it is a checkpoint, save the state dict inside it alone"
        )
    return dict(found)


def _some(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    if not names:
        return "nothing"
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
