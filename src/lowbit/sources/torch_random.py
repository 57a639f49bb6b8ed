"""Random networks that tell images apart: as their makers draw them, most give every image the same class."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lowbit.core.errors import LowbitError
from lowbit.data.preprocess import to_input
from lowbit.sources._edge import SourceRequest
from lowbit.sources.torch_export import check_module

SEEN = 64  # calibration images a random network sees: ample for means and variances, bearable for a ViT on a CPU
_BATCH = 16

Head = nn.Linear | nn.Conv2d


def last_matrix(module: nn.Module) -> tuple[str, Head]:
    """Name and module of the last layer with a matrix, which is the classifier of nearly every network."""
    return [(name, part) for name, part in module.named_modules() if isinstance(part, Head)][-1]


def vary(module: nn.Module, head: Head, request: SourceRequest) -> nn.Module:
    """`module`, in evaluation mode, with random weights under which its scores differ from image to image.

    A head of zeros is drawn anew, BatchNorm takes its statistics from calibration images, and the head is shifted and
    scaled so that every score has mean 0 and standard deviation 1 over them. BadInput where the network cannot take
    the images, LowbitError when they still cannot be told apart.
    """
    check_module(module, request)
    if request.structure_only:
        return module
    with torch.no_grad():
        batches = _batches(request)
        if not head.weight.any():
            nn.init.normal_(head.weight, std=head.weight[0].numel() ** -0.5)
        _measure_norms(module, batches)
        _standardize(module, head, batches)
        _check_varied(torch.cat([module(batch) for batch in batches]), request)
    return module


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


def _standardize(module: nn.Module, head: Head, batches: Iterable[Tensor]) -> None:
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
