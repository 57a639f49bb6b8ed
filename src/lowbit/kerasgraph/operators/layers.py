"""Operators with weights: convolutions and matrix products. With constant weights each becomes a Keras layer."""

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from lowbit.kerasgraph.builder import Builder, Handler, first
from lowbit.kerasgraph.values import Array, Constant, ImportedOp, Tensor, Value, channels_last
from lowbit.kerasgraph.windows import around, is_same, narrowed, padding, wide_windows, widened, windows_of
from lowbit.reference.windows import Windows

_ZEROS: dict[str, Any] = {"kernel_initializer": "zeros"}  # weights are set afterwards: nothing is drawn
_DEPTHWISE: dict[str, Any] = {"depthwise_initializer": "zeros"}


def conv(b: Builder, op: ImportedOp) -> Value:
    """Conv with one, two or three spatial axes; ONNX's weight [O, I / group, *kernel] becomes [*kernel, I / group, O].

    Padding that is TensorFlow's SAME is left to the layer, any other is put around x before it.
    """
    x, weight, bias = op.tensor(0), op.constant(1), op.optional_constant(2)
    w = windows_of(op, x, weight.shape[2:])
    if x.rank == 3:
        return narrowed(b, _conv(b, op, widened(b, x), weight[:, :, None], bias, wide_windows(w)))
    return _conv(b, op, x, weight, bias, w)


def _conv(b: Builder, op: ImportedOp, x: Tensor, weight: Array, bias: Array | None, w: Windows) -> Tensor:
    same = is_same(w, x.shape[2:])
    if not same:
        x = b.pad(x, around(padding(w)))
    group, channels = op.attribute("group", 1), x.shape[1]
    strides, skipped = w.strides, (1,) * len(w.strides)
    by_channel = group == channels and group > 1 and x.rank == 4
    if (max(strides) > 1 and max(w.dilations) > 1) or (by_channel and len(set(strides)) > 1):
        strides, skipped = skipped, strides  # Keras has no layer for it: compute all, and take some
        if same:
            x, same = b.pad(x, around(padding(w))), False
    how: dict[str, Any] = {
        "strides": strides,
        "padding": "same" if same else "valid",
        "dilation_rate": w.dilations,
        "use_bias": bias is not None,
        "activation": "relu" if op.relu else None,
    }
    if by_channel:
        many = weight.shape[0] // group
        layer = tf_keras.layers.DepthwiseConv2D(w.kernel, depth_multiplier=many, name=b.name(), **how, **_DEPTHWISE)
        kernel = weight.reshape(group, many, *w.kernel).transpose(2, 3, 0, 1)
    elif group > 1 and x.rank == 5:
        return _by_groups(b, op, x, weight, bias, how, group, skipped)
    else:
        kind = tf_keras.layers.Conv2D if x.rank == 4 else tf_keras.layers.Conv3D
        layer = kind(weight.shape[0], w.kernel, groups=group, name=b.name(), **how, **_ZEROS)
        kernel = np.moveaxis(weight, (0, 1), (-1, -2))
    y = b.layer(layer, b.last(x), weights=[kernel] if bias is None else [kernel, bias])
    return _taken(b, Tensor(y, channels_last(x.rank), nonnegative=op.relu), skipped)


def _by_groups(
    b: Builder,
    op: ImportedOp,
    x: Tensor,
    weight: Array,
    bias: Array | None,
    how: dict[str, Any],
    group: int,
    skipped: tuple[int, ...],
) -> Tensor:
    """A convolution of groups over three axes as one for each group: TFLite has none."""
    outputs, parts = weight.shape[0] // group, []
    for i, piece in enumerate(b.call(lambda t: tuple(tf.split(t, group, axis=-1)), b.last(x))):
        mine = slice(i * outputs, (i + 1) * outputs)
        layer = tf_keras.layers.Conv3D(outputs, weight.shape[2:], name=b.name(f"_group{i}"), **how, **_ZEROS)
        kernel = np.moveaxis(weight[mine], (0, 1), (-1, -2))
        parts.append(b.layer(layer, piece, weights=[kernel] if bias is None else [kernel, bias[mine]]))
    y = b.layer(tf_keras.layers.Concatenate(axis=-1, name=b.name()), *parts)
    return _taken(b, Tensor(y, channels_last(x.rank), nonnegative=op.relu), skipped)


