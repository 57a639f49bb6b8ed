"""Transposes that undo one another go, whatever lies between, and the function stays."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from lowbit.graph.clean import clean

Array = npt.NDArray[Any]
SHAPE = [2, 8, 6, 4]  # an image, channels last


class Drawing:
    """A graph with channels last, as TensorFlow's exporters write: every convolution stands between two Transposes."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, results: int = 1, **attributes: Any) -> str:
        names = [f"{kind.lower()}{len(self.nodes)}{'abc'[place]}" for place in range(results)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if results == 1 else " ".join(names)

    def floats(self, *shape: int) -> str:
        return self.constant(self.rng.normal(0, 0.5, shape).astype(np.float32))

    def constant(self, numbers: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(numbers), name))
        return name

    def turned(self, value: str, kind: str, *inputs: str, **attributes: Any) -> str:
        first = self.add("Transpose", value, perm=[0, 3, 1, 2])
        return self.add("Transpose", self.add(kind, first, *inputs, **attributes), perm=[0, 2, 3, 1])

    def conv(self, value: str, inputs: int = 4, outputs: int = 4) -> str:
        return self.turned(value, "Conv", self.floats(outputs, inputs, 3, 3), pads=[1] * 4)

    def head(self, value: str, channels: int = 4) -> str:
        mean = self.add("ReduceMean", value, self.constant(np.array([1, 2])), keepdims=0)
        return self.add("MatMul", mean, self.floats(channels, 5))

    def model(self, scores: str) -> onnx.ModelProto:
        """With the border that `adapt` gives to a model that takes channels last."""
        graph = helper.make_graph(
            [
                helper.make_node("Transpose", ["image"], ["x"], perm=[0, 2, 3, 1]),
                *self.nodes,
                helper.make_node("Identity", [scores], ["scores"]),
            ],
            "drawn",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", SHAPE[3], SHAPE[1], SHAPE[2]])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 5])],
            self.weights,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        return onnx.shape_inference.infer_shapes(made, data_prop=True)


def scores_of(model: onnx.ModelProto) -> Array:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    n, height, width, channels = SHAPE
    image = np.random.default_rng(9).normal(0, 1, (n, channels, height, width)).astype(np.float32)
    (scores,) = session.run(None, {"image": image})
    return np.asarray(scores)


def left(model: onnx.ModelProto) -> int:
    return sum(node.op_type == "Transpose" for node in model.graph.node)


def check(drawing: Drawing, scores: str, transposes: int) -> onnx.ModelProto:
    model = drawing.model(scores)
    cleaned = clean(model)
    np.testing.assert_allclose(scores_of(cleaned), scores_of(model), atol=1e-5, rtol=1e-4)
    assert left(cleaned) == transposes, [node.op_type for node in cleaned.graph.node]
    ir.from_proto(cleaned)
    return cleaned


def residual(to: Drawing) -> str:
    before = to.conv("x")
    after = to.add("Relu", to.add("Add", to.conv(before), to.floats(4)))
    return to.head(to.add("Add", to.conv(after), before))


def squeeze(to: Drawing) -> str:
    """Squeeze and excitation over a mean that keeps its axes."""
    value = to.conv("x")
    mean = to.add("ReduceMean", value, to.constant(np.array([1, 2])), keepdims=1)
    inner = to.turned(mean, "Conv", to.floats(4, 4, 1, 1))
    return to.head(to.add("Mul", value, to.add("HardSigmoid", inner)))


def squeeze_by_matrix(to: Drawing) -> str:
    """Squeeze and excitation by Dense layers: a Reshape brings the factors to [N, 1, 1, C]."""
    value = to.conv("x")
    mean = to.add("ReduceMean", value, to.constant(np.array([1, 2])), keepdims=0)
    factors = to.add("Sigmoid", to.add("MatMul", mean, to.floats(4, 4)))
    reshaped = to.add("Reshape", factors, to.constant(np.array([-1, 1, 1, 4])))
    return to.head(to.conv(to.add("Mul", value, reshaped)))


def flat(to: Drawing) -> str:
    value = to.conv("x")
    rows = to.add("Reshape", value, to.constant(np.array([-1, 192])))
    return to.add("Gemm", rows, to.floats(5, 192), to.floats(5), transB=1)


def flat_by_rows(to: Drawing) -> str:
    return to.add("MatMul", to.add("Flatten", to.conv("x"), axis=1), to.floats(192, 5))


def flat_behind_two_axes(to: Drawing) -> str:
    """Of a mean [N, 1, 1, C] a Flatten makes [N, C] where it begins behind two axes; of [N, C, 1, 1] it would not."""
    mean = to.add("ReduceMean", to.conv("x"), to.constant(np.array([1, 2])), keepdims=1)
    return to.add("MatMul", to.add("Flatten", mean, axis=2), to.floats(4, 5))


def pieces(to: Drawing) -> str:
    one, two = to.add("Split", to.conv("x"), results=2, axis=3, num_outputs=2).split()
    padded = to.add("Pad", to.add("Concat", two, one, axis=-1), to.constant(np.array([0, 1, 2, 0, 0, 0, 1, 0])))
    ends = [to.constant(np.array(each)) for each in ([1, 1], [7, 9], [2, 1])]
    cut = to.add("Slice", padded, *ends[:2], ends[2])
    return to.head(to.conv(to.add("Gather", cut, to.constant(np.array([3, 0, 1, 1])), axis=3)))


def resized(to: Drawing) -> str:
    value = to.add("Resize", to.conv("x"), "", to.constant(np.array([1, 2, 0.5, 1], np.float32)), mode="nearest")
    return to.head(to.conv(value))


def normalized(to: Drawing) -> str:
    """Divided by the root of the mean square over channels, operator by operator."""
    value = to.conv("x")
    square = to.add("ReduceMean", to.add("Mul", value, value), to.constant(np.array([-1])), keepdims=1)
    scaled = to.add("Div", value, to.add("Sqrt", to.add("Add", square, to.constant(np.float32(1e-3)))))
    return to.head(to.conv(to.add("Mul", scaled, to.floats(4))))


def prelu(to: Drawing) -> str:
    return to.head(to.conv(to.add("PRelu", to.conv("x"), to.floats(1, 1, 4))))


def softmax(to: Drawing) -> str:
    return to.head(to.add("Mul", to.add("Softmax", to.conv("x"), axis=-1), to.conv("x")))


@pytest.mark.parametrize(
    "draw",
    [residual, squeeze, squeeze_by_matrix, flat, flat_by_rows, pieces, resized, normalized, prelu, softmax],
    ids=lambda draw: draw.__name__,
)
def test_a_network_with_channels_last_needs_no_transpose(draw: Callable[[Drawing], str]) -> None:
    drawing = Drawing()
    check(drawing, draw(drawing), 0)


def test_a_flatten_that_begins_elsewhere_keeps_its_function() -> None:
    """Nothing is gained by moving the Transpose behind the mean, so that it stays where it is."""
    drawing = Drawing()
    check(drawing, flat_behind_two_axes(drawing), 1)


def test_what_needs_channels_last_keeps_one_transpose() -> None:
    """A LayerNormalization works on the last axes alone."""
    to = Drawing()
    value = to.add("LayerNormalization", to.conv("x"), to.floats(4), to.floats(4), axis=-1)
    check(to, to.head(value), 1)
    to = Drawing()
    value = to.add("LayerNormalization", to.conv("x"), to.floats(4), to.floats(4), axis=-1)
    check(to, to.head(to.conv(value)), 2)


def test_a_graph_from_which_nothing_is_gained_stays_as_it_is() -> None:
    """Attention turns its axes and needs to; a value that is read in both orders costs one Transpose either way."""
    to = Drawing()
    tokens = to.add("Reshape", "image", to.constant(np.array([-1, 4, 48])))
    keys = to.add("Transpose", tokens, perm=[0, 2, 1])
    weights = to.add("Softmax", to.add("MatMul", tokens, to.add("Sigmoid", keys)), axis=-1)
    mixed = to.add("MatMul", weights, tokens)
    scores = to.add("MatMul", to.add("ReduceMean", mixed, to.constant(np.array([2])), keepdims=0), to.floats(4, 5))
    model = to.model(scores)
    kinds = [node.op_type for node in clean(model).graph.node]
    assert kinds == [node.op_type for node in model.graph.node if node.op_type not in ("Identity",)][1:]


@pytest.mark.parametrize("seed", range(40))
def test_any_network_with_channels_last_keeps_its_function(seed: int) -> None:
    to = Drawing(seed)
    values = ["x"]
    for _ in range(12):
        value = values[to.rng.integers(len(values))]
        other = values[to.rng.integers(len(values))]
        match to.rng.integers(8):
            case 0 | 1:
                values.append(to.conv(value))
            case 2:
                values.append(to.add("Add", value, other))
            case 3:
                values.append(to.add("Relu", value))
            case 4:
                values.append(to.add("Mul", value, to.floats(*((4,), (6, 4), (8, 1, 1))[to.rng.integers(3)])))
            case 5:
                axes = to.constant(np.array([(1, 2), (-1, 2), (3, 3)][to.rng.integers(2)]))
                values.append(to.add("Sub", value, to.add("ReduceMean", other, axes, keepdims=1)))
            case 6:
                joined = to.add("Concat", value, other, axis=3)
                values.append(to.conv(joined, inputs=8))
            case 7:
                values.append(to.add("Transpose", to.add("Transpose", value, perm=[0, 2, 1, 3]), perm=[0, 2, 1, 3]))
    together = values[-1]
    for value in values[-4:-1]:
        together = to.add("Add", together, value)
    model = to.model(to.head(together))
    cleaned = clean(model)
    before = scores_of(model)
    np.testing.assert_allclose(scores_of(cleaned), before, atol=1e-4 * np.abs(before).max(), rtol=1e-4)
    assert left(cleaned) == 0
