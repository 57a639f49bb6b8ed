"""An ONNX graph falls apart at the borders between its layers, and its pieces in a row are the whole graph again."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from lowbit.core.adapter import BuildRequest
from lowbit.core.errors import UnsupportedError
from lowbit.core.model import FloatModel
from lowbit.core.preprocess import Preprocess
from lowbit.formats.onnx.cut import Piece, beginning, pieces
from lowbit.formats.onnx.write import export_onnx
from lowbit.toolchains import onnxruntime as toolchain
from tests import models
from tests.quantized import random_images, small_model
from tests.runtime.networks import Array

IMAGES = random_images(5, seed=7)


def scores(model: onnx.ModelProto, given: list[Array]) -> Array:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return np.asarray(session.run(None, dict(zip(names, given, strict=True)))[0])


def in_a_row(model: onnx.ModelProto, found: tuple[Piece, ...]) -> Array:
    """What the last piece gives where each reads what the others gave."""
    values = {model.graph.input[0].name: IMAGES}
    for piece in found:
        values[piece.gives] = scores(piece.model, [values[name] for name in piece.reads])
    return values[found[-1].gives]


def tiny(folder: Path) -> tuple[onnx.ModelProto, FloatModel]:
    made = models.tiny_model(folder / "tiny.onnx")
    return onnx.load(made.path), made


def built(recipe: str, folder: Path) -> onnx.ModelProto:
    """The tiny model as ONNX Runtime's own tool quantizes it."""
    _, model = tiny(folder)
    chosen = next(each for each in toolchain.INFO.recipes if each.name == recipe)
    samples = models.tiny_samples(folder)
    made = toolchain.build(BuildRequest(model, chosen, samples, Preprocess("unit"), folder, folder, 1, 1, 0))
    return onnx.load(made.main)


def test_a_float_graph(tmp_path: Path) -> None:
    model, _ = tiny(tmp_path)
    found = pieces(model)
    assert [(piece.name, piece.reads, piece.gives) for piece in found] == [
        ("conv1", ("input",), "r1"), ("conv2", ("r1",), "c2"), ("add1", ("r1", "c2"), "r2"), ("pool1", ("r2",), "p1"),
        ("fc", ("p1",), "logits"),
    ]  # fmt: skip
    assert [piece.op_type for piece in found] == ["Conv", "Conv", "Add", "GlobalAveragePool", "Gemm"]
    assert all(piece.step is None for piece in found)
    np.testing.assert_allclose(in_a_row(model, found), scores(model, [IMAGES]), atol=1e-6)


@pytest.mark.parametrize(("weights", "activations"), [(8, 8), (4, 8), (4, 4), (2, 3)])
def test_our_own_files(weights: int, activations: int, tmp_path: Path) -> None:
    model = small_model(weight_bits=weights, activation_bits=activations)
    export_onnx(model, tmp_path / "m.onnx")
    whole = onnx.load(tmp_path / "m.onnx")
    found = pieces(whole)
    assert [piece.name for piece in found if piece.op_type in ("Conv", "Gemm", "Add")] == [
        "conv1", "dwconv", "add", "fc",
    ]  # fmt: skip
    expected = scores(whole, [IMAGES])
    np.testing.assert_allclose(in_a_row(whole, found), expected, atol=0.02 * np.ptp(expected))
    for piece in found:
        if piece.step is not None:
            assert piece.step == pytest.approx(float(model.main[_named(piece, model)].scale))


def _named(piece: Piece, model: object) -> str:
    """The float graph's name of what a piece of the small model gives."""
    return {"conv1": "r1", "dwconv": "r2", "add": "a1", "pool": "p1", "flatten": "f1"}[piece.name]


@pytest.mark.parametrize("recipe", ["int8-static", "int16x8", "int8-dynamic"])
def test_a_vendors_files(recipe: str, tmp_path: Path) -> None:
    whole = built(recipe, tmp_path)
    found = pieces(whole)
    assert sum(piece.op_type in ("Conv", "ConvInteger") for piece in found) == 2
    expected = scores(whole, [IMAGES])
    np.testing.assert_allclose(in_a_row(whole, found), expected, atol=0.01 * np.ptp(expected))


def test_a_quantized_piece_begins_and_ends_with_its_quantizers(tmp_path: Path) -> None:
    """So that a runtime finds the pattern which it runs on integers: without the one at the end it would not."""
    for piece in pieces(built("int8-static", tmp_path)):
        kinds = [node.op_type for node in piece.model.graph.node]
        if piece.op_type == "Conv":
            assert kinds[-2:] == ["QuantizeLinear", "DequantizeLinear"]
            assert kinds.count("QuantizeLinear") == 2 and piece.step is not None


@pytest.mark.parametrize("place", range(5))
def test_a_beginning_ends_at_its_border(place: int, tmp_path: Path) -> None:
    model, _ = tiny(tmp_path)
    piece = pieces(model)[place]
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    del exposed.graph.output[:]
    exposed.graph.output.append(helper.make_tensor_value_info(piece.gives, TensorProto.FLOAT, None))
    np.testing.assert_allclose(scores(beginning(model, piece.gives), [IMAGES]), scores(exposed, [IMAGES]), atol=1e-6)


def test_what_cannot_be_cut_says_why(tmp_path: Path) -> None:
    model, _ = tiny(tmp_path)
    inner = helper.make_graph([helper.make_node("Identity", ["logits"], ["same"])], "g", [], [
        helper.make_tensor_value_info("same", TensorProto.FLOAT, None)
    ])  # fmt: skip
    truth = onnx.numpy_helper.from_array(np.array(True), "truth")
    model.graph.initializer.append(truth)
    model.graph.node.append(helper.make_node("If", ["truth"], ["out"], then_branch=inner, else_branch=inner))
    with pytest.raises(UnsupportedError, match="graphs inside"):
        pieces(model)
    one, _ = tiny(tmp_path)
    del one.graph.node[1:]
    one.graph.output[0].name = "c1"
    with pytest.raises(UnsupportedError, match="no float tensor lies between its layers"):
        pieces(one)
