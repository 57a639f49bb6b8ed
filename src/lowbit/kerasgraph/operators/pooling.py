"""Pooling over windows of the spatial axes: maxima, means and norms; and MaxUnpool, the way back from MaxPool."""

import math
from itertools import product
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from lowbit.kerasgraph.builder import Builder, Handler, first
from lowbit.kerasgraph.operators.reductions import global_average
from lowbit.kerasgraph.values import ImportedOp, Tensor, Value, channels_last
from lowbit.kerasgraph.windows import (
    added,
    around,
    is_same,
    narrowed,
    over_taps,
    padding,
    wide_windows,
    widened,
    windows_of,
)
from lowbit.reference.windows import Windows

_LOWEST = float(np.finfo(np.float32).min)


def max_pool(b: Builder, op: ImportedOp) -> Value | tuple[Value, ...]:
    """MaxPool. The second output is the place of each maximum, counted through the whole tensor x."""
    x = op.tensor(0)
    w = windows_of(op, x, op.attribute("kernel_shape", []))
    if op.n_outputs > 1:
        return _with_places(b, op, x, w)
    if x.rank == 3:
        return narrowed(b, _max(b, widened(b, x), wide_windows(w)))
    return _max(b, x, w)


def _max(b: Builder, x: Tensor, w: Windows) -> Tensor:
    """The maxima of windows. What is around x is never larger than what a window holds of x itself.

    It is 0 where x has nothing below 0, and otherwise x's own edge: a lowest number would spoil the ranges of
    quantization.
    """
    if x.rank != 4 or max(w.dilations) > 1:
        return over_taps(b, b.pad(x, around(padding(w)), _LOWEST), w, tf.maximum)
    same = is_same(w, x.shape[2:])
    if not same:
        x = b.pad(x, around(padding(w))) if x.nonnegative else _edged(b, x, padding(w))
    layer = tf_keras.layers.MaxPooling2D(w.kernel, w.strides, "same" if same else "valid", name=b.name())
    return Tensor(b.layer(layer, b.last(x)), channels_last(4), nonnegative=x.nonnegative)


def _edged(b: Builder, x: Tensor, pairs: list[tuple[int, int]]) -> Tensor:
    """x [N, C, H, W] with its outermost entries repeated around it."""

    def run(t: Any) -> Any:
        left = [(0, 0), *pairs, (0, 0)]
        while any(map(any, left)):  # a mirror of one entry repeats it
            t = tf.pad(t, [(min(begin, 1), min(end, 1)) for begin, end in left], "SYMMETRIC")
            left = [(max(begin - 1, 0), max(end - 1, 0)) for begin, end in left]
        return t

    return Tensor(b.call(run, b.last(x)), channels_last(4), nonnegative=x.nonnegative)


