"""One operator with its attributes and operator set, as a network of a node or two, and what it should compute.

ONNX Runtime answers; where it lacks the operator, ONNX's reference evaluator does.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import NodeProto, TensorProto
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi.onnxruntime_pybind11_state import Fail
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as Unknown

from tests.runtime.importing import Array, build, node

IMAGE = (3, 5, 6)


Nodes = tuple[NodeProto, ...]


@dataclass(frozen=True)
class Case:
    """`nodes` from x [batch, *shape] to the outputs; x is positive, or inside (-1, 1), where the operator wants it."""

    name: str
    nodes: Nodes
    constants: dict[str, Array] = field(default_factory=dict)
    shape: tuple[int, ...] = IMAGE
    opset: int = 20
    outputs: tuple[str, ...] = ("y",)
    low: float = -4.0
    high: float = 4.0
    whole: bool = False  # x holds whole numbers: equal ones, and something to cast to integers
    asked: int | None = None  # an operator set where it means the same and that ONNX Runtime knows it in

    def model(self, opset: int | None = None) -> onnx.ModelProto:
        """The network."""
        return build(list(self.nodes), self.shape, self.constants, opset=opset or self.opset, outputs=self.outputs)

    def expected(self, x: Array) -> list[Array]:
        """The outputs for x: by ONNX Runtime, or by ONNX's reference evaluator for what the former lacks."""
        model = self.model(self.asked)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        try:
            session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except (Unknown, Fail):
            return list(ReferenceEvaluator(model).run(None, {"x": x}))
        return list(session.run(None, {"x": x}))

    def images(self, count: int) -> Array:
        """Random x."""
        x = np.random.default_rng(7).uniform(self.low, self.high, (count, *self.shape))
        return (np.rint(x) if self.whole else x).astype(np.float32)


def one(op_type: str, constants: dict[str, Array] | None = None, **options: Any) -> Case:
    """A single node; options that are no field of a Case are its attributes."""
    mine = {k: options.pop(k) for k in ("shape", "opset", "low", "high", "whole", "asked") if k in options}
    outputs = options.pop("outputs", "y").split()
    names = " ".join(["x", *(constants or {})]) if "inputs" not in options else options.pop("inputs")
    said = ", ".join(f"{k}={v}" for k, v in options.items())
    made = (node(op_type, names, " ".join(outputs), **options),)
    label = f"{op_type}-{mine.get('opset', 20)}({said}){'/' + names if constants else ''}{mine.get('shape', '')}"
    return Case(label, made, constants or {}, outputs=tuple(name for name in outputs if name != "-"), **mine)


def through_int(op_type: str, constants: dict[str, Array] | None = None, to: int = 7, **options: Any) -> Case:
    """x as integers → the operator → floats."""
    names = options.pop("inputs", " ".join(["i", *(constants or {})]))
    opset = options.pop("opset", 20)
    nodes: Nodes = (
        node("Cast", "x", "i", to=to),
        node(op_type, names, "r", **options),
        node("Cast", "r", "y", to=TensorProto.FLOAT),
    )
    low = 0.0 if to in (TensorProto.UINT8, TensorProto.UINT32) else -4.0
    label = f"{op_type} of integers{options}{names}" + ("" if to == TensorProto.INT64 else f" of type {to}")
    return Case(label, nodes, constants or {}, opset=opset, whole=True, low=low)


def to_float(op_type: str, constants: dict[str, Array] | None = None, **options: Any) -> Case:
    """The operator → a Cast to float, for what gives integers or truth values."""
    mine = {k: options.pop(k) for k in ("shape", "opset", "whole") if k in options}
    names = " ".join(["x", *(constants or {})])
    nodes: Nodes = (node(op_type, names, "r", **options), node("Cast", "r", "y", to=TensorProto.FLOAT))
    return Case(f"{op_type}-{mine.get('opset', 20)}{options}{mine}", nodes, constants or {}, **mine)


def scalar(value: float, kind: Any = np.float32) -> Array:
    """A constant without axes."""
    return np.array(value, dtype=kind)
