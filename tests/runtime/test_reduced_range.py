"""Sums of u8 × s8 products are exact in both runtimes on every processor.

Where kernels may saturate, weights are reduced. Inputs and weights are all positive here, so that neighbouring products
add up to as much as 16 bits have to hold.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from lowbit.core import digest
from lowbit.core.artifact import Artifact
from lowbit.core.model import FloatModel
from lowbit.core.recipe import Recipe
from lowbit.formats.onnx.write import export_onnx
from lowbit.formats.openvino.write import export_openvino
from lowbit.toolchains.lowbit import INFO, plan_of
from lowbit.worker.verify import verify_artifact
from tests.quantized import REDUCED
from tests.runtime.networks import Network, conv, node, residual


def positive(network: Network) -> Network:
    """The same with weights of one sign, most of them near the largest."""
    for tensor in network.proto.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.ndim > 1:
            array = (1 - 0.1 * np.abs(array)) / np.prod(array.shape[1:])
            tensor.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float32), tensor.name))
    return network


def kinds() -> Network:
    """A plain, a grouped, a depthwise convolution with two results a channel, a transposed one, a matrix product."""
    nodes = [
        conv("x", "w1", "a"), node("Relu", "a", "ra"),
        conv("ra", "w2", "b", group=4), node("Relu", "b", "rb"),
        conv("rb", "w3", "c", group=12), node("Relu", "c", "rc"),
        node("ConvTranspose", "rc w4 w4.b", "d", kernel_shape=[2, 2], strides=[2, 2]), node("Relu", "d", "rd"),
        node("GlobalAveragePool", "rd", "g"), node("Flatten", "g", "f"),
        node("Gemm", "f w5 w5.b", "h", transB=1), node("Relu", "h", "rh"), node("Gemm", "rh w6 w6.b", "y", transB=1),
    ]  # fmt: skip
    weights = {
        "w1": (12, 3, 3, 3), "w2": (12, 3, 3, 3), "w3": (24, 1, 3, 3), "w4": (24, 8, 2, 2),
        "w5": (16, 8), "w6": (4, 16),
    }  # fmt: skip
    biases = {f"{name}.b": (shape[1] if name == "w4" else shape[0],) for name, shape in weights.items()}
    return Network(nodes, weights | biases)


@pytest.mark.parametrize(
    ("make", "recipe", "options"),
    [(kinds, "w8a8", {}), (kinds, "w7a8", {"symmetric": False}), (residual, "w8a8", {}), (residual, "w4a8", {})],
)
def test_every_layer_is_exact(make: Any, recipe: str, options: dict[str, Any], tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(2.5, 3, (16, 3, 10, 10)).astype(np.float32)
    model = positive(make()).quantized(tmp_path, recipe, x, rounding="nearest", **options)
    export_onnx(model, tmp_path / "m.onnx")
    export_openvino(model, tmp_path / "m.xml")
    for file, runtime in (("m.onnx", "onnxruntime"), ("m.onnx", "openvino"), ("m.xml", "openvino")):
        form = "onnx" if file == "m.onnx" else "openvino-ir"
        outputs = int(model.graph.graph.outputs[0].shape[-1])  # type: ignore[index, arg-type]
        found = verify_artifact(model, Artifact(tmp_path / file, form, "", (3, 10, 10), outputs), runtime, x[:4])
        assert not found.unchecked
        assert found.equal is not None
        assert found.equal >= 0.995, (file, runtime, found.layers)
        assert (found.largest or 0) <= 1, (file, runtime, found.layers)


@pytest.mark.parametrize(
    ("ending", "options", "expected"),
    [("", {}, REDUCED), ("-ir", {}, REDUCED), ("-tflite", {}, False), ("", {"reduce_range": True}, True),
     ("-tflite", {"reduce_range": True}, True), ("", {"reduce_range": False}, False)],
)  # fmt: skip
def test_the_processor_decides_unless_the_user_does(
    ending: str, options: dict[str, Any], expected: bool, tmp_path: Path
) -> None:
    path = tmp_path / "float.onnx"
    onnx.save(residual().proto, path)
    model = FloatModel(path, "residual", digest.of_files([path]), "x", "", "x", "y", (3, 10, 10), 6, False)
    recipe: Recipe = next(recipe for recipe in INFO.recipes if recipe.name == f"w8a8{ending}")
    _, plan = plan_of(model, replace(recipe, options=options))
    reduced = {layer.node for layer in plan.layers if layer.format is not None and layer.format.reduced}
    depthwise = {layer.node for layer in plan.layers if layer.weight == "w2"}
    assert reduced == ({layer.node for layer in plan.layers} - depthwise if expected else set())
