"""torchvision's networks, their heads sized to the weights or to the data, and random ones that tell images apart."""

import difflib
import importlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lowbit.core.errors import BadInput, LowbitError
from lowbit.data.preprocess import to_input
from lowbit.sources._edge import SourceRequest
from lowbit.sources.torch_export import check_module
from lowbit.sources.torch_operators import declare_torchvision_operators
from lowbit.sources.torch_weights import put_weights, read_weights

IMAGENET_CLASSES = 1000
SEEN = 64  # calibration images a random network sees: ample for means and variances, bearable for a ViT on a CPU
_BATCH = 16
_WITH_AUXILIARY = ("googlenet", "inception_v3")  # extra heads that only train; weights come with them or without


def trained_network(name: str, weights: Path) -> nn.Module:
    """torchvision's `name` with the user's weights, its head as large as theirs. BadInput when they do not fit."""
    check_name(name)
    state = read_weights(weights)
    auxiliary = any(key.startswith(("aux", "AuxLogits")) for key in state)
    head = f"{_head(_build(name, IMAGENET_CLASSES, auxiliary=auxiliary))[0]}.weight"
    if head not in state or state[head].ndim == 0:
        raise BadInput(
            f"--weights {weights}: lacks {head!r}, the classifier of torchvision's {name}; "
            f"give weights of {name} under torchvision's own names"
        )
    module = _build(name, len(state[head]), auxiliary=auxiliary)
    put_weights(module, state, f"--weights {weights}")
    return module


def random_network(name: str, request: SourceRequest) -> nn.Module:
    """torchvision's `name` with seeded random weights whose scores differ from image to image.

    As torchvision draws them, most networks give every image the same class. So a head of zeros is drawn anew,
    BatchNorm takes its statistics from calibration images, and the head is shifted and scaled so that every score has
    mean 0 and standard deviation 1 over them. LowbitError when images still cannot be told apart.
    """
    check_name(name)
    torch.manual_seed(request.seed)
    module = _build(name, request.outputs or IMAGENET_CLASSES, auxiliary=False).eval()
    check_module(module, request)
    if request.structure_only:
        return module
    _, head = _head(module)
    with torch.no_grad():
        batches = _batches(request)
        if not head.weight.any():
            nn.init.normal_(head.weight, std=head.weight[0].numel() ** -0.5)
        _measure_norms(module, batches)
        _standardize(module, head, batches)
        _check_varied(torch.cat([module(batch) for batch in batches]), request)
    return module


def check_name(name: str) -> None:
    """BadInput, with the nearest names, for a classifier that torchvision does not have."""
    models = _torchvision().models
    names = models.list_models(module=models)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
        near = f"did you mean {', '.join(close)}?" if close else f"it has {', '.join(names)}"
        raise BadInput(f"torchvision:{name}: torchvision has no classifier of this name; {near}")


def _torchvision() -> ModuleType:
    declare_torchvision_operators()
    return importlib.import_module("torchvision")


def _build(name: str, outputs: int, *, auxiliary: bool) -> nn.Module:
    extra: dict[str, Any] = {"aux_logits": auxiliary, "init_weights": False} if name in _WITH_AUXILIARY else {}
    module: nn.Module = _torchvision().models.get_model(name, weights=None, num_classes=outputs, **extra)
    return module


def _head(module: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Name and module of the classifier: in every network of torchvision the last one with a matrix in it."""
    return [(name, part) for name, part in module.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)][-1]


def _batches(request: SourceRequest) -> list[Tensor]:
    """Calibration images as the network gets them, in batches of nearly one size (BatchNorm cannot train on one)."""
    images = to_input(request.calibration.images[:SEEN], request.preprocess)
    return [torch.from_numpy(part) for part in np.array_split(images, -(-len(images) // _BATCH))]


def _measure_norms(module: nn.Module, batches: Iterable[Tensor]) -> None:
    """One pass in which BatchNorm layers, and only they, are in training mode: their statistics become the images'."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
        norm.train()
    if norms:
        for batch in batches:
            module(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def _standardize(module: nn.Module, head: nn.Linear | nn.Conv2d, batches: Iterable[Tensor]) -> None:
    """Scale and shift the head's outputs to mean 0 and standard deviation 1 each, over images and positions."""
    seen: list[Tensor] = []
    # cloned: SqueezeNet's ReLU, which comes next, works in place
    hook = head.register_forward_hook(lambda _head, _inputs, output: seen.append(output.clone()))
    for batch in batches:
        module(batch)
    hook.remove()
    scores = torch.cat(seen).double().transpose(0, 1).flatten(1)  # [outputs, N], before a pooling (N H W)
    mean, deviation = scores.mean(1), scores.std(1)
    scale = torch.where(deviation > 0, 1 / deviation, 1.0)
    bias = torch.zeros(len(mean)) if head.bias is None else head.bias
    head.bias = nn.Parameter(((bias - mean) * scale).float())
    head.weight.mul_(scale.float().reshape(-1, *[1] * (head.weight.ndim - 1)))


def _check_varied(scores: Tensor, request: SourceRequest) -> None:
    classes = len(set(scores.argmax(1).tolist()))
    if classes < 2 or not bool(scores.isfinite().all()):
        raise LowbitError(
            f"{request.spec}: with random weights all of {len(scores)} calibration images get one class, or "
            "scores that are not finite; nothing can be compared: give --weights, another --seed, or images that differ"
        )
