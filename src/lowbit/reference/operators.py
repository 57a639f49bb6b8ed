"""What the integer-only interpreter does with each operator. What is not here, or meets floats, runs in float32.

| operator                          | on codes                                                                    |
|-----------------------------------|-----------------------------------------------------------------------------|
| Conv, ConvTranspose, Gemm, MatMul | exact sums of (code − zero_point) products, int32 bias added (eq. 4)        |
| Add, Sub                          | both to units of 2⁻²⁰ of the larger scale (16-bit codes: 2⁻¹²), then exact  |
| Mul                               | exact product of (code − zero_point)                                        |
| …AveragePool, ReduceMean          | exact sum; the division is part of the requantization                       |
| Relu, MaxPool, ReduceMax …        | on the codes, or on the sums                                                |
| Concat                            | codes where all share a scale, else sums, each requantized by its own       |
| Reshape, Transpose, Slice, Pad …  | moves codes                                                                 |
| a function of one tensor of codes | table of 2^bits entries, filled in float32 (the same as element by element) |
| Softmax, LayerNormalization, …    | float32, from the dequantized numbers                                       |
"""

from typing import Any

import numpy as np
import onnx

from lowbit.reference.layers import LAYERS
from lowbit.reference.op import Inputs, ReferenceOp, Rule, padded, real
from lowbit.reference.products import Integers, Totals
from lowbit.reference.values import Array, Codes, Lookup, Sums, Value, in_int32, quantize
from lowbit.reference.windows import windows

