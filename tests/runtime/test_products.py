"""Multiply–accumulates of float graphs, and what runtimes list of them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lowbit.core.adapter import OpPrecision, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.graph.products import layer_macs
from lowbit.measure.precision import accounted, int8_share
from lowbit.runtimes.find import runtimes


def model(
    nodes: list[onnx.NodeProto], weights: dict[str, tuple[int, ...]], x: tuple[int, ...], opset: int = 20
) -> onnx.ModelProto:
    """From x [batch, …] to y; `weights` are random."""
    rng = np.random.default_rng(0)
    tensors = [
        numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), name) for name, shape in weights.items()
    ]
    shape: list[str | int | None] = ["batch", *x]
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], name=output, **attributes)


@pytest.mark.parametrize(
    ("nodes", "weights", "x", "macs"),
    [
        ([node("Conv", "x w", "y", group=2, strides=[2, 2])], {"w": (6, 2, 3, 3)}, (4, 9, 9), 6 * 4 * 4 * 2 * 9),
        ([node("ConvTranspose", "x w", "y", strides=[2, 2])], {"w": (4, 5, 2, 2)}, (4, 3, 3), 36 * 5 * 4),
        ([node("MatMul", "x w", "y")], {"w": (7, 5)}, (3, 7), 3 * 7 * 5),
        ([node("Einsum", "x w", "y", equation="...ij,jk->...ik")], {"w": (7, 5)}, (2, 3, 7), 2 * 3 * 7 * 5),
        ([node("Einsum", "x w", "y", equation="bi,i->bi")], {"w": (7,)}, (7,), None),
        ([node("MatMul", "w v", "c"), node("Add", "x c", "y")], {"w": (3, 4), "v": (4, 3)}, (3, 3), None),
        (
            [node("Transpose", "x", "t", perm=[1, 0, 2]), node("LSTM", "t w r", "y", hidden_size=6)],
            {"w": (1, 24, 5), "r": (1, 24, 6)},
            (4, 5),
            4 * 24 * (5 + 6),
        ),
    ],
    ids=["grouped", "transposed", "matmul", "einsum", "no-sum", "constants", "lstm"],
)
def test_counts(
    nodes: list[onnx.NodeProto], weights: dict[str, tuple[int, ...]], x: tuple[int, ...], macs: int
) -> None:
    assert [layer.macs for layer in layer_macs(model(nodes, weights, x))] == ([] if macs is None else [macs])


def test_attention_as_one_operator() -> None:
    attention = node("Attention", "x x x", "y", q_num_heads=2, kv_num_heads=2)
    (layer,) = layer_macs(model([attention], {}, (9, 8), opset=23))
    assert layer.macs == 2 * 9 * 9 * 8  # queries by keys, and weights by values: 9 tokens, 8 channels in all heads


def vit() -> onnx.ModelProto:
    """Patches of 4 × 4, two heads of 8 channels over 64 tokens, a classifier: one block of a transformer."""
    nodes = [
        node("Conv", "x patch", "patches", strides=[4, 4]),
        node("Reshape", "patches flat", "rows"),
        node("Transpose", "rows", "tokens", perm=[0, 2, 1]),
    ]
    for name in ("q", "k", "v"):
        perm = [0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]
        nodes += [
            node("MatMul", f"tokens w{name}", f"m{name}"),
            node("Reshape", f"m{name} heads", f"h{name}"),
            node("Transpose", f"h{name}", name, perm=perm),
        ]
    nodes += [
        node("MatMul", "q k", "scores"),
        node("Softmax", "scores", "weights", axis=-1),
        node("MatMul", "weights v", "mixed"),
        node("Transpose", "mixed", "back", perm=[0, 2, 1, 3]),
        node("Reshape", "back joined", "out"),
        node("MatMul", "out wo", "projected"),
        node("Add", "projected tokens", "sum"),
        node("ReduceMean", "sum axes", "mean", keepdims=0),
        node("MatMul", "mean head", "y"),
    ]
    weights = {"patch": (16, 3, 4, 4), "head": (16, 4), "wo": (16, 16)} | {f"w{name}": (16, 16) for name in "qkv"}
    made = model(nodes, weights, (3, 32, 32))
    for name, values in (("flat", [0, 16, -1]), ("heads", [0, 64, 2, 8]), ("joined", [0, 64, 16]), ("axes", [1])):
        made.graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
    return made


def listed(path: Path, form: str, runtime: str, batch_size: int, shape: tuple[int, int, int]) -> list[OpPrecision]:
    artifact = Artifact(path, form, "", shape, 4)
    with runtimes((runtime,))[runtime].open_session(artifact, SessionOptions(1, batch_size)) as session:
        return session.executed_precision()


@pytest.mark.parametrize("batch_size", [1, 4])
def test_attention_that_openvino_hides_in_a_subgraph_counts_as_float(batch_size: int, tmp_path: Path) -> None:
    nncf, ov = pytest.importorskip("nncf"), pytest.importorskip("openvino")
    onnx.save(vit(), tmp_path / "vit.onnx")
    layers = layer_macs(vit())
    images = [np.random.default_rng(n).random((1, 3, 32, 32), np.float32) for n in range(4)]
    attention = nncf.IgnoredScope(names=["scores", "mixed"])
    quantized = nncf.quantize(
        ov.Core().read_model(tmp_path / "vit.onnx"), nncf.Dataset(images), ignored_scope=attention, subset_size=4
    )
    ov.save_model(quantized, tmp_path / "vit.xml")
    operators = listed(tmp_path / "vit.xml", "openvino-ir", "openvino", batch_size, (3, 32, 32))
    found = accounted(operators, layers)
    assert sum(each.macs for each in found) == sum(layer.macs for layer in layers)
    hidden = sum(layer.macs for layer in layers if layer.name in ("scores", "mixed"))
    assert int8_share(operators) == 1.0  # of what OpenVINO lists: this is what is seen through
    assert int8_share(found) == pytest.approx(1 - hidden / sum(layer.macs for layer in layers))
    missing = [each for each in found if each.macs and not each.integer]
    assert len(missing) == 2
    assert all("Subgraph" in each.reason for each in missing)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("name", "shape"), [("cifar10-resnet20", (3, 32, 32)), ("imagenet-mobilenetv2", (3, 224, 224))]
)
def test_every_layer_of_real_networks_is_found(
    name: str, shape: tuple[int, int, int], runtime: str, shared: Path
) -> None:
    path = shared / "models" / f"{name}.onnx"
    layers = layer_macs(onnx.load(path))
    found = accounted(listed(path, "onnx", runtime, 1, shape), layers)
    assert sum(each.macs for each in found) == sum(layer.macs for layer in layers)
    assert not [each.name for each in found if "lists" in each.reason or "float graph" in each.reason]
