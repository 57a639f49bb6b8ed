"""Elementwise operators: arithmetic, functions, comparisons, logic, bits, and casts.

Functions that TFLite has no operator for are written with those it has.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import tensorflow as tf
import tf_keras

from lowbit.kerasgraph.builder import Builder, Handler
from lowbit.kerasgraph.values import Constant, ImportedOp, Tensor, Value

_ERF_UP: tuple[float, ...] = (
    *(-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05),
    *(-7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02),
)
_ERF_DOWN: tuple[float, ...] = (
    *(-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03),
    -1.42647390514189e-02,
)


def _unary(function: Callable[[Any], Any], *, nonnegative: bool = False) -> Handler:
    """The rule for an operator that is a function of each entry."""
    return lambda b, op: b.each(function, op.tensor(0), nonnegative=nonnegative)


def _binary(function: Callable[..., Any]) -> Handler:
    """The rule for an operator that is a function of two operands."""
    return lambda b, op: b.pairs(function, op.get(0), op.get(1))


def _many(function: Callable[..., Any]) -> Handler:
    """The rule for an operator of any number of operands, by a chain of a function of two."""

    return lambda b, op: _chain(b, op, function)


def _chain(b: Builder, op: ImportedOp, function: Callable[..., Any]) -> Value:
    result = op.given(0)
    for value in op.inputs[1:]:
        result = b.pairs(function, result, value)
    return result


def _of_layer(kind: str, function: Callable[..., Any]) -> Handler:
    """The rule for arithmetic of two tensors that Keras has a layer for; with constants it is a function."""

    def handle(b: Builder, op: ImportedOp) -> Value:
        x, y = op.get(0), op.get(1)
        if isinstance(x, Tensor) and isinstance(y, Tensor) and _has_layer(b, x, y):
            operands, axes = b.together((x, y))
            return Tensor(b.layer(getattr(tf_keras.layers, kind)(name=b.name()), *operands), axes)
        return b.pairs(function, x, y)

    return handle


def _has_layer(b: Builder, x: Tensor, y: Tensor) -> bool:
    """Whether Keras' layers of two tensors take them: two different ones, each with all images."""
    same = x.rank == y.rank > 1 and x.shape[0] == y.shape[0] == b.batch
    return same and x is not y and x.is_float


def sum_of(b: Builder, op: ImportedOp) -> Value:
    """Sum: the sum of any number of tensors, which broadcast."""
    return _chain(b, op, tf.add)


def mean(b: Builder, op: ImportedOp) -> Value:
    """Mean: the mean of any number of tensors, which broadcast, entry by entry."""
    total, count = sum_of(b, op), len(op.inputs)
    return b.each(lambda t: t * (1 / count), total) if count > 1 and isinstance(total, Tensor) else total


