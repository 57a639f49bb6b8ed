"""Tiny models and samples made on the spot, so that a test needs no file from elsewhere."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lowbit.core import digest
from lowbit.core.model import FloatModel
from lowbit.core.samples import Samples
from lowbit.graph.products import layer_macs


def tiny_model(path: Path, *, classes: int = 4, seed: int = 0) -> FloatModel:
    """Conv 3→8, Relu, Conv 8→8, Add, Relu, global average, Gemm: what a residual network is made of."""
    rng = np.random.default_rng(seed)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 10
        return numpy_helper.from_array(rng.normal(0, fan_in**-0.5, shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["input", "w1", "b1"], ["c1"], "conv1", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "conv2", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("Add", ["c2", "r1"], ["a1"], "add1"),
        helper.make_node("Relu", ["a1"], ["r2"], "relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["p1"], "pool1"),
        helper.make_node("Flatten", ["p1"], ["f1"], "flatten1"),
        helper.make_node("Gemm", ["f1", "w3", "b3"], ["logits"], "fc", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
        [
            weight("w1", 8, 3, 3, 3),
            weight("b1", 8),
            weight("w2", 8, 8, 3, 3),
            weight("b2", 8),
            weight("w3", classes, 8),
            weight("b3", classes),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    contents = digest.of_files([path])
    return FloatModel(
        path=path,
        digest=contents,
        name="tiny",
        source=str(path),
        source_digest=contents,
        input_name="input",
        output_name="logits",
        input_shape=(3, 8, 8),
        outputs=classes,
        probabilities=False,
        layer_macs=layer_macs(model),
    )


def tiny_samples(folder: Path, *, count: int = 64, classes: int = 4, seed: int = 0) -> Samples:
    """Random pictures [count, 8, 8, 3] with random labels."""
    rng = np.random.default_rng(seed)
    return Samples(
        path=folder,
        part="calibration",
        digest=f"tiny{seed}",
        class_names=tuple(f"class {i}" for i in range(classes)),
        images=rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8),
        labels=rng.integers(0, classes, count),
    )
