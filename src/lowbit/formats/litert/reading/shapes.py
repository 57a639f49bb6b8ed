"""Operators that move, cut and join numbers, change their shape or type, or tell sizes."""

from functools import partial

import numpy as np
from onnx import TensorProto

from lowbit.formats.litert.reading.builder import Builder, Unreadable
from lowbit.formats.litert.reading.content import LiteRTOperator
from lowbit.formats.litert.reading.pointwise import Rule, activated

_TYPES = {"FLOAT16": TensorProto.FLOAT, "FLOAT32": TensorProto.FLOAT, "INT32": TensorProto.INT64}
_TYPES |= {"INT64": TensorProto.INT64, "BOOL": TensorProto.BOOL}


def _reshape(to: Builder, operator: LiteRTOperator) -> str:
    """The shape is an operand, or an option of old files."""
    if len(operator.inputs) > 1 and operator.inputs[1] >= 0:
        shape = to.value(operator.inputs[1])
    else:
        stated = getattr(operator.options, "newShape", None)
        shape = to.array(np.array(to.shape(operator.outputs[0]) if stated is None else list(stated), np.int64))
    return to.add("Reshape", [to.value(operator.inputs[0]), shape])


def _expand_dims(to: Builder, operator: LiteRTOperator) -> str:
    return to.add("Unsqueeze", [to.value(operator.inputs[0]), to.array(np.array(to.ints(operator, 1)))])


def _squeeze(to: Builder, operator: LiteRTOperator) -> str:
    """Without axes all of size 1 go, of which the file's shapes tell which they are."""
    axes = [] if operator.options.squeezeDims is None else [int(axis) for axis in operator.options.squeezeDims]
    axes = axes or [axis for axis, size in enumerate(to.shape(operator.inputs[0])) if size == 1]
    return to.add("Squeeze", [to.value(operator.inputs[0]), to.array(np.array(axes))])


def _transpose(to: Builder, operator: LiteRTOperator) -> str:
    return to.turned(operator.inputs[0], to.ints(operator, 1))


def _concatenation(to: Builder, operator: LiteRTOperator) -> str:
    value = to.add("Concat", to.operands(operator), axis=int(operator.options.axis))
    return activated(to, value, operator.options.fusedActivationFunction)


def _pack(to: Builder, operator: LiteRTOperator) -> str:
    axis = int(operator.options.axis)
    where = to.array(np.array([axis]))
    parts = [to.add("Unsqueeze", [value, where]) for value in to.operands(operator)]
    return to.add("Concat", parts, axis=axis)


def unpack(to: Builder, operator: LiteRTOperator) -> list[str]:
    """As many results as the axis has entries."""
    axis = int(operator.options.axis)
    parts = to.add_many(
        "Split", [to.value(operator.inputs[0])], len(operator.outputs), axis=axis, num_outputs=len(operator.outputs)
    )
    where = to.array(np.array([axis]))
    return [to.add("Squeeze", [part, where]) for part in parts]


def split(to: Builder, operator: LiteRTOperator) -> list[str]:
    """Equal parts: operands are the axis and x."""
    (axis,) = to.ints(operator, 0)
    count = len(operator.outputs)
    return to.add_many("Split", [to.value(operator.inputs[1])], count, axis=axis, num_outputs=count)


def split_v(to: Builder, operator: LiteRTOperator) -> list[str]:
    """Parts of given sizes, of which one may be -1, the rest: operands are x, the sizes and the axis."""
    (axis,) = to.ints(operator, 2)
    sizes = [to.shape(tensor)[axis] for tensor in operator.outputs]
    return to.add_many(
        "Split", [to.value(operator.inputs[0]), to.array(np.array(sizes))], len(operator.outputs), axis=axis
    )


def _slice(to: Builder, operator: LiteRTOperator) -> str:
    """Operands are x, where to begin, and how many, -1 for the rest."""
    begins, counts, shape = to.ints(operator, 1), to.ints(operator, 2), to.shape(operator.inputs[0])
    ends = [size if count < 0 else begin + count for begin, count, size in zip(begins, counts, shape, strict=True)]
    return _cut(to, to.value(operator.inputs[0]), shape, begins, ends, [1] * len(shape))


def _strided_slice(to: Builder, operator: LiteRTOperator) -> str:
    """x[begin:end:stride] an axis; a bit of a mask leaves an end open, or takes one entry and drops its axis."""
    options, shape = operator.options, to.shape(operator.inputs[0])
    begins, ends, strides = to.ints(operator, 1), to.ints(operator, 2), to.ints(operator, 3)
    if options.ellipsisMask or options.newAxisMask or getattr(options, "offset", False):
        raise Unreadable("it has an ellipsis, a new axis or ends that are offsets")
    drop = [axis for axis in range(len(begins)) if options.shrinkAxisMask >> axis & 1]
    for axis, stride in enumerate(strides):
        if axis in drop:
            begins[axis] %= shape[axis]
            ends[axis] = begins[axis] + 1
            continue
        if options.beginMask >> axis & 1:
            begins[axis] = 0 if stride > 0 else shape[axis] - 1
        if options.endMask >> axis & 1:
            ends[axis] = shape[axis] if stride > 0 else -(shape[axis] + 1)
    value = _cut(to, to.value(operator.inputs[0]), shape, begins, ends, strides)
    return to.add("Squeeze", [value, to.array(np.array(drop))]) if drop else value


