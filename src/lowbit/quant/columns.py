"""Columns: the vectors that a layer multiplies its weights with. A convolution multiplies patches of its input."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

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
    """[G, K, P'] of x [N, …]: for each sample the output positions `places` [N, P] (of a Gemm [1, P]: rows of x)."""
    if not isinstance(layer, _CONVOLUTIONS + _TRANSPOSED):
        return x[places[0]].T[None]
    window = _Window.of(layer, x)
    n, channels = window.x.shape[:2]
    index = torch.zeros((*places.shape, 1), dtype=torch.int64)
    rest = places
    for axis in reversed(range(len(window.outputs))):
        at = rest % window.outputs[axis] * window.strides[axis]
        rest = rest // window.outputs[axis]
        step = math.prod(window.x.shape[2 + axis + 1 :])
        index = index + (at * step)[..., None]
    index = (index + window.offsets).reshape(n, 1, -1)  # [N, 1, P·taps]
    taken = window.x.reshape(n, channels, -1).gather(2, index.expand(n, channels, -1))
    taps = window.offsets.numel()
    by_channel = taken.reshape(n, channels, -1, taps).permute(1, 3, 0, 2)  # [C, taps, N, P]
    groups = groups_of(layer)
    return by_channel.reshape(groups, channels // groups * taps, -1)


class _Window:
    """A convolution's input as it slides over it: padded x, and where the taps of a window lie from its first one."""

    def __init__(self, x: torch.Tensor, offsets: torch.Tensor, strides: list[int], outputs: list[int]) -> None:
        self.x, self.offsets, self.strides, self.outputs = x, offsets, strides, outputs

    @classmethod
    def of(cls, layer: Any, x: torch.Tensor) -> "_Window":
        outputs = _output_sizes(layer, x)
        kernel, dilation = list(layer.kernel_size), list(layer.dilation)
        if isinstance(layer, _TRANSPOSED):
            x = _stuffed(layer, x, outputs)
            strides = [1] * len(kernel)
        else:
            x = functional.pad(x, [amount for side in reversed(list(layer.padding)) for amount in (side, side)])
            strides = list(layer.stride)
        offsets = torch.zeros(1, dtype=torch.int64)
        for axis, taps in enumerate(kernel):
            step = math.prod(x.shape[2 + axis + 1 :]) * dilation[axis]
            along = torch.arange(taps)
            if isinstance(layer, _TRANSPOSED):
                along = taps - 1 - along  # the kernel is turned round
            offsets = (offsets[:, None] + along * step).reshape(-1)
        return cls(x, offsets, strides, outputs)


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


def _stuffed(layer: Any, x: torch.Tensor, outputs: list[int]) -> torch.Tensor:
    """x with zeros between its entries and around them, so that a transposed convolution slides over it by ones."""
    sizes = [out + d * (k - 1) for out, d, k in zip(outputs, layer.dilation, layer.kernel_size, strict=True)]
    stuffed = x.new_zeros((*x.shape[:2], *sizes))
    sources, targets = [slice(None)] * 2, [slice(None)] * 2
    for axis, size in enumerate(x.shape[2:]):
        first = layer.dilation[axis] * (layer.kernel_size[axis] - 1) - layer.padding[axis]
        stride = layer.stride[axis]
        kept = [i for i in range(size) if 0 <= first + i * stride < sizes[axis]]
        sources.append(slice(kept[0], kept[-1] + 1))
        begin = first + kept[0] * stride
        targets.append(slice(begin, begin + (len(kept) - 1) * stride + 1, stride))
    stuffed[tuple(targets)] = x[tuple(sources)]
    return stuffed
