"""Every kind of operator inside a small network through the engine: quantized, written as ONNX, run near float.

conv → relu → the operator → global pooling → Gemm. An operator without a rule stays in float and is named in the plan;
the integer reference runs the file too, and agrees with ONNX Runtime.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto

from lowbit.formats.onnx.write import export_onnx
from lowbit.quant.plan.files import plan_for
from lowbit.reference.graph import load_integer_graph
from lowbit.reference.op import real
from tests.runtime.exported import run_ort
from tests.runtime.importing import Array, floats, ints
from tests.runtime.networks import Network, conv, head, node, pictures

BITS = "w7a8"  # without VNNI, kernels saturate 8-bit weights' sums: that is another test's concern
FLOAT, BETWEEN, INTEGER = "in float", "a function of one 8-bit tensor", "integer"


@dataclass(frozen=True)
class Inside:
    """Nodes from r [N, 6, 10, 10], which is not negative, to q; and what becomes of the first of `names`."""

    op_type: str
    nodes: tuple[NodeProto, ...]
    becomes: str = FLOAT
    given: dict[str, Array] = field(default_factory=dict)
    opset: int = 20
    within: float = 0.1
    tail: tuple[NodeProto, ...] = ()


def _one(op_type: str, becomes: str = FLOAT, inputs: str = "r", **attributes: Any) -> Inside:
    given = attributes.pop("given", {})
    opset, within, tail = attributes.pop("opset", 20), attributes.pop("within", 0.1), attributes.pop("tail", ())
    return Inside(op_type, (node(op_type, inputs, "q", **attributes),), becomes, given, opset, within, tail)


def _rows(op_type: str, gates: int) -> Inside:
    """Rows of the image as a sequence: [N, 6, 10, 10] → [10, N, 60] → hidden 4, both ways."""
    given = {
        "rW": floats(2, 4 * gates, 60) * np.float32(0.4),
        "rR": floats(2, 4 * gates, 4, seed=1),
        "rB": floats(2, 8 * gates, seed=2),
        "rs": ints(0, 0, 60),
        "rt": ints(-1, 10, 8, 1),
    }
    nodes = (
        node("Transpose", "r", "r1", perm=[0, 2, 1, 3]),
        node("Reshape", "r1 rs0", "r2"),
        node("Transpose", "r2", "r3", perm=[1, 0, 2]),
        node(op_type, "r3 rW rR rB", "r4", hidden_size=4, direction="bidirectional"),
        node("Transpose", "r4", "r5", perm=[2, 1, 3, 0]),
        node("Reshape", "r5 rt", "q"),
    )
    given = {**given, "rs0": ints(0, 10, 60), "rt": ints(0, 8, 10, 1)}
    return Inside(op_type, nodes, given=given, tail=tuple(_pooled(8)))


def _pooled(channels: int) -> list[NodeProto]:
    weight = f"g{channels}"
    return [
        node("GlobalAveragePool", "q", "hp"),
        node("Flatten", "hp", "hf"),
        node("Gemm", f"hf {weight} g.b", "y", transB=1),
    ]


_RECTIFIED = (node("Relu", "q", "qr"), *head("qr"))  # what has mean 0 would vanish in the pooling
_SCALES = np.array([1, 1, 1.5, 0.8], np.float32)
_AXES = {"a": ints(2, 3)}
NAMED = [
    _one("Selu", BETWEEN),
    _one("Celu", BETWEEN, alpha=0.7),
    _one("Softsign", BETWEEN),
    _one("ThresholdedRelu", BETWEEN, alpha=0.3),
    _one("Shrink", BETWEEN, lambd=0.4, bias=0.2),
    Inside("Sign", (node("Sub", "r half", "s"), node("Sign", "s", "q")), BETWEEN, {"half": np.array(0.5, np.float32)},
           within=0.4),
    _one("Atan", BETWEEN),
    _one("LpNormalization", axis=1),
    Inside("GlobalLpPool", (node("GlobalLpPool", "r", "q", p=3),)),
    _one("Resize", inputs="r - scales", given={"scales": _SCALES}, mode="linear",
         coordinate_transformation_mode="asymmetric"),
    _rows("LSTM", 4),
    _rows("GRU", 3),
]  # fmt: skip
FURTHER = [
    _rows("RNN", 1),
    *(_one(op_type, BETWEEN) for op_type in ("Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu")),
    *(_one(op_type, BETWEEN) for op_type in ("Mish", "Sigmoid", "Sin", "Cos", "Softplus", "Sqrt", "Tanh", "Asinh")),
    *(_one(op_type, BETWEEN, within=0.2) for op_type in ("Cosh", "Exp", "Sinh")),  # their range is wide
    _one("Neg", BETWEEN), _one("Floor", BETWEEN, within=0.4), _one("Round", BETWEEN, within=0.4),
    _one("Ceil", BETWEEN, within=0.4), _one("Abs", BETWEEN), _one("PRelu", BETWEEN, "r p", given={"p": floats(1)}),
    _one("PRelu", inputs="r p", given={"p": floats(6, 1, 1)}),
    *(_one(op_type, INTEGER, "r a", given=_AXES, opset=18) for op_type in ("ReduceMax", "ReduceMin", "ReduceMean")),
    *(_one(f"Reduce{name}", FLOAT, "r a", given=_AXES, opset=18) for name in ("L1", "L2", "SumSquare", "Sum")),
    _one("ReduceLogSumExp", FLOAT, "r a", given=_AXES, opset=18),
    _one("LpPool", kernel_shape=[2, 2], strides=[2, 2]),
    _one("MaxPool", INTEGER, kernel_shape=[2, 2], strides=[2, 2]),
    _one("LRN", size=3, alpha=0.2),
    _one("MeanVarianceNormalization", axes=[2, 3], tail=_RECTIFIED, within=0.2),
    _one("InstanceNormalization", inputs="r s b", given={"s": floats(6, low=0.5), "b": floats(6)}, tail=_RECTIFIED),
    _one("GroupNormalization", inputs="r s b", given={"s": floats(6, low=0.5), "b": floats(6)}, num_groups=2, opset=21,
         tail=_RECTIFIED),
    _one("LayerNormalization", inputs="r s b", given={"s": floats(10, low=0.5), "b": floats(10)}),
    _one("RMSNormalization", inputs="r s", given={"s": floats(10, low=0.5)}, opset=23),
    _one("Softmax", axis=1), _one("LogSoftmax", axis=1), _one("Hardmax", axis=1, within=0.4),
    _one("CumSum", inputs="r k", given={"k": np.array(3, np.int64)}),
    _one("Trilu"), _one("Mean", inputs="r r"), _one("Sum", inputs="r d", given={"d": floats(10)}),
    _one("Compress", INTEGER, "r d", given={"d": np.arange(10) % 3 > 0}, axis=2),
    _one("CenterCropPad", inputs="r d", given={"d": ints(8, 12)}, axes=[2, 3]),
    _one("Resize", inputs="r - scales", given={"scales": _SCALES}, mode="nearest"),
    _one("Resize", inputs="r - scales", given={"scales": _SCALES}, mode="cubic"),
    _one("DepthToSpace", INTEGER, blocksize=1),
    Inside("TopK", (node("TopK", "r k", "q i", axis=2),), given={"k": ints(4)}),
    Inside("GridSample", (
        node("Shape", "r", "n", end=1), node("Concat", "n rest", "s", axis=0), node("Expand", "grid s", "e"),
        node("GridSample", "r e", "q"),
    ), given={"rest": ints(8, 8, 2), "grid": np.random.default_rng(0).uniform(-1, 1, (1, 8, 8, 2)).astype(np.float32)}),
    Inside("Einsum", (node("Einsum", "r r", "q", equation="bchw,bchv->bcwv"),)),
    Inside("Attention", (node("Attention", "r r r", "q"),), opset=23),
    Inside("ScatterND", (node("Transpose", "r", "t", perm=[1, 0, 2, 3]), node("Shape", "r", "n", end=1),
        node("Concat", "one n ten", "s", axis=0), node("Expand", "zeros s", "u"), node("ScatterND", "t i u", "v"),
        node("Transpose", "v", "q", perm=[1, 0, 2, 3])),
        given={"one": ints(1), "ten": ints(10, 10), "zeros": np.full((1, 1, 1, 1), 0.2, np.float32),
               "i": ints(2).reshape(1, 1)}),
]  # fmt: skip


def _network(inside: Inside) -> Network:
    nodes = [conv("x", "w", "c"), node("Relu", "c", "r"), *inside.nodes, *(inside.tail or head("q"))]
    shapes: dict[str, tuple[int, ...]] = {"w": (6, 3, 3, 3), "g": (3, 6), "g8": (3, 8)}
    network = Network(nodes, shapes | {"w.b": (6,), "g.b": (3,)}, inside.given)
    network.proto.opset_import[0].version = inside.opset
    return network


def _check(inside: Inside, folder: Path) -> None:
    network, fresh = _network(inside), pictures(40, seed=2)
    plan = plan_for(network.prepared(folder), "digest", BITS, {"rounding": "nearest"})
    floats_of = {entry.op_type: entry.why for entry in plan.floats}
    if inside.becomes == INTEGER:
        assert inside.op_type not in floats_of
    else:
        assert floats_of[inside.op_type].startswith("a function of") == (inside.becomes == BETWEEN)
    model = network.quantized(folder, BITS, pictures(40), rounding="nearest")
    export_onnx(model, folder / "quantized.onnx")
    wanted, ours = network.scores(fresh), run_ort(folder / "quantized.onnx", fresh)
    spread = float(wanted.std())
    assert np.abs(ours - wanted).mean() < inside.within * spread
    graph = load_integer_graph(onnx.load(folder / "quantized.onnx"))
    reference = np.asarray(real(graph.run({"x": fresh})["y"]))
    assert np.abs(ours - reference).mean() < 0.2 * inside.within * spread


@pytest.mark.parametrize("inside", NAMED, ids=lambda each: each.op_type)
def test_operator_in_a_quantized_network(inside: Inside, tmp_path: Path) -> None:
    _check(inside, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("inside", FURTHER, ids=lambda each: f"{each.op_type}-{each.becomes}")
def test_further_operator_in_a_quantized_network(inside: Inside, tmp_path: Path) -> None:
    _check(inside, tmp_path)