def _cut(
    to: Builder, value: str, shape: tuple[int, ...], begins: list[int], ends: list[int], strides: list[int]
) -> str:
    """A Slice of the axes from which something is missing afterwards: the batch must not be cut to its old size."""
    axes = [
        axis
        for axis, (begin, end, stride) in enumerate(zip(begins, ends, strides, strict=True))
        if begin != 0 or stride != 1 or not (end >= shape[axis])
    ]
    if not axes:
        return to.add("Identity", [value])
    operands = [to.array(np.array([each[axis] for axis in axes])) for each in (begins, ends)]
    steps = to.array(np.array([strides[axis] for axis in axes]))
    return to.add("Slice", [value, *operands, to.array(np.array(axes)), steps])


def _gather(to: Builder, operator: LiteRTOperator) -> str:
    if getattr(operator.options, "batchDims", 0):
        raise Unreadable("it gathers within each entry of a batch")
    return to.add("Gather", to.operands(operator), axis=int(operator.options.axis))


def _pad(to: Builder, operator: LiteRTOperator) -> str:
    """Paddings [rank, 2] become all beginnings, then all ends; the third operand of PADV2 is what to pad by."""
    fill = [to.value(operator.inputs[2])] if len(operator.inputs) > 2 else []
    return to.add("Pad", [to.value(operator.inputs[0]), _ends(to, operator), *fill], mode="constant")


def _mirror_pad(to: Builder, operator: LiteRTOperator) -> str:
    if operator.options.mode != 0:
        raise Unreadable("it repeats the border itself (SYMMETRIC)")
    return to.add("Pad", [to.value(operator.inputs[0]), _ends(to, operator)], mode="reflect")


def _ends(to: Builder, operator: LiteRTOperator) -> str:
    return to.array(np.array(to.ints(operator, 1)).reshape(-1, 2).T.reshape(-1))


def _reduced(kind: str, to: Builder, operator: LiteRTOperator) -> str:
    axes = to.array(np.array(to.ints(operator, 1)))
    return to.add(kind, [to.value(operator.inputs[0]), axes], keepdims=int(bool(operator.options.keepDims)))


def _cast(to: Builder, operator: LiteRTOperator) -> str:
    """Pictures are floats in the graph even where the file takes them as bytes; a cast to an integer cuts."""
    kind = to.graph.tensors[operator.outputs[0]].kind
    if kind not in _TYPES:
        raise Unreadable(f"it makes {kind}")
    return to.add("Cast", to.operands(operator), to=_TYPES[kind])


def _shape(to: Builder, operator: LiteRTOperator) -> str:
    return to.add("Shape", to.operands(operator))


def _tile(to: Builder, operator: LiteRTOperator) -> str:
    return to.add("Tile", to.operands(operator))


def _broadcast_to(to: Builder, operator: LiteRTOperator) -> str:
    return to.add("Expand", to.operands(operator))


def _fill(to: Builder, operator: LiteRTOperator) -> str:
    """Operands are the shape and the number."""
    shape, number = to.operands(operator)
    return to.add("Expand", [number, shape])


def _range(to: Builder, operator: LiteRTOperator) -> str:
    return to.add("Range", to.operands(operator))


RULES: dict[str, Rule] = {
    "BROADCAST_TO": _broadcast_to,
    "CAST": _cast,
    "CONCATENATION": _concatenation,
    "EXPAND_DIMS": _expand_dims,
    "FILL": _fill,
    "GATHER": _gather,
    "MEAN": partial(_reduced, "ReduceMean"),
    "MIRROR_PAD": _mirror_pad,
    "PACK": _pack,
    "PAD": _pad,
    "PADV2": _pad,
    "RANGE": _range,
    "REDUCE_MAX": partial(_reduced, "ReduceMax"),
    "REDUCE_MIN": partial(_reduced, "ReduceMin"),
    "REDUCE_PROD": partial(_reduced, "ReduceProd"),
    "RESHAPE": _reshape,
    "SHAPE": _shape,
    "SLICE": _slice,
    "SQUEEZE": _squeeze,
    "STRIDED_SLICE": _strided_slice,
    "SUM": partial(_reduced, "ReduceSum"),
    "TILE": _tile,
    "TRANSPOSE": _transpose,
}
SEVERAL = {"SPLIT": split, "SPLIT_V": split_v, "UNPACK": unpack}