def _truncated(x: Any, y: Any) -> Any:
    """x / y of integers, rounded towards zero."""
    return _sign(x) * _sign(y) * (_absolute(x) // _absolute(y))


def _absolute(x: Any) -> Any:
    """|x|; TFLite's operator takes no 64-bit integers."""
    return tf.abs(x) if x.dtype.is_floating else tf.maximum(x, -x)


def _sign(x: Any) -> Any:
    """The sign of x; TFLite's operator takes no 64-bit integers."""
    one = tf.ones_like(x)
    return tf.sign(x) if x.dtype.is_floating else tf.minimum(tf.maximum(x, -one), one)


def _remainder(x: Any, y: Any) -> Any:
    """The remainder of x / y that has the sign of x."""
    if x.dtype.is_floating:
        return tf.sign(x) * tf.math.floormod(tf.abs(x), tf.abs(y))
    return x - _truncated(x, y) * y


def modulo(b: Builder, op: ImportedOp) -> Value:
    """Mod: the remainder has the sign of the divisor, or with `fmod` the sign of the dividend."""
    return b.pairs(_remainder if op.attribute("fmod", 0) else tf.math.floormod, op.get(0), op.get(1))


def divide(b: Builder, op: ImportedOp) -> Value:
    """Div: integers are rounded towards zero. By a constant float it is a product."""
    x, y = op.given(0), op.given(1)
    if isinstance(y, Constant) and np.issubdtype(y.array.dtype, np.floating) and (y.array != 0).all():
        return b.pairs(tf.multiply, x, Constant(y.name, (1 / y.array.astype(np.float64)).astype(y.array.dtype)))
    return b.pairs(lambda s, t: s / t if s.dtype.is_floating else _truncated(s, t), x, y)


def power(b: Builder, op: ImportedOp) -> Value:
    """Pow: base ** exponent, entry by entry, in the element type of the base."""
    x, y = op.given(0), op.given(1)
    if isinstance(x, Tensor) and x.is_float and isinstance(y, Constant) and y.array.size == 1:
        known = {2.0: tf.square, 0.5: tf.sqrt, -0.5: tf.math.rsqrt, 1.0: tf.identity}
        exponent = float(y.array.reshape(-1)[0])
        if exponent in known and y.array.ndim <= x.rank:
            return b.each(known[exponent], x)

    def run(base: Any, exponent: Any) -> Any:
        kind = base.dtype if base.dtype.is_floating else exponent.dtype
        if not kind.is_floating:
            return tf.pow(base, tf.cast(exponent, base.dtype))
        return tf.cast(tf.pow(tf.cast(base, kind), tf.cast(exponent, kind)), base.dtype)

    return b.pairs(run, x, y)


def where(b: Builder, op: ImportedOp) -> Value:
    """Where: entries of the second input where the condition is true, of the third elsewhere."""
    return b.pairs(tf.where, op.get(0), op.get(1), op.get(2))


def cast(b: Builder, op: ImportedOp) -> Value:
    """Cast to another element type. Raises UnsupportedError for one that TensorFlow does not have."""
    kind = tensorflow_type(op, op.attribute("to", 1))
    return b.each(lambda t: tf.cast(t, kind), op.tensor(0))


def tensorflow_type(op: ImportedOp, number: int) -> Any:
    """TensorFlow's element type for `number`, an entry of ONNX's enumeration TensorProto.DataType."""
    kind = ir.DataType(number)
    try:
        return tf.bfloat16 if kind is ir.DataType.BFLOAT16 else tf.as_dtype(kind.numpy())
    except TypeError as error:
        raise op.unsupported(f"TensorFlow has no type {kind.name}") from error


def cast_like(b: Builder, op: ImportedOp) -> Value:
    """CastLike: the first input in the element type of the second."""
    like = op.given(1)
    kind = tf.as_dtype(like.dtype if isinstance(like, Tensor) else like.array.dtype)
    return b.each(lambda t: tf.cast(t, kind), op.tensor(0))


def is_infinite(b: Builder, op: ImportedOp) -> Value:
    """IsInf: whether an entry is infinite; attributes may restrict it to the positive or the negative infinity."""
    below, above = op.attribute("detect_negative", 1), op.attribute("detect_positive", 1)
    limit = np.float32(math.inf)
    if below and above:
        return b.each(lambda t: tf.equal(tf.abs(t), limit), op.tensor(0))
    if below or above:
        return b.each(lambda t: tf.equal(t, limit if above else -limit), op.tensor(0))
    return b.each(lambda t: tf.zeros_like(t, tf.bool), op.tensor(0))


def bit_shift(b: Builder, op: ImportedOp) -> Value:
    """BitShift: the bits of the first input moved to the LEFT or RIGHT, by the second input."""
    left = op.attribute("direction", "LEFT") == "LEFT"
    return b.pairs(tf.bitwise.left_shift if left else tf.bitwise.right_shift, op.get(0), op.get(1))


def erf(t: Any) -> Any:
    """The error function, by the quotient of two polynomials that Eigen uses for single precision."""
    t = tf.minimum(tf.maximum(t, -4.0), 4.0)
    square = tf.square(t)
    return t * _polynomial(square, _ERF_UP) / _polynomial(square, _ERF_DOWN)


def _polynomial(t: Any, coefficients: tuple[float, ...]) -> Any:
    """The polynomial of t with these coefficients, the highest power's first."""
    total = t * coefficients[0] + coefficients[1]
    for each in coefficients[2:]:
        total = total * t + each
    return total


def _asinh(t: Any) -> Any:
    size = tf.abs(t)
    return tf.sign(t) * tf.math.log(size + tf.sqrt(tf.square(size) + 1.0))


OPERATORS: dict[str, Handler] = {
    "Add": _of_layer("Add", tf.add),
    "Sub": _of_layer("Subtract", tf.subtract),
    "Mul": _of_layer("Multiply", tf.multiply),
    "Pow": power,
    "Equal": _binary(tf.equal),
    "Greater": _binary(tf.greater),
    "GreaterOrEqual": _binary(tf.greater_equal),
    "Less": _binary(tf.less),
    "LessOrEqual": _binary(tf.less_equal),
    "And": _many(tf.logical_and),
    "Or": _many(tf.logical_or),
    "Xor": _many(tf.not_equal),
    "Not": _unary(tf.logical_not),
    "BitwiseAnd": _many(tf.bitwise.bitwise_and),
    "BitwiseOr": _many(tf.bitwise.bitwise_or),
    "BitwiseXor": _many(tf.bitwise.bitwise_xor),
    "BitwiseNot": _unary(tf.bitwise.invert),
    "BitShift": bit_shift,
    "IsNaN": _unary(lambda t: tf.not_equal(t, t)),
    "IsInf": is_infinite,
    "Max": _many(tf.maximum),
    "Min": _many(tf.minimum),
    "Sum": sum_of,
    "Mean": mean,
    "Div": divide,
    "Mod": modulo,
    "Where": where,
    "Cast": cast,
    "CastLike": cast_like,
    "Sqrt": _unary(tf.sqrt, nonnegative=True),
    "Neg": _unary(tf.negative),
    "Abs": _unary(_absolute, nonnegative=True),
    "Exp": _unary(tf.exp, nonnegative=True),
    "Log": _unary(tf.math.log),
    "Erf": _unary(erf),
    "Floor": _unary(tf.floor),
    "Ceil": _unary(tf.math.ceil),
    "Round": _unary(tf.round),
    "Sign": _unary(_sign),
    "Sin": _unary(tf.sin),
    "Cos": _unary(tf.cos),
    "Tan": _unary(lambda t: tf.sin(t) / tf.cos(t)),
    "Sinh": _unary(lambda t: (tf.exp(t) - tf.exp(-t)) * 0.5),
    "Cosh": _unary(lambda t: (tf.exp(t) + tf.exp(-t)) * 0.5),
    "Asin": _unary(lambda t: tf.atan2(t, tf.sqrt(1.0 - tf.square(t)))),
    "Acos": _unary(lambda t: tf.atan2(tf.sqrt(1.0 - tf.square(t)), t)),
    "Atan": _unary(lambda t: tf.atan2(t, tf.ones_like(t))),
    "Asinh": _unary(_asinh),
    "Acosh": _unary(lambda t: tf.math.log(t + tf.sqrt(tf.square(t) - 1.0))),
    "Atanh": _unary(lambda t: 0.5 * tf.math.log((1.0 + t) / (1.0 - t))),
    "Reciprocal": _unary(lambda t: 1.0 / t),
}
