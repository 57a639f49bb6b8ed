"""Tensors of layers that are silent on random images still get grids of their own."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.quantized import by_hand, random_images, small_graph

pytest.importorskip("litert_torch")

from lowbit.formats.litert.file import TFLiteFile
from lowbit.formats.litert.write import export_litert


def silent(bias: float) -> onnx.ModelProto:
    """The small network; relu1 and relu2, of one size, are zero unless the picture is bright."""
    graph = small_graph(0)
    for tensor in graph.graph.initializer:
        if tensor.name in ("conv1.w", "dwconv.w"):
            tensor.CopyFrom(numpy_helper.from_array(np.abs(numpy_helper.to_array(tensor)), tensor.name))
        elif tensor.name in ("conv1.b", "dwconv.b"):
            share = 1 if tensor.name == "conv1.b" else 0.1
            tensor.CopyFrom(numpy_helper.from_array(np.full(8, share * bias, np.float32), tensor.name))
    return graph


@pytest.mark.parametrize("bias", [-40.0, pytest.param(-1e6, marks=pytest.mark.slow)])
def test_layers_that_are_silent_on_random_images_are_told_apart(bias: float) -> None:
    bright = 8 * random_images(16, seed=1) + 4
    model = by_hand(silent(bias), bright, wide=("x", "r1", "r2", "a1"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.tflite"
        export_litert(model, path)
        file = TFLiteFile(path.read_bytes())
    names = [file.name(tensor) for tensor in range(len(file.graph.tensors))]
    for value in ("r1", "r2", "a1"):
        grid = file.graph.tensors[names.index(value)].quantization
        assert np.isclose(grid.scale[0], float(model.main[value].scale)), value
    if bias == -40.0:
        assert model.main["r1"].scale != model.main["r2"].scale
