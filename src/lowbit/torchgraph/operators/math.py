"""Arithmetic: elementwise functions, comparisons, reductions."""

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
    return lambda b, op: b.call(function, op.tensor(0))


def _binary(function: Callable[..., Any]) -> Handler:
    return lambda b, op: b.call(function, b.operand(op.get(0)), b.operand(op.get(1)))


def _many(function: Callable[..., Any]) -> Handler:
    """A chain over any number of tensors."""

    def handle(b: Builder, op: ImportedOp) -> Value:
        result = b.tensor(op.get(0))
        for value in op.inputs[1:]:
            result = b.call(function, result, b.tensor(value))
        return result

    return handle


def _extreme(of_two: Callable[..., Any], limit: str) -> Handler:
    """Max and Min over any number of inputs; a plain number becomes a clamp."""

    def handle(b: Builder, op: ImportedOp) -> Value:
        operands = [b.operand(value) for value in op.inputs]
        result, *others = [operand for operand in operands if isinstance(operand, fx.Node)]
        for other in others:
            result = b.call(of_two, result, other)
        for number in (operand for operand in operands if not isinstance(operand, fx.Node)):
            result = b.call(torch.clamp, result, **{limit: number})
        return result

    return handle


def modulo(b: Builder, op: ImportedOp) -> Value:
    """Mod: the sign of the divisor, or with `fmod` that of the dividend."""
    function = torch.fmod if op.attribute("fmod", 0) else torch.remainder
    return b.call(function, op.tensor(0), b.operand(op.get(1)))


def divide(b: Builder, op: ImportedOp) -> Value:
    """Div: integers are divided towards zero."""
    x, y = b.operand(op.get(0)), b.operand(op.get(1))
    if isinstance(x, fx.Node) and not b.is_float(x):
        return b.call(torch.div, x, y, rounding_mode="trunc")
    return b.call(operator.truediv, x, y)


def where(b: Builder, op: ImportedOp) -> Value:
    """Where."""
    return b.call(torch.where, b.tensor(op.get(0)), b.operand(op.get(1)), b.operand(op.get(2)))


def cast(b: Builder, op: ImportedOp) -> Value:
    """Cast to a type that torch has."""
    dtype = ir.DataType(op.attribute("to", 1)).numpy()
    return b.method("to", op.tensor(0), torch.from_numpy(np.empty(0, dtype)).dtype)


def _reduction(function: Callable[[Builder, fx.Node, list[int], bool], fx.Node]) -> Handler:
    """A reduction over `axes` (an input or an attribute; absent means all, or none by noop_with_empty_axes)."""

    def handle(b: Builder, op: ImportedOp) -> Value:
        x, axes = op.tensor(0), op.ints(1, "axes")
        if not axes:
            if op.attribute("noop_with_empty_axes", 0):
                return x
            axes = list(range(b.rank(x)))
        return function(b, x, axes, bool(op.attribute("keepdims", 1)))

    return handle


def _l2(b: Builder, x: fx.Node, axes: list[int], keep: bool) -> fx.Node:
    return b.call(torch.sqrt, b.call(torch.sum, b.call(torch.mul, x, x), axes, keepdim=keep))


def argmax(b: Builder, op: ImportedOp) -> Value:
    """ArgMax; among equals torch gives the first, as ONNX does by default."""
    if op.attribute("select_last_index", 0):
        raise op.unsupported("it asks for the last of equal maxima")
    return b.call(torch.argmax, op.tensor(0), op.attribute("axis", 0), bool(op.attribute("keepdims", 1)))


def cumsum(b: Builder, op: ImportedOp) -> Value:
    """CumSum along one axis."""
    if op.attribute("exclusive", 0) or op.attribute("reverse", 0):
        raise op.unsupported("exclusive or reversed sums")
    return b.call(torch.cumsum, op.tensor(0), int(op.constant(1).array.reshape(-1)[0]))


def einsum(b: Builder, op: ImportedOp) -> Value:
    """Einsum."""
    return b.call(torch.einsum, op.attribute("equation", ""), *(b.tensor(value) for value in op.inputs))


OPERATORS: dict[str, Handler] = {
    "Add": _binary(operator.add),
    "Sub": _binary(operator.sub),
    "Mul": _binary(operator.mul),
    "Pow": _binary(operator.pow),
    "Equal": _binary(operator.eq),
    "Greater": _binary(operator.gt),
    "GreaterOrEqual": _binary(operator.ge),
    "Less": _binary(operator.lt),
    "LessOrEqual": _binary(operator.le),
    "And": _many(torch.logical_and),
    "Or": _many(torch.logical_or),
    "Max": _extreme(torch.maximum, "min"),
    "Min": _extreme(torch.minimum, "max"),
    "Sum": _many(operator.add),
    "Div": divide,
    "Mod": modulo,
    "Where": where,
    "Cast": cast,
    "Sqrt": _unary(torch.sqrt),
    "Neg": _unary(torch.neg),
    "Abs": _unary(torch.abs),
    "Exp": _unary(torch.exp),
    "Log": _unary(torch.log),
    "Erf": _unary(torch.erf),
    "Floor": _unary(torch.floor),
    "Ceil": _unary(torch.ceil),
    "Round": _unary(torch.round),
    "Sin": _unary(torch.sin),
    "Cos": _unary(torch.cos),
    "Not": _unary(torch.logical_not),
    "Reciprocal": _unary(torch.reciprocal),
    "ReduceMean": _reduction(lambda b, x, axes, keep: b.call(torch.mean, x, axes, keepdim=keep)),
    "ReduceSum": _reduction(lambda b, x, axes, keep: b.call(torch.sum, x, axes, keepdim=keep)),
    "ReduceMax": _reduction(lambda b, x, axes, keep: b.call(torch.amax, x, axes, keepdim=keep)),
    "ReduceMin": _reduction(lambda b, x, axes, keep: b.call(torch.amin, x, axes, keepdim=keep)),
    "ReduceL2": _reduction(_l2),
    "ArgMax": argmax,
    "CumSum": cumsum,
    "Einsum": einsum,
}