def _with_places(b: Builder, op: ImportedOp, x: Tensor, w: Windows) -> tuple[Value, ...]:
    """MaxPool with both outputs: the maxima, and their places in the whole tensor."""
    if op.attribute("storage_order", 0):
        raise op.unsupported("the places of its maxima in column-major order")
    n, c, *sizes = x.shape
    inner = np.arange(math.prod(sizes)).reshape(sizes)
    places = np.pad(inner, padding(w))  # padding never wins
    columns = zip(places.shape, w.kernel, w.strides, w.dilations, strict=True)
    outputs = [(size - (k - 1) * d - 1) // s + 1 for size, k, s, d in columns]
    taps = []
    for tap in product(*map(range, w.kernel)):
        index = tuple(
            slice(at * d, at * d + (count - 1) * s + 1, s)
            for at, d, s, count in zip(tap, w.dilations, w.strides, outputs, strict=True)
        )
        taps.append((index, places[index]))
    base = (np.arange(n * c) * math.prod(sizes)).reshape(n, c, *[1] * len(sizes))

    def run(t: Any) -> Any:
        t = tf.pad(t, around(padding(w)), constant_values=_LOWEST)
        best: Any = None
        where: Any = None
        for index, place in taps:
            part = t[(slice(None), slice(None), *index)]
            here = tf.broadcast_to(tf.constant(place, tf.int64), part.shape)
            if best is None:
                best, where = part, here
            else:
                better = part > best
                best, where = tf.where(better, part, best), tf.where(better, here, where)
        return best, where + base

    best, where = b.call(run, b.plain(x))
    return first(best), first(where)


def max_unpool(b: Builder, op: ImportedOp) -> Value:
    """MaxUnpool: zeros, and the entries of x at the places that a MaxPool gave."""
    x, places = op.tensor(0), op.tensor(1)
    if op.get(2) is not None:
        shape = [int(size) for size in op.constant(2)[2:]]
    else:
        kernel = op.attribute("kernel_shape", [])
        n = len(kernel)
        strides, pads = op.attribute("strides", [1] * n), op.attribute("pads", [0] * 2 * n)
        columns = zip(x.shape[2:], strides, kernel, pads[:n], pads[n:], strict=True)
        shape = [(size - 1) * stride + k - begin - end for size, stride, k, begin, end in columns]
    full = (*x.shape[:2], *shape)

    def run(t: Any, at: Any) -> Any:
        flat = tf.math.unsorted_segment_sum(tf.reshape(t, (-1,)), tf.reshape(at, (-1,)), math.prod(full))
        return tf.reshape(flat, full)

    return b.whole(run, x, places)


def average_pool(b: Builder, op: ImportedOp) -> Value:
    """AveragePool; count_include_pad says whether padding counts as entries of a window.

    Where TensorFlow's layer counts otherwise, x is padded with zeros, and its mean is multiplied by what share of the
    window counts.
    """
    x = op.tensor(0)
    w, include = windows_of(op, x, op.attribute("kernel_shape", [])), bool(op.attribute("count_include_pad", 0))
    if x.rank == 3:
        return narrowed(b, _average(b, widened(b, x), wide_windows(w), include=include))
    return _average(b, x, w, include=include)


def _average(b: Builder, x: Tensor, w: Windows, *, include: bool) -> Tensor:
    counts = w.counts(tuple(x.shape[2:]), with_padding=include)
    size = math.prod(w.kernel)
    if x.rank != 4 or max(w.dilations) > 1:
        total = over_taps(b, b.pad(x, around(padding(w))), w, added)
        return Tensor(b.call(tf.multiply, total.value, _for_images(1 / counts)), total.axes)
    same = is_same(w, x.shape[2:]) and not (include and any(map(any, padding(w))))
    if not same:
        x = b.pad(x, around(padding(w)))
    layer = tf_keras.layers.AveragePooling2D(w.kernel, w.strides, "same" if same else "valid", name=b.name())
    y = b.layer(layer, b.last(x))
    if not same and (counts != size).any():
        y = b.call(tf.multiply, y, _for_images(size / counts))
    return Tensor(y, channels_last(4), nonnegative=x.nonnegative)


def _for_images(factors: Any) -> Any:
    """Factors of the spatial axes, for [N, …, C]."""
    return factors.astype(np.float32)[None, ..., None]


def lp_pool(b: Builder, op: ImportedOp) -> Value:
    """LpPool: the p-norm of each window."""
    x, p = op.tensor(0), op.attribute("p", 2)
    w = windows_of(op, x, op.attribute("kernel_shape", []))
    total = over_taps(b, b.pad(x, around(padding(w))), w, added, lambda t: tf.pow(tf.abs(t), float(p)))
    return b.each(lambda t: tf.pow(t, 1 / p), total, nonnegative=True)


def global_lp_pool(b: Builder, op: ImportedOp) -> Value:
    """GlobalLpPool: the p-norm over the spatial axes, which keep the size 1."""
    x, p = op.tensor(0), op.attribute("p", 2)
    places = list(x.axes[2:])

    def run(t: Any) -> Any:
        return tf.pow(tf.reduce_sum(tf.pow(tf.abs(t), float(p)), places, keepdims=True), 1 / p)

    return b.each(run, x, nonnegative=True)


def global_average_pool(b: Builder, op: ImportedOp) -> Value:
    """GlobalAveragePool: the mean over the spatial axes, which keep the size 1."""
    x = op.tensor(0)
    if x.rank == 4:
        y = b.layer(global_average(b, keep=True), b.last(x))
        return Tensor(y, channels_last(4), nonnegative=x.nonnegative)
    return b.each(lambda t: tf.reduce_mean(t, list(x.axes[2:]), keepdims=True), x)


def global_max_pool(b: Builder, op: ImportedOp) -> Value:
    """GlobalMaxPool: the maximum over the spatial axes, which keep the size 1."""
    x = op.tensor(0)
    return b.each(lambda t: tf.reduce_max(t, list(x.axes[2:]), keepdims=True), x, nonnegative=x.nonnegative)


OPERATORS: dict[str, Handler] = {
    "MaxPool": max_pool,
    "MaxUnpool": max_unpool,
    "AveragePool": average_pool,
    "LpPool": lp_pool,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "GlobalLpPool": global_lp_pool,
}
