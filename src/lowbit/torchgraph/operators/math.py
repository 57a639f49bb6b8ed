"""Elementwise operators: arithmetic, functions, comparisons, logic, bits, and casts."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import fx

from lowbit.torchgraph.builder import Builder, Handler
from lowbit.torchgraph.values import ImportedOp, Value


def _unary(function: Callable[..., Any]) -> Handler:
    """The rule for an operator that is a torch function of one tensor."""
    return lambda b, op: b.call(function, op.tensor(0))


def _binary(function: Callable[..., Any]) -> Handler:
    """The rule for an operator that is a torch function of two operands."""
    return lambda b, op: b.call(function, b.operand(op.get(0)), b.operand(op.get(1)))


def _many(function: Callable[..., Any]) -> Handler:
    """The rule for an operator of any number of tensors, by a chain of calls of a function of two."""

    def handle(b: Builder, op: ImportedOp) -> Value:
        result = b.tensor(op.get(0))
        for value in op.inputs[1:]:
            result = b.call(function, result, b.tensor(value))
        return result

    return handle


def _extreme(of_two: Callable[..., Any], limit: str) -> Handler:
    """The rule for Max or Min of any number of operands, of which at least one is computed.

    of_two: the function of two tensors. limit: the argument of torch.clamp that does the same with a plain number.
    """

    def handle(b: Builder, op: ImportedOp) -> Value:
        operands = [b.operand(value) for value in op.inputs]
        result, *others = [operand for operand in operands if isinstance(operand, fx.Node)]
        for other in others:
            result = b.call(of_two, result, other)
        for number in (operand for operand in operands if not isinstance(operand, fx.Node)):
            result = b.call(torch.clamp, result, **{limit: number})
        return result

    return handle


def mean(b: Builder, op: ImportedOp) -> Value:
    """Mean: the mean of any number of tensors, which broadcast, entry by entry."""
    total, *others = (b.tensor(value) for value in op.inputs)
    for other in others:
        total = b.call(operator.add, total, other)
    return b.call(operator.truediv, total, 1 + len(others)) if others else total


def modulo(b: Builder, op: ImportedOp) -> Value:
    """Mod: the remainder has the sign of the divisor, or with `fmod` the sign of the dividend."""
    function = torch.fmod if op.attribute("fmod", 0) else torch.remainder
    return b.call(function, b.tensor(op.get(0)), b.operand(op.get(1)))


def power(b: Builder, op: ImportedOp) -> Value:
    """Pow: base ** exponent, entry by entry, in the element type of the base."""
    x, y = b.operand(op.get(0)), b.operand(op.get(1))
    result = b.call(operator.pow, x, y)
    if isinstance(x, fx.Node) and not b.is_float(x) and b.is_float(result):
        return b.method("to", result, b.dtype(x))
    return result


def divide(b: Builder, op: ImportedOp) -> Value:
    """Div: integers are rounded towards zero."""
    x, y = b.operand(op.get(0)), b.operand(op.get(1))
    if not any(b.is_float(side) if isinstance(side, fx.Node) else isinstance(side, float) for side in (x, y)):
        return b.call(torch.div, b.tensor(op.get(0)), y, rounding_mode="trunc")
    return b.call(operator.truediv, x, y)


def where(b: Builder, op: ImportedOp) -> Value:
    """Where: entries of the second input where the condition is true, of the third elsewhere.

    Of two plain numbers one is made a tensor, since torch would not know which element type ONNX gives the result.
    """
    yes, no = b.operand(op.get(1)), b.operand(op.get(2))
    if not isinstance(yes, fx.Node) and not isinstance(no, fx.Node):
        yes = b.tensor(op.get(1))
    return b.call(torch.where, b.tensor(op.get(0)), yes, no)


def cast(b: Builder, op: ImportedOp) -> Value:
    """Cast to another element type. Raises UnsupportedError for one that torch does not have."""
    return b.method("to", op.tensor(0), torch_type(op, op.attribute("to", 1)))


def torch_type(op: ImportedOp, number: int) -> torch.dtype:
    """torch's element type for `number`, an entry of ONNX's enumeration TensorProto.DataType."""
    kind = ir.DataType(number)
    try:
        return torch.bfloat16 if kind is ir.DataType.BFLOAT16 else torch.from_numpy(np.empty(0, kind.numpy())).dtype
    except TypeError as error:
        raise op.unsupported(f"torch has no type {kind.name}") from error


def cast_like(b: Builder, op: ImportedOp) -> Value:
    """CastLike: the first input in the element type of the second."""
    return b.method("to", op.tensor(0), b.dtype(b.tensor(op.get(1))))


def is_infinite(b: Builder, op: ImportedOp) -> Value:
    """IsInf: whether an entry is infinite; attributes may restrict it to the positive or the negative infinity."""
    x, below, above = op.tensor(0), op.attribute("detect_negative", 1), op.attribute("detect_positive", 1)
    if below and above:
        return b.call(torch.isinf, x)
    if below or above:
        return b.call(torch.isposinf if above else torch.isneginf, x)
    return b.call(torch.zeros_like, x, dtype=torch.bool)


def bit_shift(b: Builder, op: ImportedOp) -> Value:
    """BitShift: the bits of the first input moved to the LEFT or RIGHT, by the second input."""
    function = torch.bitwise_left_shift if op.attribute("direction", "LEFT") == "LEFT" else torch.bitwise_right_shift
    return b.call(function, b.tensor(op.get(0)), b.operand(op.get(1)))


OPERATORS: dict[str, Handler] = {
    "Add": _binary(operator.add),
    "Sub": _binary(operator.sub),
    "Mul": _binary(operator.mul),
    "Pow": power,
    "Equal": _binary(operator.eq),
    "Greater": _binary(operator.gt),
    "GreaterOrEqual": _binary(operator.ge),
    "Less": _binary(operator.lt),
    "LessOrEqual": _binary(operator.le),
    "And": _many(torch.logical_and),
    "Or": _many(torch.logical_or),
    "Xor": _many(torch.logical_xor),
    "Not": _unary(torch.logical_not),
    "BitwiseAnd": _many(torch.bitwise_and),
    "BitwiseOr": _many(torch.bitwise_or),
    "BitwiseXor": _many(torch.bitwise_xor),
    "BitwiseNot": _unary(torch.bitwise_not),
    "BitShift": bit_shift,
    "IsNaN": _unary(torch.isnan),
    "IsInf": is_infinite,
    "Max": _extreme(torch.maximum, "min"),
    "Min": _extreme(torch.minimum, "max"),
    "Sum": _many(operator.add),
    "Mean": mean,
    "Div": divide,
    "Mod": modulo,
    "Where": where,
    "Cast": cast,
    "CastLike": cast_like,
    "Sqrt": _unary(torch.sqrt),
    "Neg": _unary(torch.neg),
    "Abs": _unary(torch.abs),
    "Exp": _unary(torch.exp),
    "Log": _unary(torch.log),
    "Erf": _unary(torch.erf),
    "Floor": _unary(torch.floor),
    "Ceil": _unary(torch.ceil),
    "Round": _unary(torch.round),
    "Sign": _unary(torch.sign),
    "Sin": _unary(torch.sin),
    "Cos": _unary(torch.cos),
    "Tan": _unary(torch.tan),
    "Sinh": _unary(torch.sinh),
    "Cosh": _unary(torch.cosh),
    "Asin": _unary(torch.asin),
    "Acos": _unary(torch.acos),
    "Atan": _unary(torch.atan),
    "Asinh": _unary(torch.asinh),
    "Acosh": _unary(torch.acosh),
    "Atanh": _unary(torch.atanh),
    "Reciprocal": _unary(torch.reciprocal),
}
