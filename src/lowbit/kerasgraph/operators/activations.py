"""Activation functions. Where Keras has a layer for one it is used, so that it can be fused and quantized.

What is written as arithmetic uses what TFLite has operators for.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from lowbit.kerasgraph.builder import Builder, Handler
from lowbit.kerasgraph.values import Constant, ImportedOp, Tensor, Value

_SELU_ALPHA, _SELU_GAMMA = 1.6732632423543772, 1.0507009873554805


def function(of: Callable[[Any], Any], *, nonnegative: bool = False) -> Handler:
    """The rule for an operator without attributes that is a function of each entry."""
    return lambda b, op: b.each(of, op.tensor(0), nonnegative=nonnegative)


def relu(b: Builder, op: ImportedOp) -> Value:
    """Relu: 0 below 0."""
    return _limited(b, op.tensor(0), None)


def _limited(b: Builder, x: Tensor, most: float | None) -> Tensor:
    """x between 0 and `most`."""
    if not x.is_float:
        return b.each(lambda t: tf.maximum(t, tf.zeros_like(t)), x, nonnegative=True)
    layer = tf_keras.layers.ReLU(max_value=most, name=b.name())
    return Tensor(b.layer(layer, x.value), x.axes, nonnegative=True)


def clip(b: Builder, op: ImportedOp) -> Value:
    """Clip: entries below `min` become min, entries above `max` become max; each limit may be absent, or be computed.

    Constant limits of 0 and 6 make a ReLU6; 0 without an upper limit, with infinity or with float32's largest number
    makes a ReLU.
    """
    x = op.tensor(0)
    limits = [op.get(1), op.get(2)]
    if any(limit is not None and not isinstance(limit, Constant) for limit in limits) or not x.is_float:
        for limit, of in zip(limits, (tf.maximum, tf.minimum), strict=True):
            x = x if limit is None else b.pairs(of, x, limit)
        return x
    low, high = op.scalar(1, "min", None), op.scalar(2, "max", None)
    infinite = high in (None, math.inf, float(np.finfo(np.float32).max))
    if low == 0 and (infinite or high == 6):
        return _limited(b, x, None if infinite else 6.0)
    if low is not None:
        x = b.each(lambda t: tf.maximum(t, np.float32(low)), x, nonnegative=low >= 0)
    return x if high is None else b.each(lambda t: tf.minimum(t, np.float32(high)), x, nonnegative=x.nonnegative)


def leaky_relu(b: Builder, op: ImportedOp) -> Value:
    """LeakyRelu: x where x ≥ 0, alpha · x below."""
    alpha = op.attribute("alpha", 0.01)
    return b.each(lambda t: tf.nn.leaky_relu(t, alpha), op.tensor(0))


def prelu(b: Builder, op: ImportedOp) -> Value:
    """PRelu: x where x ≥ 0, slope · x below."""
    return b.pairs(lambda t, s: tf.nn.relu(t) + s * tf.minimum(t, 0.0), op.tensor(0), op.get(1))


def elu(b: Builder, op: ImportedOp) -> Value:
    """Elu: x where x ≥ 0, alpha · (exp(x) − 1) below."""
    alpha = op.attribute("alpha", 1.0)
    if alpha == 1:
        return b.each(tf.nn.elu, op.tensor(0))
    return b.each(lambda t: _elu(t, alpha), op.tensor(0))


def _elu(t: Any, alpha: float) -> Any:
    return tf.nn.relu(t) + alpha * (tf.exp(tf.minimum(t, 0.0)) - 1.0)


def selu(b: Builder, op: ImportedOp) -> Value:
    """Selu: gamma · x where x > 0, gamma · alpha · (exp(x) − 1) below."""
    alpha, gamma = op.attribute("alpha", _SELU_ALPHA), op.attribute("gamma", _SELU_GAMMA)
    return b.each(lambda t: gamma * _elu(t, alpha), op.tensor(0))


def celu(b: Builder, op: ImportedOp) -> Value:
    """Celu: x where x ≥ 0, alpha · (exp(x / alpha) − 1) below."""
    alpha = op.attribute("alpha", 1.0)
    return b.each(lambda t: tf.nn.relu(t) + alpha * (tf.exp(tf.minimum(t, 0.0) * (1 / alpha)) - 1.0), op.tensor(0))


def thresholded_relu(b: Builder, op: ImportedOp) -> Value:
    """ThresholdedRelu: x where x > alpha, 0 elsewhere."""
    alpha = op.attribute("alpha", 1.0)
    return b.each(lambda t: tf.where(t > alpha, t, tf.zeros_like(t)), op.tensor(0))


def shrink(b: Builder, op: ImportedOp) -> Value:
    """Shrink: x − bias where x > lambd, x + bias where x < −lambd, 0 between the two."""
    lambd, bias = op.attribute("lambd", 0.5), op.attribute("bias", 0.0)

    def run(t: Any) -> Any:
        zeros = tf.zeros_like(t)
        return tf.where(t > lambd, t - bias, tf.where(t < -lambd, t + bias, zeros))

    return b.each(run, op.tensor(0))


def hardmax(b: Builder, op: ImportedOp) -> Value:
    """Hardmax: 1 at the first largest entry along an axis, 0 elsewhere."""
    x = op.tensor(0)
    axis = x.axes[op.attribute("axis", -1) % x.rank]
    count = x.value.shape[axis]
    return b.each(lambda t: tf.one_hot(tf.argmax(t, axis), count, axis=axis, dtype=t.dtype), x, nonnegative=True)


def hard_sigmoid(b: Builder, op: ImportedOp) -> Value:
    """HardSigmoid: max(0, min(1, alpha · x + beta)). With alpha 1/6 and beta 1/2 it is relu6(x + 3) / 6."""
    alpha, beta = op.attribute("alpha", 0.2), op.attribute("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return b.each(lambda t: tf.nn.relu6(t + 3.0) * (1 / 6), op.tensor(0), nonnegative=True)
    return b.each(lambda t: tf.minimum(tf.nn.relu(t * alpha + beta), 1.0), op.tensor(0), nonnegative=True)


def hard_swish(t: Any) -> Any:
    """x · relu6(x + 3) / 6, in the form that TFLite's converter knows."""
    return t * tf.nn.relu6(t + 3.0) * (1 / 6)


