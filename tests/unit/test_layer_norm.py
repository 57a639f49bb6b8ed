"""A layer normalization in pieces becomes one operator of the same function; what only looks like one stays."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from lowbit.graph.clean import clean

WIDTH = 6


class Pieces:
    """A graph of tokens [N, 5, WIDTH] that ends in a classifier."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, numbers: Any) -> str:
        name = f"w{len(self.weights)}"
        kind = np.int64 if np.asarray(numbers).dtype.kind == "i" else np.float32
        self.weights.append(numpy_helper.from_array(np.asarray(numbers, kind), name))
        return name

    def vector(self) -> str:
        return self.constant(self.rng.normal(1, 0.5, WIDTH))

    def mean(self, value: str, axis: int = -1, keepdims: int = 1) -> str:
        return self.add("ReduceMean", value, self.constant([axis]), keepdims=keepdims)

    def deviation(self, x: str, axis: int = -1, *, power: bool = False) -> tuple[str, str, str]:
        mean = self.mean(x, axis)
        centred = self.add("Sub", x, mean)
        square = self.add("Pow", centred, self.constant(2.0)) if power else self.add("Mul", centred, centred)
        shifted = self.add("Add", self.mean(square, axis), self.constant(1e-3))
        return mean, centred, self.add("Sqrt", shifted)

    def model(self, value: str, opset: int = 20) -> onnx.ModelProto:
        flat = self.add("Flatten", value, axis=1)
        scores = self.add("MatMul", flat, self.constant(self.rng.normal(0, 1, (5 * WIDTH, 4))))
        self.nodes[-1].output[0] = "scores"
        assert scores
        graph = helper.make_graph(
            [helper.make_node("Reshape", ["image", self.constant([-1, 5, WIDTH])], ["x"]), *self.nodes],
            "pieces",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 5, WIDTH])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 4])],
            self.weights,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
        return onnx.shape_inference.infer_shapes(made)


def torchs(to: Pieces) -> str:
    _, centred, deviation = to.deviation("x", power=True)
    scaled = to.add("Mul", to.add("Div", centred, deviation), to.vector())
    return to.add("Add", scaled, to.vector())


def keras3(to: Pieces) -> str:
    mean, _, deviation = to.deviation("x")
    factor = to.add("Mul", to.add("Reciprocal", deviation), to.vector())
    moved = to.add("Mul", to.add("Neg", mean), factor)
    return to.add("Add", to.add("Mul", "x", factor), to.add("Add", moved, to.vector()))


def keras3_without_beta(to: Pieces) -> str:
    mean, _, deviation = to.deviation("x")
    factor = to.add("Reciprocal", deviation)
    return to.add("Add", to.add("Mul", "x", factor), to.add("Mul", factor, to.add("Neg", mean)))


def another_sign(to: Pieces) -> str:
    mean, _, deviation = to.deviation("x")
    factor = to.add("Reciprocal", deviation)
    return to.add("Add", to.add("Mul", "x", factor), to.add("Mul", factor, mean))


def keras3_shifted_twice(to: Pieces) -> str:
    mean, _, deviation = to.deviation("x")
    factor = to.add("Reciprocal", deviation)
    moved = to.add("Add", to.add("Mul", to.add("Neg", mean), factor), to.vector())
    return to.add("Add", to.add("Mul", "x", factor), to.add("Add", moved, to.vector()))


def factors_of_another_axis(to: Pieces) -> str:
    """As many factors as the last axis has entries, but along the axis before: both have the same size here."""
    x = to.add("Slice", to.add("Concat", "x", "x", axis=1), *(to.constant([each]) for each in (0, WIDTH, 1)))
    mean, _, deviation = to.deviation(x)
    factor = to.add("Mul", to.add("Reciprocal", deviation), to.constant(to.rng.normal(1, 0.5, (WIDTH, 1))))
    rest = to.add("Sub", to.vector(), to.add("Mul", mean, factor))
    whole = to.add("Add", to.add("Mul", x, factor), rest)
    return to.add("Slice", whole, *(to.constant([each]) for each in (0, 5, 1)))


def keras(to: Pieces) -> str:
    mean, _, deviation = to.deviation("x")
    factor = to.add("Mul", to.add("Reciprocal", deviation), to.vector())
    rest = to.add("Sub", to.vector(), to.add("Mul", mean, factor))
    return to.add("Add", to.add("Mul", "x", factor), rest)


def keras_without_gamma(to: Pieces) -> str:
    mean, _, deviation = to.deviation("x")
    factor = to.add("Reciprocal", deviation)
    rest = to.add("Sub", to.vector(), to.add("Mul", mean, factor))
    return to.add("Add", to.add("Mul", factor, "x"), rest)


def bare(to: Pieces) -> str:
    _, centred, deviation = to.deviation("x", axis=2)
    return to.add("Mul", centred, to.add("Div", to.constant(1.0), deviation))


def scaled_alone(to: Pieces) -> str:
    _, centred, deviation = to.deviation("x")
    return to.add("Mul", to.vector(), to.add("Div", centred, deviation))


def another_axis(to: Pieces) -> str:
    _, centred, deviation = to.deviation("x", axis=1)
    return to.add("Div", centred, deviation)


def another_mean(to: Pieces) -> str:
    _, _, deviation = to.deviation("x")
    return to.add("Div", to.add("Sub", "x", to.mean("x", 1)), deviation)


def another_value(to: Pieces) -> str:
    _, _, deviation = to.deviation("x")
    return to.add("Div", to.add("Relu", "x"), deviation)


def another_factor(to: Pieces) -> str:
    mean, _, deviation = to.deviation("x")
    inverse = to.add("Reciprocal", deviation)
    one, two = to.add("Mul", inverse, to.vector()), to.add("Mul", inverse, to.vector())
    return to.add("Add", to.add("Mul", "x", one), to.add("Sub", to.vector(), to.add("Mul", mean, two)))


def scores_of(model: onnx.ModelProto) -> Any:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(1).normal(3, 2, (3, 1, 5, WIDTH)).astype(np.float32)
    return session.run(None, {"image": image})[0]


@pytest.mark.parametrize(
    ("draw", "fused"),
    [
        (keras3, True), (keras3_without_beta, True), (keras3_shifted_twice, True), (another_sign, False),
        (factors_of_another_axis, False),
        (torchs, True), (keras, True), (keras_without_gamma, True), (bare, True), (scaled_alone, True),
        (another_axis, False), (another_mean, False), (another_value, False), (another_factor, False),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)  # fmt: skip
def test_pieces_become_one_operator(draw: Callable[[Pieces], str], fused: bool) -> None:
    to = Pieces()
    model = to.model(draw(to))
    cleaned = clean(model)
    np.testing.assert_allclose(scores_of(cleaned), scores_of(model), atol=1e-4)
    kinds = [node.op_type for node in cleaned.graph.node]
    assert kinds.count("LayerNormalization") == fused
    assert ("Sqrt" not in kinds) == fused


def test_an_operator_set_without_the_operator_keeps_the_pieces() -> None:
    to = Pieces()
    pieces = to.model(torchs(to))
    pieces.opset_import[0].version = 16
    for node in pieces.graph.node:
        if node.op_type == "ReduceMean":
            node.attribute.append(helper.make_attribute("axes", [-1]))
            del node.input[1:]
    assert "LayerNormalization" not in [node.op_type for node in clean(pieces).graph.node]
