"""Columns: the vectors that a layer multiplies its weights with. A convolution multiplies patches of its input."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Doubles = npt.NDArray[np.float64]

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)


def groups_of(layer: Any) -> int:
    """Number of separate problems: a grouped convolution is one a group."""
    return int(getattr(layer, "groups", 1))


def to_matrix(layer: Any, weight: Doubles) -> Doubles:
    """The layer's weight as [G, O, K]: G groups, O outputs and K inputs of each. Gemm [O, K], Conv [O, I/G, …],
    ConvTranspose [I, O/G, …]."""
    groups = groups_of(layer)
    if isinstance(layer, _TRANSPOSED):
        by_group = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
        return by_group.transpose(0, 2, 1, 3).reshape(groups, weight.shape[1], -1)
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def from_matrix(layer: Any, matrix: npt.NDArray[np.generic], shape: tuple[int, ...]) -> npt.NDArray[np.generic]:
    """The inverse of `to_matrix`, for a weight of `shape`."""
    if isinstance(layer, _TRANSPOSED):
        groups = groups_of(layer)
        by_group = matrix.reshape(groups, shape[1], shape[0] // groups, math.prod(shape[2:]))
        return by_group.transpose(0, 2, 1, 3).reshape(shape)
    return matrix.reshape(shape)


def places_of(layer: Any, x: torch.Tensor) -> int:
    """How many columns one sample gives: output positions of a convolution; a Gemm's rows are samples of their own."""
    if not isinstance(layer, _CONVOLUTIONS + _TRANSPOSED):
        return 1
    return math.prod(_output_sizes(layer, x))


def columns(layer: Any, x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """[P', G, K] of x [N, …]: for each sample the output positions `places` [N, P] (of a Gemm [1, P]: rows of x)."""
    if not isinstance(layer, _CONVOLUTIONS + _TRANSPOSED):
        return x[places[0]][:, None]
    n, channels = x.shape[:2]
    inside = torch.ones((*places.shape, 1), dtype=torch.bool)  # [N, P, taps]
    index = torch.arange(n)[:, None, None] * math.prod(x.shape[2:])  # of a pixel, over all samples
    rest = places
    for axis, size in reversed(list(enumerate(_output_sizes(layer, x)))):
        at, reads = _read_along(layer, axis, rest % size)
        rest = rest // size
        reads &= (at >= 0) & (at < x.shape[2 + axis])
        step = math.prod(x.shape[3 + axis :])
        index = (index[..., None, :] + (at * step)[..., None]).flatten(2)  # taps of later axes vary fastest
        inside = (inside[..., None, :] & reads[..., None]).flatten(2)
    pixels = x.movedim(1, -1).reshape(-1, channels)  # no copy where the channels of a pixel lie side by side
    taken = pixels.index_select(0, index.where(inside, 0).flatten())
    taken[~inside.flatten()] = 0
    taps, groups = index.shape[2], groups_of(layer)
    by_channel = taken.reshape(-1, taps, channels).transpose(1, 2)
    return by_channel.reshape(-1, groups, channels // groups * taps)


def _read_along(layer: Any, axis: int, out: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which places of x the taps of a kernel read along an axis for the output places `out` [N, P]: [N, P, taps].

    Beside them, which taps read at all: those of a transposed convolution with strides meet only some places.
    """
    stride, padding = layer.stride[axis], layer.padding[axis]
    taps = torch.arange(layer.kernel_size[axis]) * layer.dilation[axis]
    if isinstance(layer, _TRANSPOSED):
        at = out[..., None] + padding - taps
        return at // stride, at % stride == 0
    at = out[..., None] * stride - padding + taps
    return at, torch.ones_like(at, dtype=torch.bool)


def _output_sizes(layer: Any, x: torch.Tensor) -> list[int]:
    sizes = []
    for axis, size in enumerate(x.shape[2:]):
        reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
        if isinstance(layer, _TRANSPOSED):
            whole = (size - 1) * layer.stride[axis] + reach + 1 + layer.output_padding[axis]
            sizes.append(whole - 2 * layer.padding[axis])
        else:
            sizes.append((size + 2 * layer.padding[axis] - reach - 1) // layer.stride[axis] + 1)
    return sizes
