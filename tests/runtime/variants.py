"""One variant of an operator as a network of its own, quantized and exported: how far is each runtime from float?

The input is codes exactly (numbers on a grid of 1/32, of which the largest and smallest are there), weights are whole
numbers of a 4-bit grid, and what stands behind the operator is a product with the identity matrix: so the only rounding
is that of the operator's own result, and errors are told in steps of its quantizer.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto

from lowbit.formats.onnx.write import export_onnx
from lowbit.quant.model import QuantizedModel
from lowbit.reference.graph import load_integer_graph
from lowbit.reference.op import real
from tests.runtime.exported import run_ort, run_ov
from tests.runtime.networks import Array, Network, node

STEP = 1 / 32
IMAGES = 4


@dataclass(frozen=True)
class Variant:
    """nodes: from the input `x` to `v`. given: their constants. within: bound of the error, in steps of v."""

    name: str
    nodes: list[NodeProto]
    given: dict[str, Array] = field(default_factory=dict)
    x: tuple[int, ...] = (3, 8, 8)
    within: float = 0.51
    opset: int = 20

    def float_network(self) -> Network:
        """To `v` alone."""
        return self._opset(Network(self.nodes, {}, self.given, outputs="v", x=self.x))

    def network(self, size: int) -> Network:
        """To `y` [N, size], the entries of `v`."""
        identity = {"identity": np.eye(size, dtype=np.float32), "zeros": np.zeros(size, np.float32)}
        flat = [node("Flatten", "v", "flat"), node("Gemm", "flat identity zeros", "y", transB=1)]
        return self._opset(Network(self.nodes + flat, {}, self.given | identity, x=self.x))

    def _opset(self, network: Network) -> Network:
        network.proto.opset_import[0].version = self.opset
        return network

    def inputs(self) -> Array:
        """x [IMAGES, *shape]."""
        codes = np.random.default_rng(4).integers(0, 256, (IMAGES, *self.x))
        codes.flat[:2] = 0, 255
        return ((codes - 100) * STEP).astype(np.float32)


@dataclass(frozen=True)
class Made:
    """The quantized variant; expected: the float network's numbers [N, size]; step: of v's quantizer."""

    model: QuantizedModel
    x: Array
    expected: Array
    step: float

    def error(self, found: Array) -> float:
        """The largest difference from float, in steps."""
        assert found.shape == self.expected.shape
        return float(np.abs(found - self.expected).max() / self.step)


def make(variant: Variant, folder: Path, recipe: str = "w4a8") -> Made:
    """Quantize it; its operators must be in integers: v has a quantizer."""
    x = variant.inputs()
    v = variant.float_network().scores(x)
    size = int(np.prod(v.shape[1:]))
    model = variant.network(size).quantized(folder, recipe, x, rounding="nearest", ends=4)
    step = max(float(model.main[name].scale) for name in model.main if name in ("v", "flat"))
    return Made(model, x, v.reshape(len(x), size), step)


def in_reference(made: Made, folder: Path) -> Array:
    export_onnx(made.model, folder / "reference.onnx")
    graph = load_integer_graph(onnx.load(folder / "reference.onnx"))
    return np.array(real(graph.run({"x": made.x})["y"]), np.float32)


def in_onnxruntime(made: Made, folder: Path) -> Array:
    export_onnx(made.model, folder / "v.onnx")
    return run_ort(folder / "v.onnx", made.x)


def in_openvino(made: Made, folder: Path) -> Array:
    export_onnx(made.model, folder / "v.onnx")
    return run_ov(folder / "v.onnx", made.x)


def in_openvino_ir(made: Made, folder: Path) -> Array:
    from lowbit.formats.openvino.write import export_openvino

    export_openvino(made.model, folder / "v.xml")
    return run_ov(folder / "v.xml", made.x)


def in_litert(made: Made, folder: Path) -> Array:
    from ai_edge_litert.interpreter import Interpreter

    from lowbit.formats.litert.write import export_litert

    export_litert(made.model, folder / "v.tflite", batch_size=len(made.x))
    interpreter = Interpreter(str(folder / "v.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], made.x)
    interpreter.invoke()
    return np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


RUNTIMES: dict[str, Callable[[Made, Path], Array]] = {
    "reference": in_reference,
    "onnxruntime": in_onnxruntime,
    "openvino": in_openvino,
    "openvino-ir": in_openvino_ir,
    "litert": in_litert,
}
