"""What the integer-only interpreter did with each operator: on whole numbers or on real ones, and how many products."""

from collections.abc import Sequence
from math import prod

import onnx

from lowbit.core.adapter import Floats, OpPrecision
from lowbit.reference.graph import IntegerGraph
from lowbit.reference.layers import LAYERS
from lowbit.reference.values import Codes, Lookup, Sums, Value

_SHORT = {"uint8": "u8", "int8": "s8", "uint16": "u16", "int16": "s16", "int32": "s32", "int64": "s64", "bool": "bool"}


def executed(graph: IntegerGraph, images: Floats) -> list[OpPrecision]:
    """Every operator of one run on images [N, C, H, W]; those on constants ran once, when the file was loaded."""
    seen: list[OpPrecision] = []

    def observe(node: onnx.NodeProto, inputs: Sequence[Value | None], outputs: Sequence[Value]) -> None:
        seen.append(_operator(node, inputs, outputs[0], len(images)))

    graph.run({graph.inputs[0]: images}, observe=observe)
    return seen


def _operator(node: onnx.NodeProto, inputs: Sequence[Value | None], result: Value, batch: int) -> OpPrecision:
    name, integer = node.name or node.output[0], _word(result)[0] in "usb"
    if node.op_type not in LAYERS:
        reason = "" if integer else "its values are float"
        return OpPrecision(name, node.op_type, _word(result), integer, reason=reason)
    x, w = inputs[:2]
    assert x is not None
    assert w is not None
    macs = _macs(node.op_type, _shape(x), _shape(w), _shape(result)) // batch
    if integer:
        return OpPrecision(name, node.op_type, _word(x) + _word(w), True, macs=macs)
    return OpPrecision(name, node.op_type, "f32", False, macs=macs, reason="its operands are not all codes")


def _word(value: Value) -> str:
    if isinstance(value, Sums):
        return "s32"
    array = value.array if isinstance(value, Codes) else value.index if isinstance(value, Lookup) else value
    return _SHORT.get(array.dtype.name, "f32")


def _shape(value: Value) -> tuple[int, ...]:
    if isinstance(value, Codes):
        return value.array.shape
    if isinstance(value, Lookup):
        return value.index.shape
    return value.total.shape if isinstance(value, Sums) else value.shape


def _macs(op_type: str, x: tuple[int, ...], w: tuple[int, ...], out: tuple[int, ...]) -> int:
    """Multiply-accumulates: x [N, C, …] or […, K], w [O, C / groups, …] or, transposed, [C, O / groups, …]."""
    if op_type == "Conv":
        return prod(out) * prod(w[1:])
    return prod(x) * prod(w[1:]) if op_type == "ConvTranspose" else prod(out) * x[-1]
