"""Small networks for the engine's tests: from a few nodes, quantized, simulated, exported and compared."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper

from lowbit.formats.onnx.write import export_onnx
from lowbit.quant.engine import quantize, simulator
from lowbit.quant.model import QuantizedModel
from lowbit.quant.plan.files import plan_for
from lowbit.quant.plan.plan import QuantPlan
from lowbit.quant.prepare import prepare
from lowbit.quant.ranges.observe import Images
from tests.quantized import REDUCED
from tests.runtime.exported import run_ort

torch.set_num_threads(1)  # two threads on a busy machine wait for each other
Array = npt.NDArray[Any]
IMAGE = (3, 10, 10)


def images(x: Array) -> Images:
    def batches(size: int) -> Iterator[Array]:
        return (x[start : start + size] for start in range(0, len(x), size))

    return Images(len(x), batches)


def pictures(count: int, *, seed: int = 1, shape: tuple[int, ...] = IMAGE) -> Array:
    """Blurred noise: neighbours are alike, as in photographs."""
    x = np.random.default_rng(seed).normal(0, 1, (count, *shape))
    for axis in range(2, x.ndim):
        x = x + 0.8 * np.roll(x, 1, axis) + 0.4 * np.roll(x, 2, axis)
    return x.astype(np.float32)


def node(op_type: str, inputs: str, output: str, **attributes: Any) -> NodeProto:
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(op_type, names, output.split(), name=output.split()[0], **attributes)


def conv(source: str, weight: str, output: str, **attributes: Any) -> NodeProto:
    return node("Conv", f"{source} {weight} {weight}.b", output, **({"pads": [1] * 4} | attributes))


class Network:
    """A network from x [batch, *shape]; every tensor with a shape in `shapes` is random, `given` ones are as given."""

    def __init__(
        self,
        nodes: list[NodeProto],
        shapes: dict[str, tuple[int, ...]],
        given: dict[str, Array] | None = None,
        *,
        outputs: str = "y",
        x: tuple[int, ...] = IMAGE,
    ) -> None:
        rng = np.random.default_rng(5)
        arrays = {name: self._random(rng, shape) for name, shape in shapes.items()} | (given or {})
        known: dict[str, list[str | int | None]] = {"x": ["batch", *x]}
        graph = helper.make_graph(
            nodes,
            "network",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, known["x"])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, known.get(name)) for name in outputs.split()],
            [numpy_helper.from_array(array, name) for name, array in arrays.items()],
        )
        self.proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)

    @staticmethod
    def _random(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        fan_in = float(np.prod(shape[1:])) if len(shape) > 1 else 30.0
        return rng.normal(0, 1.6 * fan_in**-0.5, shape).astype(np.float32)

    def prepared(self, folder: Path) -> ir.Model:
        onnx.save(self.proto, folder / "float.onnx")
        return prepare(folder / "float.onnx")

    def scores(self, x: Array) -> Array:
        return run_ort(self.proto, x)

    def quantized(
        self,
        folder: Path,
        recipe: str,
        x: Array,
        *,
        seed: int = 0,
        change: Callable[[QuantPlan], QuantPlan] = lambda plan: plan,
        **options: Any,
    ) -> QuantizedModel:
        model, options = self.prepared(folder), {"reduce_range": REDUCED, **options}
        return quantize(model, change(plan_for(model, "digest", recipe, options)), images(x), seed=seed)


def residual() -> Network:
    """Convolutions, a depthwise one, a residual add, a concat around a pooling, two matrix products."""
    nodes = [
        conv("x", "w1", "c1"), node("Relu", "c1", "r1"),
        conv("r1", "w2", "c2", group=12), node("Relu", "c2", "r2"), conv("r2", "w3", "c3"),
        node("Add", "c3 r1", "a"), node("Relu", "a", "ra"),
        node("MaxPool", "ra", "p", kernel_shape=[2, 2], strides=[2, 2]),
        conv("p", "w4", "c4"), node("Relu", "c4", "r4"), node("Concat", "p r4", "j", axis=1),
        conv("j", "w5", "c5"), node("Relu", "c5", "r5"),
        node("GlobalAveragePool", "r5", "g"), node("Flatten", "g", "f"),
        node("Gemm", "f w6 w6.b", "h", transB=1), node("Relu", "h", "rh"), node("Gemm", "rh w7 w7.b", "y", transB=1),
    ]  # fmt: skip
    weights = {
        "w1": (12, 3, 3, 3), "w2": (12, 1, 3, 3), "w3": (12, 12, 3, 3), "w4": (8, 12, 3, 3), "w5": (16, 20, 3, 3),
        "w6": (16, 16), "w7": (6, 16),
    }  # fmt: skip
    return Network(nodes, weights | {f"{name}.b": shape[:1] for name, shape in weights.items()})


def simulated(model: QuantizedModel, x: Array) -> Array:
    with torch.no_grad():
        return simulator(model).outputs(torch.from_numpy(x)).numpy()


def exported(model: QuantizedModel, folder: Path, x: Array) -> Array:
    export_onnx(model, folder / "quantized.onnx")
    return run_ort(folder / "quantized.onnx", x)


def head(source: str) -> list[NodeProto]:
    return [
        node("GlobalAveragePool", source, "hp"),
        node("Flatten", "hp", "hf"),
        node("Gemm", "hf g g.b", "y", transB=1),
    ]


def small(given: dict[str, Array], nodes: list[NodeProto] | None = None, **arguments: Any) -> Network:
    """Two convolutions and a classifier; the tensors of `given` are as given."""
    usual = [
        conv("x", "w", "c"),
        node("Relu", "c", "r"),
        conv("r", "v", "d"),
        node("Relu", "d", "q"),
        *head("q"),
    ]
    shapes = {"w": (6, 3, 3, 3), "v": (6, 6, 3, 3), "g": (3, 6)}
    shapes |= {f"{name}.b": shape[:1] for name, shape in shapes.items()}
    return Network(nodes or usual, shapes, given, **arguments)


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 1.6 * float(np.prod(shape[1:])) ** -0.5, shape).astype(np.float32)


def check(network: Network, folder: Path, recipe: str, x: Array, within: float, **options: Any) -> QuantizedModel:
    """Scores within a share of their spread on fresh images, in the simulation and in the file."""
    fresh = pictures(60, seed=2) * float(np.abs(x).max() / np.abs(pictures(20)).max())
    fresh = fresh if x.any() else np.zeros_like(fresh)
    model = network.quantized(folder, recipe, x, **options)
    wanted, ours = network.scores(fresh), simulated(model, fresh)
    spread = max(float(wanted.std()), 1e-3 * float(np.abs(wanted).max()), 1e-6)
    assert np.abs(ours - wanted).mean() < within * spread
    assert np.abs(exported(model, folder, fresh) - ours).mean() < 0.05 * spread
    return model