def _taken(b: Builder, y: Tensor, steps: tuple[int, ...]) -> Tensor:
    """y [N, C, …] with every so many entries of its spatial axes; the first is always taken."""
    if max(steps) == 1:
        return y
    index = (slice(None), *(slice(None, None, step) for step in steps), slice(None))
    return Tensor(b.call(lambda t: t[index], b.last(y)), y.axes, nonnegative=y.nonnegative)


def conv_transpose(b: Builder, op: ImportedOp) -> Value:
    """ConvTranspose with one, two or three spatial axes; weight [I, O / group, *kernel].

    Keras' layer gives everything that the windows reach; what ONNX's padding takes away is cut off, and what
    output_padding adds are zeros. Groups become one dense weight with zeros, dilations a kernel with zeros.
    """
    x, weight, bias = op.tensor(0), op.constant(1), op.optional_constant(2)
    n = len(weight.shape) - 2
    strides, dilations, extra = (
        list(op.attribute(name, [default] * n))
        for name, default in (("strides", 1), ("dilations", 1), ("output_padding", 0))
    )
    pads = _transposed_pads(op, x, list(weight.shape[2:]), strides, dilations, extra)
    weight = _dilated(_dense(weight, op.attribute("group", 1)), dilations)
    one_axis = x.rank == 3
    if one_axis:
        x, weight = widened(b, x), weight[:, :, None]
        strides, extra, pads = [1, *strides], [0, *extra], [(0, 0), *pads]
    y = _whole_transposed(b, op, x, weight, bias, strides, extra, pads)
    return narrowed(b, y) if one_axis else y


def _whole_transposed(
    b: Builder,
    op: ImportedOp,
    x: Tensor,
    weight: Array,
    bias: Array | None,
    strides: list[int],
    extra: list[int],
    pads: list[tuple[int, int]],
) -> Tensor:
    kernel = weight.shape[2:]
    full = [(size - 1) * s + k for size, s, k in zip(x.shape[2:], strides, kernel, strict=True)]
    reach = [size * s + max(k - s, 0) for size, s, k in zip(x.shape[2:], strides, kernel, strict=True)]
    wanted = [f + more - sum(pair) for f, more, pair in zip(full, extra, pads, strict=True)]
    cuts = [(-begin, begin + want - size) for (begin, _), want, size in zip(pads, wanted, reach, strict=True)]
    grows = any(end > 0 or begin > 0 for begin, end in cuts)
    kind = tf_keras.layers.Conv2DTranspose if x.rank == 4 else tf_keras.layers.Conv3DTranspose
    inside = bias is not None and not grows
    layer = kind(weight.shape[1], kernel, strides=strides, use_bias=inside, name=b.name(), **_ZEROS)
    turned = np.moveaxis(weight, (0, 1), (-1, -2))
    y = b.layer(layer, b.last(x), weights=[turned, bias] if bias is not None and inside else [turned])
    result = b.pad(Tensor(y, channels_last(x.rank)), around(cuts))
    if bias is not None and not inside:
        result = Tensor(b.call(tf.add, b.last(result), bias), channels_last(x.rank))
    return _relu_behind(b, op, result)


def _dense(weight: Array, group: int) -> Array:
    """The weight [I, O / group, …] of groups as one [I, O, …], with zeros where a group does not reach."""
    if group == 1:
        return weight
    inputs, outputs = weight.shape[0] // group, weight.shape[1]
    whole = np.zeros((weight.shape[0], outputs * group, *weight.shape[2:]), weight.dtype)
    for i in range(group):
        mine = slice(i * inputs, (i + 1) * inputs)
        whole[mine, i * outputs : (i + 1) * outputs] = weight[mine]
    return whole


def _dilated(weight: Array, dilations: list[int]) -> Array:
    """The kernel with zeros in its gaps."""
    sizes = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    whole = np.zeros((*weight.shape[:2], *sizes), weight.dtype)
    whole[(slice(None), slice(None), *(slice(None, None, d) for d in dilations))] = weight
    return whole


