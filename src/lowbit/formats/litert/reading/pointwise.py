"""Operators that work number by number, and the activations that others carry in their options."""

from collections.abc import Callable
from functools import partial

import numpy as np

from lowbit.formats.litert.reading.builder import Builder, Unreadable
from lowbit.formats.litert.reading.content import LiteRTOperator

Rule = Callable[[Builder, LiteRTOperator], str]

_ACTIVATIONS = {1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6", 4: "TANH"}  # the schema's ActivationFunctionType
_CLIPS = {"RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0), "RELU_0_TO_1": (0.0, 1.0)}


def activated(to: Builder, value: str, fused: int) -> str:
    """`value` behind the activation of this number in the schema, of which 0 is none."""
    if fused == 0:
        return value
    if fused not in _ACTIVATIONS:
        raise Unreadable(f"its activation has the number {fused}")
    kind = _ACTIVATIONS[fused]
    return _clipped(to, value, *_CLIPS[kind]) if kind in _CLIPS else to.add(kind.capitalize(), [value])


def _clipped(to: Builder, value: str, low: float, high: float) -> str:
    return to.add("Clip", [value, to.array(np.float32(low)), to.array(np.float32(high))])


def _same(kind: str, to: Builder, operator: LiteRTOperator) -> str:
    """An operator that ONNX has with the same operands; some carry an activation."""
    value = to.add(kind, to.operands(operator))
    return activated(to, value, getattr(operator.options, "fusedActivationFunction", 0))


def _clip(low: float, high: float, to: Builder, operator: LiteRTOperator) -> str:
    return _clipped(to, to.value(operator.inputs[0]), low, high)


def _leaky_relu(to: Builder, operator: LiteRTOperator) -> str:
    return to.add("LeakyRelu", to.operands(operator), alpha=float(operator.options.alpha))


def _gelu(to: Builder, operator: LiteRTOperator) -> str:
    return to.add("Gelu", to.operands(operator), approximate="tanh" if operator.options.approximate else "none")


def _rsqrt(to: Builder, operator: LiteRTOperator) -> str:
    return to.add("Reciprocal", [to.add("Sqrt", to.operands(operator))])


def _square(to: Builder, operator: LiteRTOperator) -> str:
    value = to.value(operator.inputs[0])
    return to.add("Mul", [value, value])


def _squared_difference(to: Builder, operator: LiteRTOperator) -> str:
    difference = to.add("Sub", to.operands(operator))
    return to.add("Mul", [difference, difference])


def _floor_div(to: Builder, operator: LiteRTOperator) -> str:
    return to.add("Floor", [to.add("Div", to.operands(operator))])


def _not_equal(to: Builder, operator: LiteRTOperator) -> str:
    return to.add("Not", [to.add("Equal", to.operands(operator))])


def _softmax(to: Builder, operator: LiteRTOperator) -> str:
    value, beta = to.value(operator.inputs[0]), float(operator.options.beta)
    if beta != 1.0:
        value = to.add("Mul", [value, to.array(np.float32(beta))])
    return to.add("Softmax", [value], axis=-1)


def _log_softmax(to: Builder, operator: LiteRTOperator) -> str:
    return to.add("LogSoftmax", to.operands(operator), axis=-1)


def _l2_normalization(to: Builder, operator: LiteRTOperator) -> str:
    value = to.value(operator.inputs[0])
    length = to.add("ReduceL2", [value, to.array(np.array([-1]))], keepdims=1)
    return to.add("Div", [value, to.add("Max", [length, to.array(np.float32(1e-6))])])


def _zeros(to: Builder, operator: LiteRTOperator) -> str:
    value = to.value(operator.inputs[0])
    return to.add("Sub", [value, value])


_SAME = {
    "ABS": "Abs", "ADD": "Add", "ADD_N": "Sum", "CEIL": "Ceil", "COS": "Cos", "DIV": "Div", "ELU": "Elu",
    "EQUAL": "Equal", "EXP": "Exp", "FLOOR": "Floor", "GREATER": "Greater", "GREATER_EQUAL": "GreaterOrEqual",
    "HARD_SWISH": "HardSwish", "LESS": "Less", "LESS_EQUAL": "LessOrEqual", "LOG": "Log", "LOGICAL_AND": "And",
    "LOGICAL_NOT": "Not", "LOGICAL_OR": "Or", "LOGISTIC": "Sigmoid", "MAXIMUM": "Max", "MINIMUM": "Min", "MUL": "Mul",
    "NEG": "Neg", "POW": "Pow", "PRELU": "PRelu", "RELU": "Relu", "ROUND": "Round", "SELECT": "Where",
    "SELECT_V2": "Where", "SIGN": "Sign", "SIN": "Sin", "SQRT": "Sqrt", "SUB": "Sub", "TANH": "Tanh",
}  # fmt: skip

RULES: dict[str, Rule] = {
    **{kind: partial(_same, name) for kind, name in _SAME.items()},
    **{kind: partial(_clip, *ends) for kind, ends in _CLIPS.items()},
    "FLOOR_DIV": _floor_div,
    "GELU": _gelu,
    "L2_NORMALIZATION": _l2_normalization,
    "LEAKY_RELU": _leaky_relu,
    "LOG_SOFTMAX": _log_softmax,
    "NOT_EQUAL": _not_equal,
    "RSQRT": _rsqrt,
    "SOFTMAX": _softmax,
    "SQUARE": _square,
    "SQUARED_DIFFERENCE": _squared_difference,
    "ZEROS_LIKE": _zeros,
}
