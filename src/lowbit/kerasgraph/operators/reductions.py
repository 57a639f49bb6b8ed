"""Operators along axes: reductions, places of extremes, running sums, the k largest entries, Einsum, Det and DFT."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from lowbit.kerasgraph.builder import Builder, Handler, first
from lowbit.kerasgraph.values import ImportedOp, Tensor, Value

Reduce = Callable[[Any, list[int], bool], Any]  # tensor, its axes, whether they keep the size 1


def remaining(x: Tensor, gone: list[int]) -> tuple[int, ...]:
    """Where the axes of x lie once some of its ONNX axes are gone."""
    places = [x.axes[axis] for axis in gone]
    kept = [place for axis, place in enumerate(x.axes) if axis not in gone]
    return tuple(place - sum(other < place for other in places) for place in kept)


def _reduction(function: Reduce, alone: Callable[[Any], Any] = lambda t: t) -> Handler:
    """The rule for a reduction over the axes that an input or an attribute gives.

    Without axes, all are reduced; or none, where the attribute noop_with_empty_axes is set.

    - function: reduces the axes of a tensor, and keeps them with size 1 or removes them
    - alone: what each entry becomes where no axis is reduced
    """

    def handle(b: Builder, op: ImportedOp) -> Value:
        x, axes = op.tensor(0), op.ints(1, "axes")
        if not axes:
            if op.attribute("noop_with_empty_axes", 0):
                return b.each(alone, x)
            axes = list(range(x.rank))
        axes, keep = [axis % x.rank for axis in axes], bool(op.attribute("keepdims", 1))
        places = sorted(x.axes[axis] for axis in axes)
        kept = x.axes if keep else remaining(x, axes)
        if op.type == "ReduceMean" and x.rank == 4 and places == [1, 2]:
            return Tensor(b.layer(global_average(b, keep=keep), x.value), kept, nonnegative=x.nonnegative)
        return Tensor(b.call(lambda t: function(t, places, keep), x.value), kept)

    return handle


def global_average(b: Builder, *, keep: bool) -> Any:
    """The layer that averages the two inner axes of [N, H, W, C]."""
    return tf_keras.layers.GlobalAveragePooling2D(keepdims=keep, name=b.name())


def _log_sum_exp(t: Any, axes: list[int], keep: bool) -> Any:
    most = tf.reduce_max(t, axes, keepdims=True)
    total = tf.math.log(tf.reduce_sum(tf.exp(t - most), axes, keepdims=True)) + most
    return total if keep else tf.squeeze(total, axes)


def _extreme_place(function: Callable[..., Any]) -> Handler:
    """The rule for ArgMax or ArgMin: the index of the first extreme along an axis.

    With select_last_index it is the last one: the first of the reversed tensor.
    """

    def handle(b: Builder, op: ImportedOp) -> Value:
        x, keep = op.tensor(0), bool(op.attribute("keepdims", 1))
        axis = op.attribute("axis", 0) % x.rank
        place, last = x.axes[axis], bool(op.attribute("select_last_index", 0))
        size = x.shape[axis]

        def run(t: Any) -> Any:
            found = function(tf.reverse(t, [place]) if last else t, place, output_type=tf.int64)
            found = size - 1 - found if last else found
            return tf.expand_dims(found, place) if keep else found

        return Tensor(b.call(run, x.value), x.axes if keep else remaining(x, [axis]))

    return handle


def cumsum(b: Builder, op: ImportedOp) -> Value:
    """CumSum: running sums along one axis, from its beginning or its end, with or without the entry itself."""
    x, exclusive, reverse = op.tensor(0), bool(op.attribute("exclusive", 0)), bool(op.attribute("reverse", 0))
    place = x.axes[int(op.constant(1).reshape(-1)[0]) % x.rank]
    return b.each(lambda t: tf.cumsum(t, place, exclusive, reverse), x)


def top_k(b: Builder, op: ImportedOp) -> tuple[Value, ...]:
    """TopK: the k largest or smallest entries along an axis in order, and their indices.

    Of equal entries the one with the lower index comes first.
    """
    x, k = op.tensor(0), int(op.constant(1).reshape(-1)[0])
    axis, largest = op.attribute("axis", -1) % x.rank, bool(op.attribute("largest", 1))
    order = [*(i for i in range(x.rank) if i != axis), axis]
    back = [order.index(i) for i in range(x.rank)]

    def run(t: Any) -> Any:
        last = tf.transpose(t, order)
        values, places = tf.math.top_k(last if largest else -last, k)
        values = values if largest else -values
        return tf.transpose(values, back), tf.transpose(tf.cast(places, tf.int64), back)

    values, places = b.call(run, b.plain(x))
    return first(values), first(places)


def einsum(b: Builder, op: ImportedOp) -> Value:
    """Einsum: the sum of products that the attribute `equation` describes."""
    equation = str(op.attribute("equation", "")).replace(" ", "")
    return b.whole(lambda *tensors: tf.einsum(equation, *tensors), *op.inputs)


def determinant(b: Builder, op: ImportedOp) -> Value:
    """Det: the determinant of each matrix in the last two axes."""
    return b.whole(tf.linalg.det, op.tensor(0))


def dft(b: Builder, op: ImportedOp) -> Value:
    """DFT of x [..., 1] (real) or [..., 2] (complex) along one axis, as products with a constant matrix.

    The axis is an input since opset 20, and an attribute before. Raises UnsupportedError for a one-sided inverse.
    """
    x = op.tensor(0)
    default = -2 if op.opset >= 20 else 1
    axis = op.attribute("axis", default) if op.get(2) is None else int(op.constant(2).reshape(-1)[0])
    axis %= x.rank
    old = x.shape[axis]
    length = old if op.get(1) is None else int(op.constant(1).reshape(-1)[0])
    inverse, onesided = bool(op.attribute("inverse", 0)), bool(op.attribute("onesided", 0))
    if inverse and onesided:
        raise op.unsupported("an inverse transform of one side")
    wanted = length // 2 + 1 if onesided else length
    turns = np.outer(np.arange(min(old, length)), np.arange(wanted)) / length
    wave = np.exp((2j if inverse else -2j) * np.pi * turns) / (length if inverse else 1)
    real, used = x.shape[-1] == 1, min(old, length)
    order = [*(i for i in range(x.rank - 1) if i != axis), axis]  # without the last axis, which holds the parts
    back = [order.index(i) for i in range(x.rank - 1)]

    def run(t: Any, cos: Any, sin: Any) -> Any:
        parts = [tf.transpose(t[..., i], order)[..., :used] for i in range(1 if real else 2)]
        along, across = tf.matmul(parts[0], cos), tf.matmul(parts[0], sin)
        if not real:
            along, across = along - tf.matmul(parts[1], sin), across + tf.matmul(parts[1], cos)
        return tf.stack([tf.transpose(along, back), tf.transpose(across, back)], -1)

    return first(b.call(run, b.plain(x), wave.real.astype(np.float32), wave.imag.astype(np.float32)))


def _sum(t: Any, axes: list[int], keep: bool) -> Any:
    return tf.reduce_sum(t, axes, keepdims=keep)


OPERATORS: dict[str, Handler] = {
    "ReduceMean": _reduction(lambda t, axes, keep: tf.reduce_mean(t, axes, keepdims=keep)),
    "ReduceSum": _reduction(_sum),
    "ReduceMax": _reduction(lambda t, axes, keep: tf.reduce_max(t, axes, keepdims=keep)),
    "ReduceMin": _reduction(lambda t, axes, keep: tf.reduce_min(t, axes, keepdims=keep)),
    "ReduceProd": _reduction(lambda t, axes, keep: tf.reduce_prod(t, axes, keepdims=keep)),
    "ReduceL1": _reduction(lambda t, axes, keep: _sum(tf.abs(t), axes, keep), tf.abs),
    "ReduceL2": _reduction(lambda t, axes, keep: tf.sqrt(_sum(tf.square(t), axes, keep)), tf.abs),
    "ReduceSumSquare": _reduction(lambda t, axes, keep: _sum(tf.square(t), axes, keep), tf.square),
    "ReduceLogSum": _reduction(lambda t, axes, keep: tf.math.log(_sum(t, axes, keep)), tf.math.log),
    "ReduceLogSumExp": _reduction(_log_sum_exp),
    "ArgMax": _extreme_place(tf.argmax),
    "ArgMin": _extreme_place(tf.argmin),
    "CumSum": cumsum,
    "TopK": top_k,
    "Einsum": einsum,
    "Det": determinant,
    "DFT": dft,
}
