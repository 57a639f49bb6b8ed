"""What the model job says of a graph's scores, seen on real samples where the graph alone cannot tell."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from lowbit.core.preprocess import Preprocess
from lowbit.worker import model, samples
from lowbit.worker.jobs import ModelJob, SamplesJob
from tests.e2e.command import make_project

SOFTMAX = [("Softmax", ["logits"], {"axis": 1})]
BY_HAND = [("Exp", ["logits"], {}), ("ReduceSum", ["t0", "axis"], {"keepdims": 1}), ("Div", ["t0", "t1"], {})]
HALF = [("Exp", ["logits"], {}), ("ReduceMean", ["t0", "axis"], {"keepdims": 1}), ("Div", ["t0", "t1"], {})]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_project(tmp_path_factory.mktemp("model"))
    samples.run(SamplesJob(str(folder / "data.npz"), Preprocess("unit"), 48, 0, 8, folder / "samples", 1))
    return folder


@pytest.mark.parametrize(
    ("name", "tail", "probabilities"),
    [
        ("logits", [], False),
        ("softmax", SOFTMAX, True),
        ("flattened", [*SOFTMAX, ("Flatten", ["t0"], {})], True),
        ("by hand", BY_HAND, True),
        ("not to one", HALF, False),
    ],
)
def test_probabilities_are_seen_however_they_are_made(
    folder: Path, name: str, tail: list[tuple[str, list[str], dict[str, Any]]], probabilities: bool
) -> None:
    graph = onnx.load(folder / "tiny.onnx")
    for number, (kind, inputs, attributes) in enumerate(tail):
        graph.graph.node.append(helper.make_node(kind, inputs, [f"t{number}"], f"{kind}_{number}", **attributes))
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "axis"))
    if tail:
        graph.graph.output[0].name = f"t{len(tail) - 1}"
    path = folder / f"{name.replace(' ', '-')}.onnx"
    onnx.save(graph, path)
    out = folder / path.stem
    found = model.run(ModelJob(str(path), None, folder / "samples", Preprocess("unit"), out, 0, 1))
    assert found.probabilities is probabilities
