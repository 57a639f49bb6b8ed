"""Normalizations: by running statistics, by the statistics of each image, by a norm."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from lowbit.kerasgraph.builder import Builder, Handler
from lowbit.kerasgraph.values import Array, ImportedOp, Tensor, Value, moved


def batch_norm(b: Builder, op: ImportedOp) -> Value:
    """BatchNormalization at inference: (x − mean) / √(variance + epsilon) · scale + bias, all per channel.

    Raises UnsupportedError in training mode.
    """
    if op.attribute("training_mode", 0):
        raise op.unsupported("it is in training mode")
    x = op.tensor(0)
    parameters = [op.constant(i) for i in range(1, 5)]
    layer = tf_keras.layers.BatchNormalization(
        axis=x.axes[1], epsilon=op.attribute("epsilon", 1e-5), momentum=op.attribute("momentum", 0.9), name=b.name()
    )
    return Tensor(b.layer(layer, x.value, weights=parameters), x.axes)


def _centred(t: Any, axes: Sequence[int]) -> tuple[Any, Any]:
    """t − mean and the variance, over `axes`, which keep the size 1 in the variance.

    The square is written as a product: LiteRT cannot run SQUARED_DIFFERENCE with 16 bits, and the converter makes one
    of tf.square and of tf.math.squared_difference.
    """
    centred = t - tf.reduce_mean(t, axes, keepdims=True)
    return centred, tf.reduce_mean(centred * centred, axes, keepdims=True)


def _normalized(t: Any, axes: Sequence[int], epsilon: float) -> Any:
    centred, variance = _centred(t, axes)
    return centred * tf.math.rsqrt(variance + epsilon)


def _scaled(scale: Array, bias: Array | None, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Scale and bias where a tensor with `axes` has its own; a bias that is absent is 0."""
    return moved(scale, axes), moved(np.zeros_like(scale) if bias is None else bias, axes)


def layer_norm(b: Builder, op: ImportedOp) -> Value | tuple[Value, ...]:
    """LayerNormalization over the axes from `axis` on.

    Where the node has more outputs, the mean and 1 / standard deviation follow the result.
    """
    x, epsilon = op.tensor(0), op.attribute("epsilon", 1e-5)
    axes = [x.axes[i] for i in range(op.attribute("axis", -1) % x.rank, x.rank)]
    scale, bias = _scaled(op.constant(1), op.optional_constant(2), x.axes)
    y = Tensor(b.call(lambda t, s, o: _normalized(t, axes, epsilon) * s + o, x.value, scale, bias), x.axes)
    if op.n_outputs == 1:
        return y
    mean = b.each(lambda t: tf.reduce_mean(t, axes, keepdims=True), x)
    return y, mean, b.each(lambda t: tf.math.rsqrt(_centred(t, axes)[1] + epsilon), x)


def rms_norm(b: Builder, op: ImportedOp) -> Value:
    """RMSNormalization (opset 23): x / √(mean of x² + epsilon) · scale, over the axes from `axis` on."""
    x, epsilon = op.tensor(0), op.attribute("epsilon", 1e-5)
    axes = [x.axes[i] for i in range(op.attribute("axis", -1) % x.rank, x.rank)]

    def run(t: Any, scale: Any) -> Any:
        return t * tf.math.rsqrt(tf.reduce_mean(tf.square(t), axes, keepdims=True) + epsilon) * scale

    return Tensor(b.call(run, x.value, moved(op.constant(1), x.axes)), x.axes)


def instance_norm(b: Builder, op: ImportedOp) -> Value:
    """InstanceNormalization: over the spatial axes of each image and channel; scale and bias are per channel."""
    x, epsilon = op.tensor(0), op.attribute("epsilon", 1e-5)
    axes, shape = list(x.axes[2:]), (-1, *[1] * (x.rank - 2))
    scale, bias = _scaled(op.constant(1).reshape(shape), op.constant(2).reshape(shape), x.axes)
    return Tensor(b.call(lambda t, s, o: _normalized(t, axes, epsilon) * s + o, x.value, scale, bias), x.axes)


def group_norm(b: Builder, op: ImportedOp) -> Value:
    """GroupNormalization: over the channels of a group and the spatial axes, for each image.

    Scale and bias are per channel since opset 21, and per group before.
    """
    x, scale, bias = op.tensor(0), op.constant(1), op.constant(2)
    groups, epsilon, shape = op.attribute("num_groups", 1), op.attribute("epsilon", 1e-5), x.shape
    if op.opset < 21:
        scale, bias = (np.repeat(each, shape[1] // groups) for each in (scale, bias))
    value = b.last(x)
    last = tuple(value.shape)

    def run(t: Any, s: Any, o: Any) -> Any:
        apart = tf.reshape(t, (last[0], -1, groups, last[-1] // groups))
        return tf.reshape(_normalized(apart, (1, 3), epsilon), last) * s + o

    return Tensor(b.call(run, value, scale, bias), (0, x.rank - 1, *range(1, x.rank - 1)))


def local_response_norm(b: Builder, op: ImportedOp) -> Value:
    """LRN: x / (bias + alpha / size · sum of x² over `size` neighbouring channels) ** beta.

    An even size takes one channel more above than below.
    """
    x, size = op.tensor(0), op.attribute("size", 1)
    alpha, beta, bias = (op.attribute(k, d) for k, d in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    value = b.last(x)
    channels, rank = value.shape[-1], x.rank

    def run(t: Any) -> Any:
        around = [(0, 0)] * (rank - 1) + [((size - 1) // 2, size // 2)]
        squares = tf.pad(tf.square(t), around)
        total = tf.add_n([squares[..., i : i + channels] for i in range(size)])
        return t / tf.pow(total * (alpha / size) + bias, beta)

    return Tensor(b.call(run, value), (0, rank - 1, *range(1, rank - 1)))


def lp_normalization(b: Builder, op: ImportedOp) -> Value:
    """LpNormalization: x divided by its 1-norm or 2-norm along one axis; a norm of 0 leaves zeros."""
    x, p = op.tensor(0), op.attribute("p", 2)
    axis = x.axes[op.attribute("axis", -1) % x.rank]

    def run(t: Any) -> Any:
        if p == 1:
            norm = tf.reduce_sum(tf.abs(t), axis, keepdims=True)
        else:
            norm = tf.sqrt(tf.reduce_sum(tf.square(t), axis, keepdims=True))
        return t / tf.where(norm == 0, tf.ones_like(norm), norm)

    return b.each(run, x)


def mean_variance(b: Builder, op: ImportedOp) -> Value:
    """MeanVarianceNormalization: (x − mean) / (standard deviation + 1e-9), over `axes`.

    By default these are all axes but the channels, the batch included.
    """
    x = op.tensor(0)
    axes = [x.axes[axis] for axis in op.attribute("axes", [0, 2, 3])]

    def run(t: Any) -> Any:
        centred, variance = _centred(t, axes)
        return centred / (tf.sqrt(variance) + 1e-9)

    return b.each(run, x)


OPERATORS: dict[str, Handler] = {
    "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm,
    "RMSNormalization": rms_norm,
    "InstanceNormalization": instance_norm,
    "GroupNormalization": group_norm,
    "LRN": local_response_norm,
    "LpNormalization": lp_normalization,
    "MeanVarianceNormalization": mean_variance,
}
