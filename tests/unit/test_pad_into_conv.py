"""Zeros around an image become a convolution's own padding, and nothing else does."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from lowbit.graph.clean import clean


def drawn(pads: list[int], *, axes: list[int] | None = None, fill: float | None = None, **pad: str) -> onnx.ModelProto:
    """A Pad, and a convolution of stride 2 that pads too."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.normal(0, 1, (4, 3, 3, 3)).astype(np.float32), "w"),
        numpy_helper.from_array(rng.normal(0, 1, (4, 5)).astype(np.float32), "head"),
        numpy_helper.from_array(np.array(pads), "pads"),
        numpy_helper.from_array(np.array(axes or [0]), "axes"),
        numpy_helper.from_array(np.array(fill or 0, np.float32), "fill"),
    ]
    operands = ["image", "pads", "fill" if fill is not None or axes else "", "axes" if axes else ""]
    while not operands[-1]:
        operands.pop()
    nodes = [
        helper.make_node("Pad", operands, ["padded"], **pad),
        helper.make_node("Conv", ["padded", "w"], ["c"], strides=[2, 2], pads=[1, 0, 0, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["m"]),
        helper.make_node("Flatten", ["m"], ["f"]),
        helper.make_node("MatMul", ["f", "head"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "padded",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 9, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 5])],
        weights,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    return onnx.shape_inference.infer_shapes(made)


@pytest.mark.parametrize(
    ("model", "left"),
    [
        (drawn([0, 0, 0, 1, 0, 0, 2, 1]), 0),
        (drawn([0, 1, 2, 1], axes=[-2, 3]), 0),
        (drawn([0, 0, 0, 1, 0, 0, 2, 1], fill=0.5), 1),
        (drawn([0, 0, 1, 1, 0, 0, 2, 1], mode="reflect"), 1),
        (drawn([0, 0, 0, -1, 0, 0, 2, 1]), 1),
    ],
    ids=["zeros", "axes", "another number", "reflected", "cut"],
)
def test_the_function_stays(model: onnx.ModelProto, left: int) -> None:
    cleaned = clean(model)
    image = np.random.default_rng(1).normal(0, 1, (2, 3, 9, 8)).astype(np.float32)
    before, after = (
        onnxruntime.InferenceSession(each.SerializeToString()).run(None, {"image": image})[0]
        for each in (model, cleaned)
    )
    np.testing.assert_allclose(after, before, atol=1e-5)
    assert sum(node.op_type == "Pad" for node in cleaned.graph.node) == left