def _transposed_pads(
    op: ImportedOp, x: Tensor, kernel: list[int], strides: list[int], dilations: list[int], extra: list[int]
) -> list[tuple[int, int]]:
    """How many entries are cut from both ends of each axis, by `output_shape` or `auto_pad`, otherwise by `pads`."""
    n = len(kernel)
    kind, wanted = op.attribute("auto_pad", "NOTSET"), op.attribute("output_shape", None)
    if wanted is None and kind.startswith("SAME"):
        wanted = [size * stride for size, stride in zip(x.shape[2:], strides, strict=True)]
    if wanted is None:
        pads = [0] * (2 * n) if kind == "VALID" else op.attribute("pads", [0] * (2 * n))
        return list(zip(pads[:n], pads[n:], strict=True))
    columns = zip(x.shape[2:], strides, extra, kernel, dilations, wanted[-n:], strict=True)
    totals = [s * (size - 1) + more + (k - 1) * d + 1 - want for size, s, more, k, d, want in columns]
    if kind == "SAME_UPPER":
        return [(total // 2, total - total // 2) for total in totals]
    return [(total - total // 2, total // 2) for total in totals]


def dense(b: Builder, op: ImportedOp, x: Tensor, weight: Array, bias: Array | None) -> Tensor:
    """A Dense layer from x [..., I] to [..., O]; weight [I, O]. The rows are put where x has its columns."""
    if x.columns is not None:
        placed = np.empty_like(weight)
        placed[x.columns] = weight
        weight, value = placed, x.value
    else:
        value = b.plain(x)
    layer = tf_keras.layers.Dense(
        weight.shape[1], use_bias=bias is not None, activation="relu" if op.relu else None, name=b.name(), **_ZEROS
    )
    y = b.layer(layer, value, weights=[weight] if bias is None else [weight, bias])
    return Tensor(y, tuple(range(x.rank)), nonnegative=op.relu)


def gemm(b: Builder, op: ImportedOp) -> Value:
    """Gemm: alpha · A B + beta · C. With a constant B, and a constant C that is the same for every row, a Dense."""
    alpha, beta = op.attribute("alpha", 1.0), op.attribute("beta", 1.0)
    turned = bool(op.attribute("transB", 0))
    x, weight, bias = op.get(0), op.get(1), op.get(2)
    if isinstance(x, Tensor) and isinstance(weight, Constant) and not op.attribute("transA", 0):
        matrix = (weight.array.T if turned else weight.array) * np.asarray(alpha, weight.array.dtype)
        if bias is None:
            return dense(b, op, x, matrix, None)
        if isinstance(bias, Constant) and bias.array.size in (1, bias.array.shape[-1] if bias.array.ndim else 1):
            row = np.broadcast_to(bias.array.reshape(-1), (matrix.shape[1],)) * np.asarray(beta, bias.array.dtype)
            return dense(b, op, x, matrix, row)
    across = bool(op.attribute("transA", 0))
    y = b.call(lambda m, n: alpha * tf.matmul(m, n, across, turned), b.plain(x), b.plain(weight))
    if bias is not None:
        y = b.call(lambda m, c: m + beta * c, y, b.plain(bias))
    return _relu_behind(b, op, first(y))


def matmul(b: Builder, op: ImportedOp) -> Value:
    """MatMul. With a constant matrix on the right it becomes a Dense layer.

    Its third input is the layer's bias; the importer puts it there where an Add of a constant vector follows.
    """
    x, weight = op.get(0), op.get(1)
    if isinstance(x, Tensor) and isinstance(weight, Constant) and weight.array.ndim == 2 and x.rank >= 2:
        return dense(b, op, x, weight.array, op.optional_constant(2))
    return _relu_behind(b, op, first(b.call(_product, b.plain(x), b.plain(weight))))


def _relu_behind(b: Builder, op: ImportedOp, y: Tensor) -> Tensor:
    return b.each(tf.nn.relu, y, nonnegative=True) if op.relu else y


def _product(left: Any, right: Any) -> Any:
    """The matrix product as NumPy has it, vectors included."""
    if left.shape.rank == 1:
        return tf.squeeze(_product(left[None], right), -2)
    if right.shape.rank == 1:
        return tf.squeeze(_product(left, right[:, None]), -1)
    return tf.matmul(left, right)


OPERATORS: dict[str, Handler] = {"Conv": conv, "ConvTranspose": conv_transpose, "Gemm": gemm, "MatMul": matmul}
TAKES_RELU = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators whose rule computes a Relu behind them as well."""
