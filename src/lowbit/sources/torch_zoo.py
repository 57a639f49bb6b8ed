"""torchvision's networks, their heads sized to the weights or to the data, and random ones that tell images apart."""

import difflib
import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from lowbit.core.errors import BadInput
from lowbit.sources._edge import SourceRequest
from lowbit.sources.torch_operators import declare_torchvision_operators
from lowbit.sources.torch_random import last_matrix, vary
from lowbit.sources.torch_weights import put_weights, read_weights

IMAGENET_CLASSES = 1000
_WITH_AUXILIARY = ("googlenet", "inception_v3")  # extra heads that only train; weights come with them or without


def trained_network(name: str, weights: Path) -> nn.Module:
    """torchvision's `name` with the user's weights, its head as large as theirs. BadInput when they do not fit."""
    check_name(name)
    state = read_weights(weights)
    auxiliary = any(key.startswith(("aux", "AuxLogits")) for key in state)
    head = f"{last_matrix(_build(name, IMAGENET_CLASSES, auxiliary=auxiliary))[0]}.weight"
    if head not in state or state[head].ndim == 0:
        raise BadInput(
            f"--weights {weights}: lacks {head!r}, the classifier of torchvision's {name}; "
            f"give weights of {name} under torchvision's own names"
        )
    module = _build(name, len(state[head]), auxiliary=auxiliary)
    put_weights(module, state, f"--weights {weights}")
    return module


def random_network(name: str, request: SourceRequest) -> nn.Module:
    """torchvision's `name` with seeded random weights whose scores differ from image to image (`torch_random.vary`)."""
    check_name(name)
    torch.manual_seed(request.seed)
    module = _build(name, request.outputs or IMAGENET_CLASSES, auxiliary=False).eval()
    return vary(module, last_matrix(module)[1], request)


def check_name(name: str) -> None:
    """BadInput, with the nearest names, for a classifier that torchvision does not have."""
    models = _torchvision().models
    names = models.list_models(module=models)
    if name not in names:
        raise BadInput(f"torchvision:{name}: torchvision has no classifier of this name; {near(name, names)}")


def near(name: str, names: Sequence[str]) -> str:
    """A question with the names that look like `name`; a sentence with all of them, or the first, where none does."""
    close = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
    return f"did you mean {', '.join(close)}?" if close else f"it has {', '.join(names)}"


def _torchvision() -> ModuleType:
    declare_torchvision_operators()
    return importlib.import_module("torchvision")


def _build(name: str, outputs: int, *, auxiliary: bool) -> nn.Module:
    extra: dict[str, Any] = {"aux_logits": auxiliary, "init_weights": False} if name in _WITH_AUXILIARY else {}
    module: nn.Module = _torchvision().models.get_model(name, weights=None, num_classes=outputs, **extra)
    return module
