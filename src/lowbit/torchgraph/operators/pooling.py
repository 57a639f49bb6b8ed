"""Pooling over an image's height and width: largest entries, means, norms, and the way back from a MaxPool."""

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
    """MaxPool; padding that torch's layer cannot do is put before it with -∞. Places count in the whole tensor."""
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
    """Places [N, C, …] within planes of `plane` entries → places in the whole tensor, as ONNX counts them."""
    n, c = places.shape[:2]
    first = torch.arange(n * c, device=places.device).reshape(n, c, *[1] * (places.ndim - 2)) * plane
    return places + first


def max_unpool(b: Builder, op: ImportedOp) -> Value:
    """MaxUnpool: entries go back to their places in a tensor of zeros."""
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
    """x and places [N, C, …] (in the whole result) → [N, C, *shape]."""
    n, c = x.shape[:2]
    flat = x.new_zeros(n * c * math.prod(shape))
    return flat.scatter(0, places.reshape(-1), x.reshape(-1)).reshape(n, c, *shape)


def average_pool(b: Builder, op: ImportedOp) -> Value:
    """AveragePool. What counts into the mean at the border is ONNX's count_include_pad.

    torch's own layer stands where litert-torch has an operator for it; elsewhere x is padded by zeros, and the mean is
    divided by the share of each window that counts; where windows have gaps, sums are divided by counts.
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
    if b.rank(x) == 4 and not include and (w.even or not any(begins)) and fits and _is_same(sizes, w, ends):
        return b.layer(pool(w.kernel, w.strides, begins, ceil or not w.even, include), x)
    layer = pool(w.kernel, w.strides)
    counted = _padded(torch.ones(1, 1, *sizes), w.pads, float(include))
    share = layer(_padded(counted, [(0, more) for more in over], 0.0))
    y = b.layer(layer, pad(b, x, ends))
    return y if bool((share == 1).all()) else b.call(torch.div, y, b.buffer("share", share.numpy()))


def _average_with_gaps(b: Builder, x: fx.Node, w: Window, *, ceil: bool, include: bool) -> Value:
    """Sums over windows of x, divided by how many entries of each window count."""
    sizes = b.fixed_shape(x, 2)
    ring = torch.constant_pad_nd(torch.ones(1, 1, *sizes), _flat(w), float(include))
    wanted = outputs(sizes, w, ceil=ceil)
    counts = sums(_reaching(ring, w, wanted), w.kernel, w.strides, w.dilations)
    return b.call(torch.div, _sums(b, x, w, wanted), b.buffer("counts", counts.numpy()))


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


def _sums(b: Builder, x: fx.Node, w: Window, wanted: list[int]) -> fx.Node:
    """The sums over windows of x that is padded with zeros: [N, C, *wanted]."""
    beyond = _beyond(b.fixed_shape(x, 2), w, wanted)
    pads = [(begin, end + more) for (begin, end), more in zip(w.pads, beyond, strict=True)]
    padded = pad(b, x, pads) if any(any(pair) for pair in pads) else x
    return b.call(sums, padded, w.kernel, w.strides, w.dilations)


def _flat(w: Window) -> list[int]:
    return [amount for pair in reversed(w.pads) for amount in pair]


def _beyond(sizes: list[int], w: Window, wanted: list[int]) -> list[int]:
    """What the windows need behind the padding (ceil_mode); negative where they leave something over."""
    columns = zip(sizes, w.pads, w.kernel, w.dilations, w.strides, wanted, strict=True)
    return [(n - 1) * s + (k - 1) * d + 1 - size - sum(pads) for size, pads, k, d, s, n in columns]


def _reaching(padded: torch.Tensor, w: Window, wanted: list[int]) -> torch.Tensor:
    """`padded` with zeros behind it (or cut), as far as the windows reach."""
    sizes = [size - sum(pads) for size, pads in zip(padded.shape[2:], w.pads, strict=True)]
    return functional.pad(padded, [a for more in reversed(_beyond(sizes, w, wanted)) for a in (0, more)])


def sums(
    x: torch.Tensor, kernel: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]
) -> torch.Tensor:
    """Sums over windows of x [N, C, …], as a depthwise convolution."""
    channels = x.shape[1]
    ones = x.new_ones(channels, 1, *kernel)
    y: torch.Tensor = _CONVOLUTIONS[x.ndim](x, ones, None, strides, 0, dilations, channels)
    return y


def _cropped(b: Builder, y: fx.Node, wanted: list[int]) -> fx.Node:
    """ONNX leaves out windows that begin in the padding behind x; torch does not see padding that stands before it."""
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
    """GlobalLpPool: the p-norm of each plane."""
    x = op.tensor(0)
    axes = list(range(2, b.rank(x)))
    return b.call(torch.linalg.vector_norm, x, op.attribute("p", 2), axes, True)


def global_average_pool(b: Builder, op: ImportedOp) -> Value:
    """GlobalAveragePool."""
    return b.layer(_GLOBAL_AVERAGE[b.rank(op.tensor(0))](1), op.tensor(0))


def global_max_pool(b: Builder, op: ImportedOp) -> Value:
    """GlobalMaxPool; litert-torch knows no adaptive pooling of maxima."""
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
