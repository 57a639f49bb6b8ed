"""What the importer's tests share: a network from a few nodes, held to ONNX Runtime at batch 1 and a larger batch.

Every network here starts from `x` [batch, …]; a batch that was baked in would fail at one of the two sizes.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from hypothesis import HealthCheck, settings
from onnx import NodeProto, TensorProto, helper, numpy_helper

from lowbit.torchgraph.importer import import_graph

torch.set_num_threads(1)  # two threads on a busy machine wait for each other
Array = npt.NDArray[Any]
property_test = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def node(op_type: str, inputs: str, outputs: str = "y", **attributes: Any) -> NodeProto:
    """A node whose inputs and outputs are names in a string; "-" leaves an optional input out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(op_type, names, outputs.split(), name=f"the_{op_type}_{outputs}", **attributes)


def build(
    nodes: list[NodeProto],
    shape: tuple[int, ...],
    constants: dict[str, Array],
    *,
    opset: int = 20,
    outputs: tuple[str, ...] = ("y",),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    for output in graph.output:
        output.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def check(
    folder: Path,
    nodes: list[NodeProto],
    shape: tuple[int, ...],
    constants: dict[str, Array] | None = None,
    *,
    opset: int = 20,
    outputs: tuple[str, ...] = ("y",),
    positive: bool = False,
    batches: tuple[int, ...] = (4, 1),
) -> torch.nn.Module:
    """Import the network and hold it to ONNX Runtime at batch 1 and 4; gives the module for more questions."""
    path = folder / "network.onnx"
    onnx.save(build(nodes, shape, constants or {}, opset=opset, outputs=outputs), path)
    module = import_graph(path)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(7)
    x: Array = rng.normal(0, 2, (4, *shape)).astype(np.float32)
    x = np.abs(x) + np.float32(0.1) if positive else x
    for batch in (x[:n] for n in batches):
        with torch.no_grad():
            got = module(torch.from_numpy(batch))
        got = got if isinstance(got, tuple) else (got,)
        for ours, theirs in zip(got, session.run(None, {"x": batch}), strict=True):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4, rtol=1e-4)
    return module


def floats(*shape: int, seed: int = 0, low: float | None = None) -> Array:
    values = np.random.default_rng(seed).normal(0, 0.5, shape).astype(np.float32)
    return values if low is None else np.abs(values) + np.float32(low)


def ints(*values: int) -> Array:
    return np.array(values, dtype=np.int64)
