"""A Softmax that ends the model stays in float in every int8 file: 8 bits would know multiples of 1/256 only."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from lowbit.core.adapter import BuildRequest, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.preprocess import Preprocess
from lowbit.data.preprocess import to_input
from lowbit.runtimes.find import runtimes
from lowbit.toolchains.find import toolchains
from tests import models

SLOW = [pytest.param("litert", marks=pytest.mark.slow)]  # its converter takes ten seconds


@pytest.mark.parametrize("tail", ["Softmax", "Softmax and Reshape"])
@pytest.mark.parametrize("vendor", ["onnxruntime", "torch", "nncf", *SLOW])
def test_probabilities_are_not_quantized(vendor: str, tail: str, tmp_path: Path) -> None:
    module = {"onnxruntime": "onnxruntime", "torch": "torch", "nncf": "openvino", "litert": "ai_edge_quantizer"}[vendor]
    pytest.importorskip(module)
    model = models.tiny_model(tmp_path / "tiny.onnx")
    graph = onnx.load(model.path)
    graph.graph.node[-1].output[0] = "z"
    if tail == "Softmax":
        graph.graph.node.append(helper.make_node("Softmax", ["z"], ["logits"], "Softmax_9", axis=-1))
    else:
        shape = onnx.numpy_helper.from_array(np.array([-1, 4]), "shape")
        graph.graph.initializer.append(shape)
        graph.graph.node.append(helper.make_node("Softmax", ["z"], ["p"], "Softmax_9", axis=-1))
        graph.graph.node.append(helper.make_node("Reshape", ["p", "shape"], ["logits"], "Reshape_10"))
    onnx.save(graph, model.path)
    samples, out = models.tiny_samples(tmp_path), tmp_path / "out"
    out.mkdir()
    toolchain = toolchains((vendor,))[vendor]
    recipe = next(each for each in toolchain.INFO.recipes if each.name == "int8-static")
    preprocess = Preprocess("unit")
    built = toolchain.build(BuildRequest(model, recipe, samples, preprocess, out, tmp_path, 16, threads=1, seed=0))
    name = toolchain.INFO.made_for[0]
    batch = 16 if toolchain.INFO.fixes_batch(recipe) else None
    artifact = Artifact(built.main, toolchain.INFO.makes, "", model.input_shape, model.outputs, batch)
    with runtimes((name,))[name].open_session(artifact, SessionOptions(1, 16)) as session:
        scores = session.predict(to_input(samples.images[:16], preprocess)).astype(np.float64)
    assert np.abs(scores.sum(axis=1) - 1).max() < 1e-5
    assert np.abs(scores * 256 - np.rint(scores * 256)).max() > 0.05
