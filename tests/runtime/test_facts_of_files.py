"""What files of others say of themselves: shapes, batch size, kind of scores, and whether they quantize dynamically."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from lowbit.core.format import ONNX, OPENVINO_IR, TFLITE
from lowbit.formats.read import read_facts, together
from lowbit.formats.scores import are_probabilities
from tests.models import tiny_model


def squashed(path: Path, *, quantized: bool = False) -> Path:
    """The tiny model with a Softmax at its end and, where `quantized`, probabilities that pass through 8 bits."""
    tiny_model(path)
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("Softmax", ["logits"], ["p"], axis=1))
    last = "p"
    if quantized:
        model.graph.initializer.append(helper.make_tensor("scale", TensorProto.FLOAT, [], [1 / 255]))
        model.graph.initializer.append(helper.make_tensor("zero", TensorProto.UINT8, [], [0]))
        model.graph.node.append(helper.make_node("QuantizeLinear", ["p", "scale", "zero"], ["codes"]))
        model.graph.node.append(helper.make_node("DequantizeLinear", ["codes", "scale", "zero"], ["scores"]))
        last = "scores"
    model.graph.output[0].name = last
    onnx.save(model, path)
    return path


def test_an_onnx_files_end_tells_what_its_scores_are(tmp_path: Path) -> None:
    tiny_model(tmp_path / "logits.onnx")
    logits = read_facts(tmp_path / "logits.onnx", ONNX.name)
    assert (logits.input_shape, logits.outputs, logits.batch_size, logits.results) == ((3, 8, 8), 4, None, 1)
    assert (logits.probabilities, logits.dynamic) == (False, False)
    for quantized in (False, True):
        path = squashed(tmp_path / "p.onnx", quantized=quantized)
        assert read_facts(path, ONNX.name).probabilities is True


def test_an_onnx_file_that_quantizes_at_every_call_says_so(tmp_path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    tiny_model(tmp_path / "tiny.onnx")
    quantize_dynamic(tmp_path / "tiny.onnx", tmp_path / "dynamic.onnx")
    assert read_facts(tmp_path / "dynamic.onnx", ONNX.name).dynamic


def test_an_openvino_irs_end_tells_what_its_scores_are(tmp_path: Path) -> None:
    import openvino as ov

    tiny_model(tmp_path / "logits.onnx")
    for path, expected in ((tmp_path / "logits.onnx", False), (squashed(tmp_path / "p.onnx"), True)):
        model = ov.convert_model(path, input=[4, 3, 8, 8])
        ov.save_model(model, path.with_suffix(".xml"), compress_to_fp16=False)
        facts = read_facts(path.with_suffix(".xml"), OPENVINO_IR.name)
        assert (facts.input_shape, facts.outputs, facts.batch_size, facts.results) == ((3, 8, 8), 4, 4, 1)
        assert facts.probabilities is expected
    xml = tmp_path / "p.xml"
    assert together(xml, OPENVINO_IR.name) == [xml, tmp_path / "p.bin"]


@pytest.mark.parametrize("name", ["cifar10-resnet8-int8-mlperftiny.tflite", "cifar10-resnet8.tflite"])
def test_mlperf_tinys_resnet_ends_in_a_softmax_over_ten_classes(name: str, shared: Path) -> None:
    facts = read_facts(shared / "models" / name, TFLITE.name)
    assert (facts.input_shape, facts.outputs, facts.batch_size, facts.results) == ((3, 32, 32), 10, 1, 1)
    assert facts.probabilities is True


@pytest.mark.parametrize(
    ("backwards", "expected"),
    [
        (["SoftMax", "MatMul"], True),
        (["Reshape", "Convert", "Sigmoid", "Add"], True),
        (["DEQUANTIZE", "SOFTMAX", "FULLY_CONNECTED"], True),
        (["FULLY_CONNECTED"], False),
        (["Add", "FakeQuantize", "MatMul"], False),
        (["Add", "Add", "MatMul"], None),  # two sums: not a layer and its bias only
        (["Add", "SoftMax"], None),  # probabilities and something else
        (["Relu", "MatMul"], None),
        (["RESHAPE"], None),
        ([], None),
    ],
)
def test_only_what_the_operators_tell_is_known(backwards: list[str], expected: bool | None) -> None:
    assert are_probabilities(backwards) is expected
