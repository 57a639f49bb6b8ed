"""Pooling over windows of the spatial axes: maxima, means and norms; and MaxUnpool, the way back from MaxPool."""

import math
import operator
from collections.abc import Sequence

import torch
from torch import fx, nn
from torch.nn import functional

from lowbit.torchgraph.builder import Builder, Handler
from lowbit.torchgraph.padding import Window, outputs, pad, pad_or_defer, same_padding, window
from lowbit.torchgraph.values import ImportedOp, Value

_MAX_POOLS: dict[int, type[nn.Module]] = {3: nn.MaxPool1d, 4: nn.MaxPool2d, 5: nn.MaxPool3d}
_AVERAGE_POOLS: dict[int, type[nn.Module]] = {3: nn.AvgPool1d, 4: nn.AvgPool2d, 5: nn.AvgPool3d}
_GLOBAL_AVERAGE: dict[int, type[nn.Module]] = {
    3: nn.AdaptiveAvgPool1d,
    4: nn.AdaptiveAvgPool2d,
    5: nn.AdaptiveAvgPool3d,
}
_CONVOLUTIONS = {3: functional.conv1d, 4: functional.conv2d, 5: functional.conv3d}


def max_pool(b: Builder, op: ImportedOp) -> Value | tuple[Value, ...]:
    """MaxPool. x is padded with −∞ before the layer where torch's layer cannot pad it.

    The second output is the place of each maximum, counted through the whole tensor x.
    """
    x = op.tensor(0)
    w = window(b, op, x, op.attribute("kernel_shape", []))
    ceil = bool(op.attribute("ceil_mode", 0))
    if op.n_outputs > 1:
        return _with_places(b, op, x, w, ceil=ceil)
    wanted = outputs(b.fixed_shape(x, 2), w, ceil=ceil)
    padded, padding = pad_or_defer(b, x, w.pads, value=-math.inf, most=[k // 2 for k in w.kernel])
    layer = _MAX_POOLS[b.rank(x)](w.kernel, w.strides, padding, w.dilations, ceil_mode=ceil)
    return _cropped(b, b.layer(layer, padded), wanted)


def _with_places(b: Builder, op: ImportedOp, x: fx.Node, w: Window, *, ceil: bool) -> tuple[Value, ...]:
    """MaxPool with both outputs: the maxima, and their places in the whole tensor."""
    if not w.even:
        raise op.unsupported("the places of its maxima with uneven padding")
    if op.attribute("storage_order", 0):
        raise op.unsupported("the places of its maxima in column-major order")
    padding = [begin for begin, _ in w.pads]
    layer = _MAX_POOLS[b.rank(x)](w.kernel, w.strides, padding, w.dilations, return_indices=True, ceil_mode=ceil)
    both = b.layer(layer, x)
    values, places = (b.call(operator.getitem, both, i) for i in range(2))
    return values, b.call(places_in_tensor, places, math.prod(b.fixed_shape(x, 2)))


def places_in_tensor(places: torch.Tensor, plane: int) -> torch.Tensor:
    """Places [N, C, …] counted through a plane, as torch gives them → counted through the whole tensor, as ONNX does.

    plane: number of entries of one image and channel.
    """
    n, c = places.shape[:2]
    first = torch.arange(n * c, device=places.device).reshape(n, c, *[1] * (places.ndim - 2)) * plane
    return places + first


def max_unpool(b: Builder, op: ImportedOp) -> Value:
    """MaxUnpool: zeros, and the entries of x at the places that a MaxPool gave."""
    x, places = op.tensor(0), op.tensor(1)
    if op.get(2) is not None:
        shape = op.sizes(2)[2:]
    else:
        w = window(b, op, x, op.attribute("kernel_shape", []))
        pairs = zip(b.fixed_shape(x, 2), w.kernel, w.strides, w.pads, strict=True)
        shape = [(size - 1) * stride + kernel - sum(pads) for size, kernel, stride, pads in pairs]
    if any(isinstance(size, fx.Node) for size in shape):
        raise op.unsupported("its output's size depends on the batch")
    return b.call(unpooled, x, places, tuple(shape))


def unpooled(x: torch.Tensor, places: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Zeros [N, C, *shape], and the entries of x [N, C, …] at `places`, which are counted through that whole tensor."""
    n, c = x.shape[:2]
    flat = x.new_zeros(n * c * math.prod(shape))
    return flat.scatter(0, places.reshape(-1), x.reshape(-1)).reshape(n, c, *shape)


def average_pool(b: Builder, op: ImportedOp) -> Value:
    """AveragePool; count_include_pad says whether padding counts as entries of a window.

    torch's own layer is used where litert-torch has an operator for it. Elsewhere x is padded with zeros, and torch's
    mean is divided by the share of the window's entries that count. With dilations, which torch's layer lacks, the sum
    of each window is divided by the number of entries that count.
    """
    x = op.tensor(0)
    w = window(b, op, x, op.attribute("kernel_shape", []))
    ceil, include = bool(op.attribute("ceil_mode", 0)), bool(op.attribute("count_include_pad", 0))
    sizes = b.fixed_shape(x, 2)
    if any(dilation != 1 for dilation in w.dilations):
        return _average_with_gaps(b, x, w, ceil=ceil, include=include)
    pool = _AVERAGE_POOLS[b.rank(x)]
    axes = zip(sizes, w.kernel, w.strides, w.pads, strict=True)
    over = [_over(size, kernel, stride, pads, ceil=ceil) for size, kernel, stride, pads in axes]
    ends = [(begin, end + more) for (begin, end), more in zip(w.pads, over, strict=True)]
    begins = [begin for begin, _ in w.pads]
    fits = all(2 * begin <= k for k, begin in zip(w.kernel, begins, strict=True))
    if w.even and fits and (include or not any(map(any, ends))):
        return b.layer(pool(w.kernel, w.strides, begins, ceil, include), x)
    # litert-torch 0.10 has an operator for SAME padding with strides of 1, and for what stands behind x only.
    converts = not any(begins) or (w.even and max(w.strides) == 1)
    if b.rank(x) == 4 and not include and converts and fits and _is_same(sizes, w, ends):
        return b.layer(pool(w.kernel, w.strides, begins, ceil or not w.even, include), x)
    layer = pool(w.kernel, w.strides)
    counted = _padded(torch.ones(1, 1, *sizes), w.pads, float(include))
    share = layer(_padded(counted, [(0, more) for more in over], 0.0))
    y = b.layer(layer, pad(b, x, ends))
    return y if bool((share == 1).all()) else b.call(torch.div, y, b.buffer("share", share.numpy()))


def _average_with_gaps(b: Builder, x: fx.Node, w: Window, *, ceil: bool, include: bool) -> Value:
    """AveragePool with dilations: the sum over each window, divided by the number of its entries that count."""
    sizes = b.fixed_shape(x, 2)
    ring = torch.constant_pad_nd(torch.ones(1, 1, *sizes), _flat(w), float(include))
    wanted = outputs(sizes, w, ceil=ceil)
    counts = sums(_reaching(ring, w, wanted), w.kernel, w.strides, w.dilations)
    return b.call(torch.div, _sums(b, x, w, wanted), b.buffer("counts", counts.numpy()))


def _over(size: int, kernel: int, stride: int, pads: tuple[int, int], *, ceil: bool) -> int:
    """How many entries the last window reaches beyond the padded axis, where the number of windows is rounded up."""
    free = size + sum(pads) - kernel
    last = -(-free // stride) * stride if ceil else free // stride * stride
    if last >= size + pads[0]:  # a window begins inside x or in the padding before it
        last -= stride
    return max(0, last - free)


def _is_same(sizes: Sequence[int], w: Window, ends: Sequence[tuple[int, int]]) -> bool:
    """Whether the zeros at `ends` are LiteRT's SAME padding, which does not count as entries of a window."""
    axes = zip(sizes, w.kernel, w.strides, ends, strict=True)
    return all(same_padding(size, kernel, stride, 1, upper=True) == pair for size, kernel, stride, pair in axes)


def _padded(x: torch.Tensor, pads: Sequence[tuple[int, int]], value: float) -> torch.Tensor:
    """x with its last axes padded with `value`, by a pair (begin, end) per axis."""
    return functional.pad(x, [amount for pair in reversed(pads) for amount in pair], value=value)


def _sums(b: Builder, x: fx.Node, w: Window, wanted: list[int]) -> fx.Node:
    """The sums over windows of x, padded with zeros: [N, C, *wanted]."""
    beyond = _beyond(b.fixed_shape(x, 2), w, wanted)
    pads = [(begin, end + more) for (begin, end), more in zip(w.pads, beyond, strict=True)]
    padded = pad(b, x, pads) if any(any(pair) for pair in pads) else x
    return b.call(sums, padded, w.kernel, w.strides, w.dilations)


def _flat(w: Window) -> list[int]:
    """The window's padding as torch's list of amounts, which starts with the last axis."""
    return [amount for pair in reversed(w.pads) for amount in pair]


def _beyond(sizes: list[int], w: Window, wanted: list[int]) -> list[int]:
    """How many entries the windows need behind each padded axis (ceil_mode); negative where entries are left over.

    wanted: number of windows per axis.
    """
    columns = zip(sizes, w.pads, w.kernel, w.dilations, w.strides, wanted, strict=True)
    return [(n - 1) * s + (k - 1) * d + 1 - size - sum(pads) for size, pads, k, d, s, n in columns]


def _reaching(padded: torch.Tensor, w: Window, wanted: list[int]) -> torch.Tensor:
    """`padded`, with zeros added or entries cut off behind it, so that it ends where the last windows end."""
    sizes = [size - sum(pads) for size, pads in zip(padded.shape[2:], w.pads, strict=True)]
    return functional.pad(padded, [a for more in reversed(_beyond(sizes, w, wanted)) for a in (0, more)])


def sums(
    x: torch.Tensor, kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]
) -> torch.Tensor:
    """The sums over windows of x [N, C, …], by a depthwise convolution whose weights are 1."""
    channels = x.shape[1]
    ones = x.new_ones(channels, 1, *kernel)
    y: torch.Tensor = _CONVOLUTIONS[x.ndim](x, ones, None, strides, 0, dilations, channels)
    return y


def _cropped(b: Builder, y: fx.Node, wanted: list[int]) -> fx.Node:
    """y, cut to the `wanted` sizes.

    ONNX has no windows that begin in the padding at the end; torch has them where x was padded before the layer.
    """
    for axis, (size, want) in enumerate(zip(b.fixed_shape(y, 2), wanted, strict=True), start=2):
        y = y if size == want else b.call(torch.narrow, y, axis, 0, want)
    return y


def lp_pool(b: Builder, op: ImportedOp) -> Value:
    """LpPool: the p-norm of each window."""
    x, p = op.tensor(0), op.attribute("p", 2)
    w = window(b, op, x, op.attribute("kernel_shape", []))
    wanted = outputs(b.fixed_shape(x, 2), w, ceil=bool(op.attribute("ceil_mode", 0)))
    powers = b.call(torch.pow, b.call(torch.abs, x), p)
    return b.call(torch.pow, _sums(b, powers, w, wanted), 1 / p)


def global_lp_pool(b: Builder, op: ImportedOp) -> Value:
    """GlobalLpPool: the p-norm over the spatial axes, which keep the size 1."""
    x = op.tensor(0)
    axes = list(range(2, b.rank(x)))
    return b.call(torch.linalg.vector_norm, x, op.attribute("p", 2), axes, True)


def global_average_pool(b: Builder, op: ImportedOp) -> Value:
    """GlobalAveragePool: the mean over the spatial axes, which keep the size 1."""
    return b.layer(_GLOBAL_AVERAGE[b.rank(op.tensor(0))](1), op.tensor(0))


def global_max_pool(b: Builder, op: ImportedOp) -> Value:
    """GlobalMaxPool: the maximum over the spatial axes, which keep the size 1.

    It is a reduction, since litert-torch does not convert torch's AdaptiveMaxPool layers.
    """
    x = op.tensor(0)
    return b.call(torch.amax, x, tuple(range(2, b.rank(x))), keepdim=True)


OPERATORS: dict[str, Handler] = {
    "MaxPool": max_pool,
    "MaxUnpool": max_unpool,
    "AveragePool": average_pool,
    "LpPool": lp_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "GlobalLpPool": global_lp_pool,
}