def softmax(b: Builder, op: ImportedOp) -> Value:
    """Softmax along one axis, as it is defined since opset 13."""
    x = op.tensor(0)
    axis = x.axes[op.attribute("axis", -1) % x.rank]
    if x.rank > 1 and axis == x.rank - 1:
        layer = tf_keras.layers.Softmax(axis=-1, name=b.name())
        return Tensor(b.layer(layer, x.value), x.axes, nonnegative=True)
    return b.each(lambda t: tf.nn.softmax(t, axis), x, nonnegative=True)


def log_softmax(b: Builder, op: ImportedOp) -> Value:
    """LogSoftmax along one axis, as it is defined since opset 13."""
    x = op.tensor(0)
    axis = x.axes[op.attribute("axis", -1) % x.rank]
    return b.each(lambda t: tf.nn.log_softmax(t, axis), x)


def gelu(b: Builder, op: ImportedOp) -> Value:
    """Gelu: x · Φ(x) with the normal distribution's Φ, computed exactly or approximated with tanh."""
    approximate = op.attribute("approximate", "none") == "tanh"
    return b.each(lambda t: tf.nn.gelu(t, approximate=approximate), op.tensor(0))


def swish(b: Builder, op: ImportedOp) -> Value:
    """Swish (opset 24): x · sigmoid(alpha · x)."""
    alpha = op.attribute("alpha", 1.0)
    return b.each(lambda t: t * tf.sigmoid(t if alpha == 1 else t * alpha), op.tensor(0))


def softplus(t: Any) -> Any:
    """log(1 + exp(x)) without overflow."""
    return tf.nn.relu(t) + tf.math.log(1.0 + tf.exp(-tf.abs(t)))


def mish(t: Any) -> Any:
    """x · tanh(softplus(x))."""
    return t * tf.tanh(softplus(t))


def softsign(t: Any) -> Any:
    """x / (1 + |x|)."""
    return t / (1.0 + tf.abs(t))


OPERATORS: dict[str, Handler] = {
    "Relu": relu,
    "Sigmoid": function(tf.sigmoid, nonnegative=True),
    "Tanh": function(tf.tanh),
    "HardSwish": function(hard_swish),
    "Mish": function(mish),
    "Softplus": function(softplus, nonnegative=True),
    "Softsign": function(softsign),
    "Selu": selu,
    "Celu": celu,
    "ThresholdedRelu": thresholded_relu,
    "Shrink": shrink,
    "Hardmax": hardmax,
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "Elu": elu,
    "Clip": clip,
    "HardSigmoid": hard_sigmoid,
    "Softmax": softmax,
    "LogSoftmax": log_softmax,
    "Gelu": gelu,
    "Swish": swish,
}
