"""Operators that work entry by entry."""

import numpy as np
from onnx import TensorProto

from tests.runtime.cases.case import Case, Nodes, one, scalar, through_int, to_float
from tests.runtime.importing import floats, node


def activations() -> list[Case]:
    """Functions of one tensor, entry by entry."""
    plain = ("Abs", "Atan", "Ceil", "Cos", "Erf", "Exp", "Floor", "HardSigmoid", "HardSwish", "Identity", "Mish")
    more = ("Neg", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sinh", "Cosh")
    cases = [one(op_type) for op_type in (*plain, *more, "Tanh", "Celu", "Elu", "LeakyRelu", "ThresholdedRelu", "Gelu")]
    newer = ("Atan", "Cos", "Elu", "HardSigmoid", "HardSwish", "Mish", "Round", "Selu", "Sin", "Softplus", "Softsign")
    cases += [one(op_type, opset=22) for op_type in (*newer, "ThresholdedRelu", "Sinh", "Cosh")]
    cases += [one(op_type, low=-0.95, high=0.95, opset=s) for op_type in ("Asin", "Acos", "Atanh") for s in (13, 22)]
    cases += [one(op_type, low=0.1) for op_type in ("Log", "Sqrt", "Reciprocal")]
    cases += [one("Tan", low=-1.0, high=1.0), one("Asinh", opset=22), one("Acosh", low=1.5, opset=22)]
    cases += [one("Selu", alpha=1.2, gamma=0.7), one("Celu", alpha=0.6), one("Elu", alpha=0.6)]
    cases += [one("LeakyRelu", alpha=0.3), one("LeakyRelu", alpha=0.3, opset=13), one("ThresholdedRelu", alpha=-0.5)]
    cases += [one("Gelu", approximate="tanh"), one("HardSigmoid", alpha=0.3, beta=0.4, opset=13)]
    shrinks = ((0.5, 0.0), (0.7, 0.7), (0.7, 0.2), (0.5, 1.5))
    cases += [one("Shrink", lambd=lambd, bias=bias, opset=13) for lambd, bias in shrinks]
    cases += [one("Hardmax", whole=True, axis=axis, opset=13) for axis in (-1, 1)] + [one("Hardmax", opset=13)]
    cases += [one(op_type, axis=axis, opset=13) for op_type in ("Softmax", "LogSoftmax") for axis in (1, -2)]
    cases += [one("Clip", {"low": scalar(-1), "high": scalar(1.5)}, opset=13), one("Clip", {"low": scalar(-1)})]
    cases += [one("PRelu", {"slope": floats(3, 1, 1)}, opset=13), one("PRelu", {"slope": floats(1)}, opset=16)]
    computed = (node("ReduceMin", "x", "low", keepdims=0), node("ReduceMean", "x", "high", keepdims=0))
    cases.append(Case("Clip between computed limits", (*computed, node("Clip", "x low high"))))
    cases.append(through_int("Clip", {"low": scalar(-1, np.int64), "high": scalar(2, np.int64)}))
    return cases


def arithmetic() -> list[Case]:
    """Operators of two tensors and more, on floats, integers, truth values and bits."""
    c, r = {"c": floats(6, low=0.3)}, {"c": floats(3, 1, 1), "d": floats(6)}
    cases = [one(op_type, c, opset=s) for op_type in ("Add", "Sub", "Mul", "Div") for s in (13, 14)]
    cases += [one(op_type, r) for op_type in ("Sum", "Mean", "Max", "Min")] + [one("Mean", inputs="x")]
    cases += [one("Pow", c, low=0.1, opset=s) for s in (13, 15)] + [one("Mod", c, fmod=1)]
    three, two = {"c": scalar(3, np.int64)}, {"c": scalar(2, np.int64)}
    cases += [through_int(op_type, three) for op_type in ("Add", "Sub", "Mul", "Div", "Mod")]
    cases += [through_int("Mod", three, fmod=1)]
    cases += [through_int("Pow", two), through_int("Pow", {"c": scalar(2.0)}, to=6), through_int("Abs")]
    cases += [through_int("Max", three), through_int("Min", three), through_int("Sign"), through_int("Relu")]
    bits = {"c": np.array([1, 3, 2, 0, 5, 7], np.int64)}
    cases += [through_int(op_type, bits) for op_type in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")]
    cases += [through_int("BitwiseNot")]
    shift = {"c": np.array(2, np.uint8)}
    cases += [through_int("BitShift", shift, to=TensorProto.UINT8, direction=way) for way in ("LEFT", "RIGHT")]
    compares = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
    cases += [
        to_float(op_type, {"c": np.rint(floats(6))}, whole=True, opset=s) for op_type in compares for s in (13, 19)
    ]
    logic: Nodes = (node("Greater", "x zero", "a"), node("Less", "x one", "b"))
    zeros = {"zero": scalar(0), "one": scalar(1)}
    cases += [
        Case(op_type, (*logic, node(op_type, "a b", "r"), node("Cast", "r", "y", to=1)), zeros)
        for op_type in ("And", "Or", "Xor")
    ]
    cases.append(Case("Not", (logic[0], node("Not", "a", "r"), node("Cast", "r", "y", to=1)), zeros))
    for number, names in enumerate(("a x zero", "a one x", "a one zero", "a c x")):
        cases.append(Case(f"Where {number}", (logic[0], node("Where", names)), {**zeros, "c": floats(6)}))
    infinite: Nodes = (node("Log", "x", "l"),)
    for attributes in (
        {},
        {"detect_negative": 0},
        {"detect_positive": 0},
        {"detect_negative": 0, "detect_positive": 0},
    ):
        nodes: Nodes = (*infinite, node("IsInf", "l", "r", **attributes), node("Cast", "r", "y", to=1))
        cases.append(Case(f"IsInf{attributes}", nodes, low=-1, high=2, whole=True))
    nodes = (*infinite, node("IsNaN", "l", "r"), node("Cast", "r", "y", to=1))
    cases.append(Case("IsNaN", nodes, low=-2, high=2, whole=True, opset=13))
    for opset in (15, 19):
        nodes = (node("CastLike", "x c", "r"), node("Cast", "r", "y", to=1))
        cases.append(Case(f"CastLike-{opset}", nodes, {"c": scalar(1, np.int32)}, opset=opset))
    for kind in (TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.INT8, TensorProto.BOOL, TensorProto.BFLOAT16):
        cases.append(Case(f"Cast to {kind}", (node("Cast", "x", "r", to=kind), node("Cast", "r", "y", to=1)), opset=21))
    return cases
