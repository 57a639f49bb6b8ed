"""Short names for tensors: everywhere where a name is used, also inside the branches of If."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from lowbit.toolchains.onnxruntime import _shorten


def branching() -> onnx.ModelProto:
    """`picture` [N, 2] times two; then plus an outer constant where its sum is above 0, by an If within an If."""
    inner = helper.make_graph(
        [helper.make_node("Add", ["the doubled picture", "the outer constant"], ["the innermost sum"])],
        "inner", [], [helper.make_tensor_value_info("the innermost sum", TensorProto.FLOAT, None)],
    )  # fmt: skip
    minus = helper.make_graph(
        [helper.make_node("Sub", ["the doubled picture", "the branch's constant"], ["the difference"])],
        "minus", [], [helper.make_tensor_value_info("the difference", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([100], np.float32), "the branch's constant")],
    )  # fmt: skip
    outer = helper.make_graph(
        [helper.make_node("If", ["is it above zero"], ["the inner result"], then_branch=inner, else_branch=minus)],
        "outer", [], [helper.make_tensor_value_info("the inner result", TensorProto.FLOAT, None)],
    )  # fmt: skip
    nodes = [
        helper.make_node("Add", ["picture", "picture"], ["the doubled picture"]),
        helper.make_node("ReduceSum", ["the doubled picture"], ["the whole sum"], keepdims=0),
        helper.make_node("Greater", ["the whole sum", "zero itself"], ["is it above zero"]),
        helper.make_node("If", ["is it above zero"], ["scores"], then_branch=outer, else_branch=minus),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(np.array(0, np.float32), "zero itself"),
         numpy_helper.from_array(np.array([1, 2], np.float32), "the outer constant")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(model: onnx.ModelProto, picture: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"picture": picture})[0])


def test_names_are_exchanged_inside_branches_too() -> None:
    model, short = branching(), branching()
    _shorten(short)
    onnx.checker.check_model(short)
    for picture in (np.array([[1, 2]], np.float32), np.array([[-1, -2]], np.float32)):
        assert np.array_equal(run(short, picture), run(model, picture))
    text = short.SerializeToString()
    assert b"the " not in text
    assert [value.name for value in (*short.graph.input, *short.graph.output)] == ["picture", "scores"]
