"""The float graph that vendors start from gives in OpenVINO what the user's file gives in ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from lowbit.graph.clean import clean

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "output_shape": ("ConvTranspose", {"output_shape": [13, 13], "strides": [2, 2]}),
    "auto_pad": ("ConvTranspose", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "max ceil": ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1] * 4, "ceil_mode": 1}),
    "average ceil": ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1] * 4, "ceil_mode": 1}),
    "average ceil, counted": (
        "AveragePool",
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4, "ceil_mode": 1, "count_include_pad": 1},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_padding_is_read_alike(case: str, tmp_path: Path) -> None:
    ov = pytest.importorskip("openvino")
    op_type, attributes = CASES[case]
    model = network(op_type, attributes)
    x = np.random.default_rng(1).normal(0, 1, (2, 3, 7, 7)).astype(np.float32)
    (expected,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    onnx.save(clean(model), tmp_path / "float.onnx")
    (same,) = ort.InferenceSession(tmp_path / "float.onnx").run(None, {"x": x})
    np.testing.assert_allclose(same, expected, atol=1e-5)
    compiled = ov.Core().compile_model(tmp_path / "float.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(compiled(x)[0], expected, atol=1e-5)


def network(op_type: str, attributes: dict[str, Any]) -> onnx.ModelProto:
    """x [batch, 3, 7, 7] → one operator → its entries, a score each."""
    weights = {"w": np.random.default_rng(0).normal(0, 1, (3, 4, 3, 3)).astype(np.float32)}
    transposed = op_type == "ConvTranspose"
    nodes = [
        helper.make_node(op_type, ["x", "w"] if transposed else ["x"], ["p"], **attributes),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 7, 7])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", None])],
        [numpy_helper.from_array(array, name) for name, array in weights.items() if transposed],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
