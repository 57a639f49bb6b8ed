"""Small ONNX graphs of a test's own, and ONNX Runtime's answers to them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

Floats = npt.NDArray[np.float32]
Shape = Sequence[int | str | None]


def info(name: str, shape: Shape | None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def build(
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, npt.NDArray[Any]],
    *,
    image: Shape = ("batch", 3, 8, 8),
    scores: Shape | None = ("batch", 4),
    opset: int = 20,
    ir_version: int = 10,
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model from `image` to `scores`, both of type `kind`."""
    graph = helper.make_graph(
        nodes,
        "test",
        [info("image", image, kind)],
        [info("scores", scores, kind)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def run(model: onnx.ModelProto, images: npt.NDArray[Any]) -> Floats:
    """Scores of the graph as it is written, without optimizations."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    scores: Floats = session.run(None, {"image": images})[0]
    return scores


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]