_ADD_BITS = 28  # of an operand of Add in common units: two of them fit int32
_POINTWISE = (
    *("Abs", "Acos", "Acosh", "Add", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Div"),
    *("Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Max", "Min", "Mish"),
    *("Mul", "Neg", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh"),
    *("Softplus", "Softsign", "Sqrt", "Sub", "Swish", "Tan", "Tanh", "ThresholdedRelu"),
)
_MOVES = (
    *("Compress", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherND", "Identity", "Reshape", "Slice"),
    *("SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
)


def apply(op: ReferenceOp, inputs: Inputs) -> list[Value]:
    """The outputs of one node."""
    for rule in (_pointwise if op.node.op_type in _POINTWISE else None, RULES.get(op.node.op_type)):
        outputs = rule(op, inputs) if rule else None
        if outputs is not None:
            return outputs
    return list(op.in_float([real(value) for value in inputs]))


def _quantize_linear(op: ReferenceOp, inputs: Inputs) -> list[Value] | None:
    x, scale, zero_point = padded(inputs, 3)
    if op.attributes.get("block_size", 0) or x is None or not isinstance(scale, np.ndarray):
        return None
    if zero_point is None:
        kind = op.attributes.get("output_dtype", 0) or onnx.TensorProto.UINT8
        zero_point = np.zeros(scale.shape, onnx.helper.tensor_dtype_to_np_dtype(kind))
    if not isinstance(zero_point, np.ndarray):
        return None
    rank = x.ndim if isinstance(x, np.ndarray) else _array(x).ndim
    step, origin, axis = _parameters(op, scale, zero_point, rank)
    return [quantize(x, step, origin, axis, op.requantize)]


def _dequantize_linear(op: ReferenceOp, inputs: Inputs) -> list[Value] | None:
    array, scale, zero_point = padded(inputs, 3)
    if op.attributes.get("block_size", 0) or not isinstance(array, np.ndarray) or not isinstance(scale, np.ndarray):
        return None
    array = _in_bytes(array)
    origin = _in_bytes(zero_point) if isinstance(zero_point, np.ndarray) else np.zeros(scale.shape, np.int32)
    return [Codes(array, *_parameters(op, scale, origin, array.ndim))]


def _in_bytes(codes: Array) -> Integers:
    """Codes of 2 and 4 bits as bytes; others as they are."""
    if codes.dtype.name in ("int2", "int4", "uint2", "uint4"):
        return codes.astype(np.uint8 if codes.dtype.name[0] == "u" else np.int8)
    return codes


def _parameters(op: ReferenceOp, scale: Array, zero_point: Integers, rank: int) -> tuple[Array, Integers, int | None]:
    if scale.size == 1:
        return scale.reshape(()).astype(np.float32), zero_point.reshape(()), None
    return scale.astype(np.float32), zero_point, op.attributes.get("axis", 1) % rank


def _add(op: ReferenceOp, inputs: Inputs) -> list[Value] | None:
    a, b = inputs
    if not isinstance(a, Codes) or not isinstance(b, Codes) or a.axis is not None or b.axis is not None:
        return None
    sign = -1 if op.node.op_type == "Sub" else 1
    bits = max(a.array.dtype.itemsize, b.array.dtype.itemsize) * 8
    if bits > 16:
        return None
    unit = float(max(a.scale, b.scale)) / (1 << (_ADD_BITS - bits))
    left, right = (np.rint(v.centred() * (float(v.scale) / unit)).astype(np.int64) for v in (a, b))
    return [Sums(in_int32(left + sign * right, op.label), np.asarray(unit, np.float32))]


def _mul(op: ReferenceOp, inputs: Inputs) -> list[Value] | None:
    a, b = inputs
    if not isinstance(a, Codes) or not isinstance(b, Codes) or max(a.array.itemsize, b.array.itemsize) > 1:
        return None
    left, right = a.sums(), b.sums()
    return [Sums(in_int32(left.total * right.total, op.label), (left.scale * right.scale).astype(np.float32))]


def _relu(_: ReferenceOp, inputs: Inputs) -> list[Value] | None:
    x = inputs[0]
    if isinstance(x, Sums):
        return [Sums(np.maximum(x.total, 0), x.scale)]
    return None


def _clip(_: ReferenceOp, inputs: Inputs) -> list[Value] | None:
    x, low, high = (value for value in padded(inputs, 3))
    if not isinstance(x, Sums) or isinstance(low, Codes | Sums | Lookup) or isinstance(high, Codes | Sums | Lookup):
        return None
    total = x.total
    if low is not None:
        total = np.maximum(total, _limit(low, x.scale))
    if high is not None:
        total = np.minimum(total, _limit(high, x.scale))
    return [Sums(total, x.scale)]


def _limit(value: Array, scale: Array) -> Totals:
    """`value` in units of `scale`, to the nearest; infinities and such as the ends of int32."""
    limits = np.iinfo(np.int32)
    return np.rint(np.clip(value.astype(np.float64) / scale, limits.min, limits.max)).astype(np.int64)


def _average_pool(op: ReferenceOp, inputs: Inputs) -> list[Value] | None:
    x = inputs[0]
    array = x.centred() if isinstance(x, Codes) and x.axis is None else real(x)
    assert array is not None
    sizes = array.shape[2:]
    found = windows(op.attributes, tuple(op.attributes["kernel_shape"]), sizes)
    padded = found.padded(array.astype(np.int64 if isinstance(x, Codes) else np.float64))
    total = sum(found.taps(padded), np.zeros((), padded.dtype))
    counts = found.counts(sizes, with_padding=bool(op.attributes.get("count_include_pad", 0)))
    return [_mean(op, x, total, counts)]


def _global_average_pool(op: ReferenceOp, inputs: Inputs) -> list[Value] | None:
    x = inputs[0]
    if not isinstance(x, Codes) or x.axis is not None:
        return None
    axes = tuple(range(2, x.array.ndim))
    return [_mean(op, x, x.centred().sum(axis=axes, dtype=np.int64, keepdims=True), _count(x.array, axes))]


def _reduce_mean(op: ReferenceOp, inputs: Inputs) -> list[Value] | None:
    x, given = padded(inputs, 2)
    if not isinstance(x, Codes) or x.axis is not None:
        return None
    chosen = given.tolist() if isinstance(given, np.ndarray) else op.attributes.get("axes", [])
    if not chosen and op.attributes.get("noop_with_empty_axes", 0):
        return [x]
    axes = tuple(axis % x.array.ndim for axis in chosen) or tuple(range(x.array.ndim))
    keep = bool(op.attributes.get("keepdims", 1))
    return [_mean(op, x, x.centred().sum(axis=axes, dtype=np.int64, keepdims=keep), _count(x.array, axes))]


def _count(x: Array, axes: tuple[int, ...]) -> Totals:
    return np.asarray(np.prod([x.shape[axis] for axis in axes], dtype=np.int64))


def _mean(op: ReferenceOp, x: Value | None, total: Array, counts: Totals) -> Value:
    if isinstance(x, Codes):
        return Sums(in_int32(total, op.label), (x.scale / counts).astype(np.float32))
    return (total / counts).astype(np.float32)


def _max_pool(op: ReferenceOp, inputs: Inputs) -> list[Value] | None:
    x = inputs[0]
    if len(op.node.output) > 1 and op.node.output[1]:
        return None
    array = _array(x) if isinstance(x, Codes) and x.axis is None else real(x)
    assert array is not None
    lowest = np.iinfo(array.dtype).min if array.dtype.kind in "iu" else -np.inf
    found = windows(op.attributes, tuple(op.attributes["kernel_shape"]), array.shape[2:])
    taps = found.taps(found.padded(array, lowest))
    result = next(taps).copy()
    for tap in taps:
        np.maximum(result, tap, out=result)
    return [x.with_array(result) if isinstance(x, Codes) else result]


def _global_max_pool(_: ReferenceOp, inputs: Inputs) -> list[Value] | None:
    x = inputs[0]
    if not isinstance(x, Codes) or x.axis is not None:
        return None
    return [x.with_array(x.array.max(axis=tuple(range(2, x.array.ndim)), keepdims=True))]


def _extreme(op: ReferenceOp, inputs: Inputs) -> list[Value] | None:
    """ReduceMax, ReduceMin: codes are ordered as the numbers that they stand for."""
    x, *others = inputs
    if not isinstance(x, Codes) or x.axis is not None:
        return None
    return [x.with_array(op.in_float([x.array, *(real(value) for value in others)])[0])]


def _concat(op: ReferenceOp, inputs: Inputs) -> list[Value] | None:
    if not all(isinstance(value, Codes | Sums) for value in inputs):
        return None
    codes = [value for value in inputs if isinstance(value, Codes) and value.axis is None]
    if len(codes) == len(inputs) and len({(float(c.scale), int(c.zero_point), c.array.dtype) for c in codes}) == 1:
        return [codes[0].with_array(np.concatenate([c.array for c in codes], op.attributes["axis"]))]
    sums = [value.sums() if isinstance(value, Codes) else value for value in inputs]
    totals = [value.total for value in sums if isinstance(value, Sums)]
    scales = [np.broadcast_to(value.scale, value.total.shape) for value in sums if isinstance(value, Sums)]
    axis = op.attributes["axis"]
    return [Sums(np.concatenate(totals, axis), np.concatenate(scales, axis))]


def _move(op: ReferenceOp, inputs: Inputs) -> list[Value] | None:
    """Operators that only put entries elsewhere: on codes, on a table's index, on sums together with their scales."""
    x, *others = inputs
    rest = [real(value) for value in others]
    if isinstance(x, Codes) and x.axis is None:
        return [x.with_array(moved) for moved in op.in_float([x.array, *rest])]
    if isinstance(x, Lookup):
        return [Lookup(moved, x.table) for moved in op.in_float([x.index, *rest])]
    if isinstance(x, Sums):
        scales = op.in_float([np.broadcast_to(x.scale, x.total.shape).copy(), *rest])
        return [Sums(total, scale) for total, scale in zip(op.in_float([x.total, *rest]), scales, strict=True)]
    return None


def _pad(op: ReferenceOp, inputs: Inputs) -> list[Value] | None:
    """Zeros around codes are zero points; other numbers make floats of them. Negative amounts cut."""
    x, pads, value, axes = (value if place == 0 else real(value) for place, value in enumerate(padded(inputs, 4)))
    codes = x if isinstance(x, Codes) and x.axis is None and not np.any(real(value) or 0) else None
    array = real(x) if codes is None else codes.array
    if array is None or not isinstance(pads, np.ndarray):
        return None
    width = np.zeros((array.ndim, 2), np.int64)
    width[range(array.ndim) if axes is None else np.ravel(np.asarray(real(axes)))] = pads.reshape(2, -1).T
    array = array[tuple(slice(max(0, -b), n - max(0, -a)) for n, (b, a) in zip(array.shape, width, strict=True))]
    more: dict[str, Any] = {"mode": op.attributes.get("mode", b"constant").decode()}
    if more["mode"] == "constant":
        more["constant_values"] = (0 if value is None else real(value)) if codes is None else codes.zero_point
    result = np.pad(array, np.maximum(width, 0), **more)
    return [result if codes is None else codes.with_array(result)]


def _pointwise(op: ReferenceOp, inputs: Inputs) -> list[Value] | None:
    """A function of one tensor of codes and plain numbers becomes a table."""
    tables: list[Array | None] = []
    index: Integers | None = None
    for value in inputs:
        if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind == "f":
            tables.append(value.reshape(()))
            continue
        lookup = value.table() if isinstance(value, Codes) else value
        if lookup is None and value is None:
            tables.append(None)
            continue
        if not isinstance(lookup, Lookup) or (index is not None and lookup.index is not index):
            return None
        index = lookup.index
        tables.append(lookup.table)
    if index is None:
        return None
    return [Lookup(index, op.in_float(tables)[0].astype(np.float32))]


def _array(value: Value) -> Array:
    if isinstance(value, Codes):
        return value.array
    return value.total if isinstance(value, Sums) else value.index if isinstance(value, Lookup) else value


RULES: dict[str, Rule] = {
    "QuantizeLinear": _quantize_linear,
    "DequantizeLinear": _dequantize_linear,
    **LAYERS,
    "Add": _add,
    "Sub": _add,
    "Mul": _mul,
    "Relu": _relu,
    "Clip": _clip,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average_pool,
    "ReduceMean": _reduce_mean,
    "MaxPool": _max_pool,
    "GlobalMaxPool": _global_max_pool,
    "ReduceMax": _extreme,
    "ReduceMin": _extreme,
    "Concat": _concat,
    "Pad": _pad,
    **dict.fromkeys(_MOVES, _move),
}
