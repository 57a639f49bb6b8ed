"""Sliding windows of convolutions and poolings in TensorFlow's terms, and the way from one spatial axis to two."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import tensorflow as tf

from lowbit.core.errors import UnsupportedError
from lowbit.kerasgraph.builder import Builder
from lowbit.kerasgraph.values import ImportedOp, Tensor, channels_last
from lowbit.reference.windows import Windows, windows

Pairs = list[tuple[int, int]]


def windows_of(op: ImportedOp, x: Tensor, kernel: Sequence[int]) -> Windows:
    """The windows of a convolution or pooling over x [N, C, …]; all padding in numbers."""
    attributes = {name: list(value) if isinstance(value, tuple) else value for name, value in op.attributes.items()}
    attributes["auto_pad"] = str(attributes.get("auto_pad", "NOTSET")).encode()
    try:
        return windows(attributes, tuple(kernel), x.shape[2:])
    except UnsupportedError as error:
        raise op.unsupported(error.reason) from error


def padding(w: Windows) -> Pairs:
    """What lies around x, everything that a window touches: a pair (begin, end) for each spatial axis."""
    return [(begin, end + more) for begin, end, more in zip(w.before, w.after, w.beyond, strict=True)]


def is_same(w: Windows, sizes: Sequence[int]) -> bool:
    """Whether the padding is what TensorFlow calls SAME."""
    columns = zip(sizes, w.kernel, w.strides, w.dilations, strict=True)
    totals = [max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0) for size, k, s, d in columns]
    return padding(w) == [(total // 2, total - total // 2) for total in totals]


def around(pairs: Pairs) -> Pairs:
    """Padding of the spatial axes as padding of all axes of [N, C, …]."""
    return [(0, 0), (0, 0), *pairs]


def widened(b: Builder, x: Tensor) -> Tensor:
    """x [N, C, L] as [N, C, 1, L], kept as [N, 1, L, C]: TFLite's operators have two spatial axes."""
    n, c, length = x.shape
    return replace(x, value=b.reshaped(b.last(x), (n, 1, length, c)), axes=channels_last(4))


def narrowed(b: Builder, x: Tensor) -> Tensor:
    """[N, C, 1, L] as [N, C, L]."""
    n, c, _, length = x.shape
    return replace(x, value=b.reshaped(b.last(x), (n, length, c)), axes=channels_last(3))


def wide_windows(w: Windows) -> Windows:
    """Windows over one axis as windows over two, of which the first has the size 1."""
    return Windows((1, *w.kernel), (1, *w.strides), (1, *w.dilations), (0, *w.before), (0, *w.after), (0, *w.beyond))


def over_taps(
    b: Builder, x: Tensor, w: Windows, combine: Callable[[Any, Any], Any], each: Callable[[Any], Any] = lambda t: t
) -> Tensor:
    """A padded x [N, C, …], where `combine` takes together what a window holds, place by place of its kernel.

    It is written with slices, for windows that no operator of TFLite has: with gaps, or over three axes.
    """
    value = b.last(x)
    sizes = value.shape[1:-1]
    columns = zip(sizes, w.kernel, w.strides, w.dilations, strict=True)
    outputs = [(size - (k - 1) * d - 1) // s + 1 for size, k, s, d in columns]

    def run(t: Any) -> Any:
        t = each(t)
        total = None
        for place in product(*map(range, w.kernel)):
            index: list[Any] = [slice(None)]
            for at, d, s, n in zip(place, w.dilations, w.strides, outputs, strict=True):
                index.append(slice(at * d, at * d + (n - 1) * s + 1, s))
            part = t[tuple(index)]
            total = part if total is None else combine(total, part)
        return total

    return Tensor(b.call(run, value), channels_last(x.rank))


def added(total: Any, part: Any) -> Any:
    """Their sum."""
    return tf.add(total, part)
