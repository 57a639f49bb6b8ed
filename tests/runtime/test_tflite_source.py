"""A float .tflite file as MODEL: the float graph scores as LiteRT does, in the layout of all others."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from lowbit.core.errors import BadInput
from tests.litert_files import FileWriter
from tests.runtime.sourcing import checked, load, request
from tests.runtime.test_litert_reading import floats, ints

pytest.importorskip("ai_edge_litert")


def small(path: Path, batch: int = 1, kind: str = "FLOAT32") -> Path:
    """Two convolutions with an addition across, a mean and a classifier, as TensorFlow's converter writes them."""
    to = FileWriter((batch, 16, 12, 3), kind)
    image, conv = to.image, {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1, "padding": 0}
    if kind == "UINT8":
        (image,) = to.add("CAST", [image], [(batch, 16, 12, 3)], ("CastOptions", {"inDataType": 3, "outDataType": 0}))
        (image,) = to.add("MUL", [image, np.array([1 / 255], np.float32)], [(batch, 16, 12, 3)], ("MulOptions", {}))
    halved = {**conv, "strideH": 2, "strideW": 2, "fusedActivationFunction": 1}
    (first,) = to.add("CONV_2D", [image, floats(8, 3, 3, 3), floats(8)], [(batch, 8, 6, 8)], ("Conv2DOptions", halved))
    (second,) = to.add("CONV_2D", [first, floats(8, 3, 3, 8), floats(8)], [(batch, 8, 6, 8)], ("Conv2DOptions", conv))
    (total,) = to.add("ADD", [second, first], [(batch, 8, 6, 8)], ("AddOptions", {"fusedActivationFunction": 1}))
    (mean,) = to.add("MEAN", [total, ints(1, 2)], [(batch, 8)], ("ReducerOptions", {"keepDims": False}))
    scores = to.add("FULLY_CONNECTED", [mean, floats(5, 8), floats(5)], [(batch, 5)], ("FullyConnectedOptions", {}))
    return to.save(path, *scores)


@pytest.mark.parametrize(("batch", "kind"), [(1, "FLOAT32"), (4, "FLOAT32"), (1, "UINT8")])
def test_the_float_graph_is_the_files_function(batch: int, kind: str, tmp_path: Path) -> None:
    path = small(tmp_path / "small.tflite", batch, kind)
    asked = request(str(path), tmp_path, (3, 16, 12), preprocess="raw" if kind == "UINT8" else "unit")
    model, _ = checked(asked)
    kinds = [node.op_type for node in onnx.load(model.path).graph.node]
    assert "Transpose" not in kinds
    assert kinds.count("Conv") == 2
    assert (model.name, model.outputs, model.input_shape) == ("small", 5, (3, 16, 12))


def test_no_file_and_weights_beside_it_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        load(request(str(tmp_path / "none.tflite"), tmp_path, (3, 16, 12)))
    path = small(tmp_path / "small.tflite")
    with pytest.raises(BadInput, match=r"brings its own weights"):
        load(request(str(path), tmp_path, (3, 16, 12), weights=path))


def test_data_of_another_size_are_refused(tmp_path: Path) -> None:
    path = small(tmp_path / "small.tflite")
    with pytest.raises(BadInput, match=r"takes images of 3 × 16 × 12"):
        load(request(str(path), tmp_path, (3, 32, 32)))


def test_a_file_of_mlperf_tiny(shared: Path, tmp_path: Path) -> None:
    """ResNet-8 ends in a Softmax; no Transpose is left of the many that its layout costs on the way."""
    path = shared / "models" / "cifar10-resnet8.tflite"
    model, scores = checked(request(str(path), tmp_path, (3, 32, 32), preprocess="raw"))
    assert model.probabilities
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-5)
    assert "Transpose" not in [node.op_type for node in onnx.load(model.path).graph.node]


def test_a_quantized_file_is_told_what_to_do(shared: Path, tmp_path: Path) -> None:
    path = shared / "models" / "cifar10-resnet8-int8-mlperftiny.tflite"
    with pytest.raises(BadInput, match=r"already quantized .* --given "):
        load(request(str(path), tmp_path, (3, 32, 32), preprocess="raw"))
