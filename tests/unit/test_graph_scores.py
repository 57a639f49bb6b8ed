"""What a graph's scores are, whatever moves them behind the Softmax or Sigmoid that made them."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lowbit.core.adapter import Floats
from lowbit.graph.scores import are_probabilities, closing_nodes, kind_of_scores

Step = tuple[str, tuple[str, ...], dict[str, Any]]  # operator, names of constant inputs, attributes
CONSTANTS = {
    "shape": np.array([0, 4], np.int64), "axes": np.array([2, 3], np.int64),
    "low": np.float32(0), "high": np.float32(1),
    "index": np.array([1], np.int64), "starts": np.array([0], np.int64), "ends": np.array([3], np.int64),
    "one_axis": np.array([1], np.int64), "half": np.float32(0.5),
}  # fmt: skip


def floats(*rows: list[float]) -> Floats:
    return np.array(rows, np.float32)


def graph(*steps: Step) -> onnx.ModelProto:
    """A Conv from image to [N, 4, 1, 1] or a Gemm's, and `steps` behind it."""
    nodes = [helper.make_node("Conv", ["image", "w"], ["x0"], "layer")]
    for number, (kind, constants, attributes) in enumerate(steps):
        nodes.append(
            helper.make_node(kind, [f"x{number}", *constants], [f"x{number + 1}"], f"{kind}{number}", **attributes)
        )
    out = f"x{len(steps)}"
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in CONSTANTS.items()]
    weights.append(numpy_helper.from_array(np.ones((4, 3, 2, 2), np.float32), "w"))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 2, 2])
    scores = helper.make_tensor_value_info(out, TensorProto.FLOAT, None)
    return helper.make_model(helper.make_graph(nodes, "g", [image], [scores], weights))


SOFTMAX: Step = ("Softmax", (), {"axis": 1})
SIGMOID: Step = ("Sigmoid", (), {})
MOVING: list[Step] = [
    ("Flatten", (), {}), ("Reshape", ("shape",), {}), ("Squeeze", ("axes",), {}), ("Clip", ("low", "high"), {}),
    ("Identity", (), {}), ("Transpose", (), {"perm": [0, 1, 2, 3]}), ("Cast", (), {"to": TensorProto.FLOAT}),
    ("Slice", ("starts", "ends", "one_axis"), {}), ("Gather", ("index",), {"axis": 1}), ("Unsqueeze", ("axes",), {}),
]  # fmt: skip


@pytest.mark.parametrize("step", MOVING, ids=lambda step: step[0])
def test_what_only_moves_entries_is_looked_through(step: Step) -> None:
    assert kind_of_scores(graph(SOFTMAX, step)) == "softmax"
    assert kind_of_scores(graph(SIGMOID, step, step)) == "sigmoid"
    assert kind_of_scores(graph(step)) == "logits"
    assert closing_nodes(graph(SOFTMAX, step)) == (f"{step[0]}1", "Softmax0")
    assert closing_nodes(graph(step)) == ()


def test_where_the_graph_cannot_tell_the_values_do() -> None:
    unclear = graph(("Exp", (), {}), ("Mul", ("half",), {}))
    assert kind_of_scores(unclear) is None
    rows = floats([0.2, 0.3, 0.5], [0.0, 0.0, 1.0005])
    assert are_probabilities(unclear, rows)
    assert not are_probabilities(unclear, rows * 1.1)
    assert not are_probabilities(unclear, rows + floats([-0.2, 0.2, 0], [-0.1, 0.1, 0]))
    assert are_probabilities(unclear, floats([0.2], [1.0])), "one output: a probability lies between 0 and 1"
    assert not are_probabilities(unclear, floats([0.2], [1.2]))


def test_a_layers_scores_are_logits_whatever_their_values() -> None:
    assert not are_probabilities(graph(), floats([0.2], [0.7]))
    assert not are_probabilities(graph(("LogSoftmax", (), {"axis": 1})), floats([0.5, 0.5]))
    assert are_probabilities(graph(SOFTMAX), floats([0.5, 0.6]))
