"""The digits network of a Keras user, trained on the spot, as a float graph; and the digits as samples."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lowbit.core import digest
from lowbit.core.adapter import Floats
from lowbit.core.model import FloatModel
from lowbit.core.preprocess import Preprocess
from lowbit.core.samples import Part, Samples
from lowbit.data.datasets import open_dataset
from lowbit.data.declare import parse
from lowbit.data.preprocess import to_input
from lowbit.graph.products import layer_macs

PREPROCESS: Preprocess = parse("unit,channels=grey")


def digits(folder: Path, part: Part) -> Samples:
    """1,347 digits to calibrate and train with, or 450 to evaluate on."""
    data = open_dataset("digits")
    chosen = data.train if part == "calibration" else data.test
    assert chosen is not None
    pictures = np.stack([each.pixels(PREPROCESS) for each in chosen.pictures(range(len(chosen.labels)))])
    return Samples(folder, part, f"digits {part}", data.class_names, pictures, chosen.labels)


def pixels(samples: Samples) -> Floats:
    """What the network takes: float32 [N, 1, 8, 8]."""
    return to_input(samples.images, PREPROCESS)


def trained_network(samples: Samples, path: Path, epochs: int = 12) -> FloatModel:
    """Convolutions 64, 32, 32, dense layers 32, 10 (32,810 parameters), as the exporters of Keras write it: logits.

    Channels are last before the first dense layer, so that a Transpose stands before Flatten.
    """
    import tf_keras
    from tf_keras import layers

    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential(
        [
            tf_keras.Input((8, 8, 1)),
            *(layers.Conv2D(outputs, 3, activation="relu") for outputs in (64, 32, 32)),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(10),
        ]
    )
    model.compile(tf_keras.optimizers.Adam(3e-3), tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(pixels(samples).transpose(0, 2, 3, 1), samples.labels, batch_size=32, epochs=epochs, verbose=0)
    return _as_graph([layer.get_weights() for layer in model.layers if layer.weights], path)


def _as_graph(weights: list[list[Any]], path: Path) -> FloatModel:
    nodes, constants, value = [], [], "x"
    for number, (kernel, bias) in enumerate(weights):
        turned = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel
        constants += [numpy_helper.from_array(np.ascontiguousarray(turned), f"w{number}")]
        constants += [numpy_helper.from_array(bias, f"b{number}")]
        kind, last = "Conv" if kernel.ndim == 4 else "Gemm", number == len(weights) - 1
        if number == 3:
            nodes.append(helper.make_node("Transpose", [value], ["turned"], "Transpose_0", perm=[0, 2, 3, 1]))
            nodes.append(helper.make_node("Flatten", ["turned"], ["flat"], "Flatten_0"))
            value = "flat"
        result = "scores" if last else f"sum{number}"
        nodes.append(helper.make_node(kind, [value, f"w{number}", f"b{number}"], [result], f"{kind}_{number}"))
        if not last:
            nodes.append(helper.make_node("Relu", [result], [f"relu{number}"], f"Relu_{number}"))
        value = f"relu{number}"
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 10])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    contents = digest.of_files([path])
    return FloatModel(
        path=path,
        digest=contents,
        name="digits",
        source=str(path),
        source_digest=contents,
        input_name="x",
        output_name="scores",
        input_shape=(1, 8, 8),
        outputs=10,
        probabilities=False,
        layer_macs=layer_macs(model),
    )
