"""Operators over an image's height and width: pooling, resizing, depth to space."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import fx, nn
from torch.nn import functional

from lowbit.torchgraph.builder import Builder, Handler
from lowbit.torchgraph.padding import Window, pad, pad_or_defer, same_padding, window
from lowbit.torchgraph.values import ImportedOp, Value

_MAX_POOLS: dict[int, type[nn.Module]] = {3: nn.MaxPool1d, 4: nn.MaxPool2d, 5: nn.MaxPool3d}
_AVERAGE_POOLS: dict[int, type[nn.Module]] = {3: nn.AvgPool1d, 4: nn.AvgPool2d, 5: nn.AvgPool3d}
_GLOBAL_AVERAGE: dict[int, type[nn.Module]] = {
    3: nn.AdaptiveAvgPool1d,
    4: nn.AdaptiveAvgPool2d,
    5: nn.AdaptiveAvgPool3d,
}


def max_pool(b: Builder, op: ImportedOp) -> Value:
    """MaxPool; uneven padding is put before it with -∞."""
    x = op.tensor(0)
    w = window(b, op, x, op.attribute("kernel_shape", []))
    x, padding = pad_or_defer(b, x, w.pads, value=-math.inf)
    layer = _MAX_POOLS[b.rank(x)](
        w.kernel, w.strides, padding, w.dilations, ceil_mode=bool(op.attribute("ceil_mode", 0))
    )
    return b.layer(layer, x)


def average_pool(b: Builder, op: ImportedOp) -> Value:
    """AveragePool. What counts into the mean at the border is ONNX's count_include_pad.

    torch's own layer stands where litert-torch has an operator for it; elsewhere x is padded by zeros, and the mean is
    divided by the share of each window that counts.
    """
    x = op.tensor(0)
    w = window(b, op, x, op.attribute("kernel_shape", []))
    if any(dilation != 1 for dilation in w.dilations):
        raise op.unsupported("torch averages no dilated window")
    ceil, include = bool(op.attribute("ceil_mode", 0)), bool(op.attribute("count_include_pad", 0))
    pool, sizes = _AVERAGE_POOLS[b.rank(x)], b.fixed_shape(x, 2)
    axes = zip(sizes, w.kernel, w.strides, w.pads, strict=True)
    over = [_over(size, kernel, stride, pads, ceil=ceil) for size, kernel, stride, pads in axes]
    ends = [(begin, end + more) for (begin, end), more in zip(w.pads, over, strict=True)]
    begins = [begin for begin, _ in w.pads]
    if w.even and (include or not any(map(any, ends))):
        return b.layer(pool(w.kernel, w.strides, begins, ceil, include), x)
    if b.rank(x) == 4 and not include and (w.even or not any(begins)) and _is_same(sizes, w, ends):
        return b.layer(pool(w.kernel, w.strides, begins, ceil or not w.even, include), x)
    layer = pool(w.kernel, w.strides)
    counted = _padded(torch.ones(1, 1, *sizes), w.pads, float(include))
    share = layer(_padded(counted, [(0, more) for more in over], 0.0))
    y = b.layer(layer, pad(b, x, ends))
    return y if bool((share == 1).all()) else b.call(torch.div, y, b.buffer("share", share.numpy()))


def _over(size: int, kernel: int, stride: int, pads: tuple[int, int], *, ceil: bool) -> int:
    """By how much the last window hangs over one padded axis, where the output's size is rounded up."""
    free = size + sum(pads) - kernel
    last = -(-free // stride) * stride if ceil else free // stride * stride
    if last >= size + pads[0]:  # a window begins inside x or in the padding before it
        last -= stride
    return max(0, last - free)


def _is_same(sizes: Sequence[int], w: Window, ends: Sequence[tuple[int, int]]) -> bool:
    """Whether zeros at `ends` are what LiteRT calls SAME: it leaves them out of the mean."""
    axes = zip(sizes, w.kernel, w.strides, ends, strict=True)
    return all(same_padding(size, kernel, stride, 1, upper=True) == pair for size, kernel, stride, pair in axes)


def _padded(x: torch.Tensor, pads: Sequence[tuple[int, int]], value: float) -> torch.Tensor:
    return functional.pad(x, [amount for pair in reversed(pads) for amount in pair], value=value)


def global_average_pool(b: Builder, op: ImportedOp) -> Value:
    """GlobalAveragePool."""
    return b.layer(_GLOBAL_AVERAGE[b.rank(op.tensor(0))](1), op.tensor(0))


def global_max_pool(b: Builder, op: ImportedOp) -> Value:
    """GlobalMaxPool; litert-torch knows no adaptive pooling of maxima."""
    x = op.tensor(0)
    return b.call(torch.amax, x, tuple(range(2, b.rank(x))), keepdim=True)


def resize(b: Builder, op: ImportedOp) -> Value:
    """Resize to fixed sizes: nearest of every kind by picking, linear and cubic where torch's interpolate agrees."""
    x = op.tensor(0)
    shape = b.fixed_shape(x, 1)
    sizes, scales = _target(b, op, x)
    if sizes[0] != shape[0]:
        raise op.unsupported("the channels are resized")
    mode = op.attribute("mode", "nearest")
    placing = op.attribute("coordinate_transformation_mode", "half_pixel")
    if op.attribute("antialias", 0) or placing == "tf_crop_and_resize":
        raise op.unsupported("antialias or a crop")
    if mode == "nearest":
        for axis, (old, new, scale) in enumerate(zip(shape, sizes, scales, strict=True), start=1):
            if old != new:
                indices = _nearest(old, new, scale, placing, op.attribute("nearest_mode", "round_prefer_floor"))
                x = b.call(torch.index_select, x, axis, b.buffer(f"indices{axis}", indices))
        return x
    if placing not in ("half_pixel", "pytorch_half_pixel", "align_corners") or len(shape) != 3:
        raise op.unsupported(f"mode {mode} with {placing}")
    if mode == "cubic" and (op.attribute("cubic_coeff_a", -0.75) != -0.75 or op.attribute("exclude_outside", 0)):
        raise op.unsupported("a cubic with other coefficients than torch's")
    if not all(math.isclose(new / old, scale) for old, new, scale in zip(shape, sizes, scales, strict=True)):
        raise op.unsupported("scales that do not divide the size evenly")
    torch_mode = {"linear": "bilinear", "cubic": "bicubic"}[mode]
    align = placing == "align_corners"
    return b.call(functional.interpolate, x, size=sizes[1:], mode=torch_mode, align_corners=align)


def _target(b: Builder, op: ImportedOp, x: fx.Node) -> tuple[list[int], list[float]]:
    """Sizes and scales of the axes behind the batch, from whichever of both the node states."""
    if op.attribute("axes", None) is not None or op.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise op.unsupported("axes or an aspect ratio policy")
    old = b.fixed_shape(x, 1)
    stated = op.get(3)
    if stated is not None:
        entries = op.sizes(3)[1:]
        if any(isinstance(entry, fx.Node) for entry in entries):
            raise op.unsupported("sizes that depend on the batch")
        return entries, [new / size for new, size in zip(entries, old, strict=True)]
    scales = list(op.constant(2).array.astype(np.float32))[1:]  # in single precision: 5 * 1.4 must be 7
    return [math.floor(np.float32(size) * scale) for size, scale in zip(old, scales, strict=True)], scales


def _nearest(old: int, new: int, scale: float, placing: str, rounding: str) -> npt.NDArray[np.int64]:
    """Which source index each target index takes, by the formulas of ONNX's Resize."""
    target = np.arange(new, dtype=np.float32)  # single precision, as runtimes do it: it decides what a half rounds to
    if placing == "asymmetric":
        source = target / np.float32(scale)
    elif placing == "align_corners":
        source = target * np.float32(old - 1) / np.float32(max(new - 1, 1))
    elif placing == "pytorch_half_pixel" and new == 1:
        source = np.zeros(1, np.float32)
    else:
        source = (target + np.float32(0.5)) / np.float32(scale) - np.float32(0.5)
    rounded = {
        "floor": np.floor(source),
        "ceil": np.ceil(source),
        "round_prefer_floor": np.ceil(source - 0.5),
        "round_prefer_ceil": np.floor(source + 0.5),
    }[rounding]
    indices: npt.NDArray[np.int64] = np.clip(rounded, 0, old - 1).astype(np.int64)
    return indices


def depth_to_space(b: Builder, op: ImportedOp) -> Value:
    """DepthToSpace: the block's offset is the channel's outer part (DCR) or its inner one (CRD, pixel shuffle)."""
    x, block = op.tensor(0), op.attribute("blocksize", 1)
    if op.attribute("mode", "DCR") == "CRD":
        return b.call(torch.pixel_shuffle, x, block)
    n, c, h, w = b.shape(x)
    x = b.call(torch.reshape, x, (n, block, block, c // block**2, h, w))
    x = b.call(torch.permute, x, (0, 3, 4, 1, 5, 2))
    return b.call(torch.reshape, x, (n, c // block**2, h * block, w * block))


def space_to_depth(b: Builder, op: ImportedOp) -> Value:
    """SpaceToDepth: the block's offset becomes the channel's outer part."""
    x, block = op.tensor(0), op.attribute("blocksize", 1)
    n, c, h, w = b.shape(x)
    x = b.call(torch.reshape, x, (n, c, h // block, block, w // block, block))
    x = b.call(torch.permute, x, (0, 3, 5, 1, 2, 4))
    return b.call(torch.reshape, x, (n, c * block**2, h // block, w // block))


OPERATORS: dict[str, Handler] = {
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "Resize": resize,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
}
