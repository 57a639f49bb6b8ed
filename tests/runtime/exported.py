"""What tests of exported ONNX files share: both runtimes on one thread, and float networks from a few nodes."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import openvino as ov
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]


def run_ort(model: onnx.ModelProto | Path, x: Array, optimized: Path | None = None) -> Array:
    """`optimized`: where the graph that is executed goes."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    result: Array = session.run(None, {session.get_inputs()[0].name: x})[0]
    return result


def run_ov(model: onnx.ModelProto | Path, x: Array, primitives: dict[str, str] | None = None) -> Array:
    """`primitives` is filled with the executed convolutions and matrix products."""
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    core = ov.Core()
    read = core.read_model(model if isinstance(model, Path) else model.SerializeToString())
    compiled = core.compile_model(read, "CPU", settings)
    for op in compiled.get_runtime_model().get_ops():
        facts = {key: op.get_rt_info()[key].astype(str) for key in ("layerType", "primitiveType")}
        if primitives is not None and facts["layerType"] in ("Convolution", "FullyConnected", "Deconvolution"):
            primitives[op.get_friendly_name()] = facts["primitiveType"]
    result: Array = compiled(x)[0].copy()
    return result


def network(
    nodes: list[onnx.NodeProto], shapes: dict[str, tuple[int, ...]], *, x: tuple[int, ...], opset: int = 20
) -> onnx.ModelProto:
    """Random initializers of `shapes` (an empty shape names int64 data [0, -1])."""
    rng = np.random.default_rng(3)

    def tensor(name: str, shape: tuple[int, ...]) -> onnx.TensorProto:
        array = rng.normal(0, 1.4 * float(np.prod(shape[1:])) ** -0.5, shape).astype(np.float32)
        return numpy_helper.from_array(array if shape else np.array([0, 9, -1]), name)

    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *x])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [tensor(*item) for item in shapes.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return onnx.shape_inference.infer_shapes(made)
