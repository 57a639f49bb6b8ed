"""Operators that read or write entries at given indices: Gather, Scatter and OneHot.

Indices of several axes become one index into the flattened tensor; what is written is summed up by segments, since
TFLite has operators for both.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lowbit.kerasgraph.builder import Builder, Handler, first
from lowbit.kerasgraph.operators.reductions import remaining
from lowbit.kerasgraph.operators.shapes import picked
from lowbit.kerasgraph.values import Constant, ImportedOp, Tensor, Value


def gather(b: Builder, op: ImportedOp) -> Value:
    """Gather: the entries of x at `indices` along one axis.

    The axes of `indices` take the place of that axis, so that an index of rank 0 removes it.
    """
    x, indices = op.given(0), op.given(1)
    if isinstance(x, Tensor) and isinstance(indices, Constant):
        axis = op.attribute("axis", 0) % x.rank
        places = indices.array % x.shape[axis]
        if places.ndim == 0:
            index = [slice(None)] * x.rank
            at: list[Any] = list(index)
            at[x.axes[axis]] = int(places)
            chosen = tuple(at)
            return Tensor(b.call(lambda t: t[chosen], x.value), remaining(x, [axis]), nonnegative=x.nonnegative)
        if places.ndim == 1:
            return picked(b, x, x.axes[axis], places)
    shape = x.shape if isinstance(x, Tensor) else x.array.shape
    axis = op.attribute("axis", 0) % len(shape)
    return b.whole(lambda t, i: tf.gather(t, _wrapped(i, shape[axis]), axis=axis), x, indices)


def _wrapped(indices: Any, size: int) -> Any:
    """Indices as int32, where negative ones count from the end."""
    indices = tf.cast(indices, tf.int32)
    return tf.where(indices < 0, indices + size, indices)


def _strides(shape: Sequence[int]) -> list[int]:
    """How many entries lie between neighbours along each axis."""
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _along(indices: Any, shape: Sequence[int], axis: int) -> Any:
    """Indices along one axis of `shape`, one for each entry, as indices into the flattened tensor."""
    sizes, strides = tuple(int(size) for size in indices.shape), _strides(shape)
    others = np.zeros([1] * len(sizes), np.int32)
    for other, size in enumerate(sizes):
        if other != axis:
            line = np.arange(size, dtype=np.int32) * strides[other]
            others = others + line.reshape([-1 if i == other else 1 for i in range(len(sizes))])
    return _wrapped(indices, shape[axis]) * strides[axis] + tf.constant(others)


def _of_shape(value: Value) -> tuple[int, ...]:
    return value.shape if isinstance(value, Tensor) else value.array.shape


def gather_elements(b: Builder, op: ImportedOp) -> Value:
    """GatherElements: for each entry of `indices`, which have x's rank, the entry of x there along one axis."""
    x = op.given(0)
    shape = _of_shape(x)
    axis = op.attribute("axis", 0) % len(shape)

    def run(t: Any, indices: Any) -> Any:
        return tf.gather(tf.reshape(t, (-1,)), _along(indices, shape, axis))

    return b.whole(run, x, op.given(1))


def _rows(indices: Any, shape: Sequence[int], batch: int) -> Any:
    """Indices [..., k] of the k axes of `shape` behind the first `batch` ones, as indices into these axes as one."""
    k = int(indices.shape[-1])
    strides = _strides(shape[: batch + k])
    total = sum(_wrapped(indices[..., i], shape[batch + i]) * strides[batch + i] for i in range(k))
    for axis in range(batch):
        line = np.arange(shape[axis], dtype=np.int32) * strides[axis]
        total = total + line.reshape([-1 if i == axis else 1 for i in range(len(indices.shape) - 1)])
    return total


def gather_nd(b: Builder, op: ImportedOp) -> Value:
    """GatherND: the slices of x at `indices` [..., k], which count along the k axes behind the first `batch_dims`."""
    x, indices, batch = op.given(0), op.given(1), op.attribute("batch_dims", 0)
    shape = _of_shape(x)
    depth = batch + _of_shape(indices)[-1]

    def run(t: Any, i: Any) -> Any:
        return tf.gather(tf.reshape(t, (-1, *shape[depth:])), _rows(i, shape, batch))

    return b.whole(run, x, indices)


def _put(t: Any, rows: Any, updates: Any, how: str) -> Any:
    """t [R, …] with updates [n, …] at its rows [n]: written, added, multiplied, or the larger or smaller one stays.

    Of several that are written to one row, the last one stays.
    """
    count = int(t.shape[0])
    if how == "add":
        return t + tf.math.unsorted_segment_sum(updates, rows, count)
    if how == "mul":
        return t * tf.math.unsorted_segment_prod(updates, rows, count)
    if how == "max":
        return tf.maximum(t, tf.math.unsorted_segment_max(updates, rows, count))
    if how == "min":
        return tf.minimum(t, tf.math.unsorted_segment_min(updates, rows, count))
    last = tf.math.unsorted_segment_max(np.arange(int(rows.shape[0]), dtype=np.int32) + 1, rows, count)
    written = tf.gather(updates, tf.maximum(last, 1) - 1)
    return tf.where(tf.reshape(last > 0, (count, *[1] * (len(t.shape) - 1))), written, t)


def scatter_elements(b: Builder, op: ImportedOp) -> Value:
    """ScatterElements: x with `updates` written at indices along one axis, or combined with what is there."""
    x, how = op.given(0), op.attribute("reduction", "none")
    shape = _of_shape(x)
    axis = op.attribute("axis", 0) % len(shape)

    def run(t: Any, indices: Any, updates: Any) -> Any:
        rows = tf.reshape(_along(indices, shape, axis), (-1,))
        return tf.reshape(_put(tf.reshape(t, (-1,)), rows, tf.reshape(updates, (-1,)), how), shape)

    return b.whole(run, x, op.given(1), op.given(2))


def scatter_nd(b: Builder, op: ImportedOp) -> Value:
    """ScatterND: x with slices `updates` at indices [..., k] of its first k axes, written or combined."""
    x, indices, how = op.given(0), op.given(1), op.attribute("reduction", "none")
    shape, k = _of_shape(x), _of_shape(indices)[-1]
    flat = (math.prod(shape[:k]), math.prod(shape[k:]))

    def run(t: Any, i: Any, updates: Any) -> Any:
        rows = tf.reshape(_rows(i, shape, 0), (-1,))
        return tf.reshape(_put(tf.reshape(t, flat), rows, tf.reshape(updates, (-1, flat[1])), how), shape)

    return b.whole(run, x, indices, op.given(2))


def one_hot(b: Builder, op: ImportedOp) -> Value:
    """OneHot: a new axis of constant depth, with `on` at each index and `off` elsewhere; `values` is [off, on].

    Negative indices count from the end of the new axis.
    """
    indices, depth = op.tensor(0), int(op.constant(1).reshape(-1)[0])
    off, on = op.constant(2)
    axis = op.attribute("axis", -1) % (indices.rank + 1)
    classes = np.arange(depth, dtype=np.int32).reshape([-1 if i == axis else 1 for i in range(indices.rank + 1)])

    def run(t: Any) -> Any:
        hits = tf.equal(tf.expand_dims(_wrapped(t, depth), axis), classes)
        return tf.where(hits, tf.constant(on), tf.constant(off))

    return first(b.call(run, b.plain(indices)))


OPERATORS: dict[str, Handler] = {
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "OneHot": one_hot,
}
