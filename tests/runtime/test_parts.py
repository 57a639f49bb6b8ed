"""What computes on codes can be cut out of a quantized model, and gives the reference's codes in every runtime."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from lowbit.core.errors import BadInput
from lowbit.core.format import ONNX, OPENVINO_IR, TFLITE, FileFormat
from lowbit.formats.onnx.write import export_onnx
from lowbit.formats.part import part_of, parts
from lowbit.quant.model import QuantizedModel
from lowbit.reference.graph import load_integer_graph
from lowbit.reference.values import nudged
from tests.runtime import alone
from tests.runtime.networks import Array, Network, conv, head, node, pictures


def mixed() -> Network:
    """An addition, a product, a concat, poolings, a padding, a resize, a function of one tensor."""
    nodes = [
        conv("x", "w1", "c1"), node("Relu", "c1", "r1"), conv("r1", "w2", "c2"),
        node("Add", "c2 r1", "a"), node("Relu", "a", "ra"),
        node("MaxPool", "ra", "m", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
        node("AveragePool", "ra", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Concat", "m p", "j", axis=1), conv("j", "w3", "c3"),
        node("Sigmoid", "c3", "s"), node("Mul", "c3 s", "silu"),
        node("GlobalAveragePool", "silu", "ga"), node("HardSigmoid", "ga", "h"), node("Mul", "silu h", "e"),
        node("Resize", "e - scales", "u", mode="nearest"), conv("u", "w4", "c4"), node("Relu", "c4", "r4"),
        node("Sub", "r4 half", "b"), node("Pad", "b edge", "q"), conv("q", "w5", "c5"), *head("c5"),
    ]  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {
        "w1": (6, 3, 3, 3), "w2": (6, 6, 3, 3), "w3": (8, 12, 3, 3), "w4": (6, 8, 3, 3), "w5": (6, 6, 1, 1),
        "g": (3, 6),
    }  # fmt: skip
    given: dict[str, Array] = {
        "scales": np.array([1, 1, 2, 2], np.float32),
        "edge": np.array([0, 0, 1, 0, 0, 0, 0, 2], np.int64),
        "half": np.array(0.5, np.float32),
    }
    return Network(nodes, shapes | {f"{name}.b": shape[:1] for name, shape in shapes.items()}, given)


EXPECTED = ["c1", "c2", "a", "m", "p", "j", "c3", "s", "silu", "ga", "h", "e", "u", "c4", "b", "q", "c5", "hp", "y"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> QuantizedModel:
    return mixed().quantized(tmp_path_factory.mktemp("mixed"), "w4a8", pictures(32), rounding="nearest", ends=4)


@pytest.fixture(scope="module")
def read(model: QuantizedModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Array]]:
    """Part → the codes that it reads in the whole file, an array an input."""
    path = tmp_path_factory.mktemp("whole") / "whole.onnx"
    export_onnx(model, path)
    graph, found = load_integer_graph(onnx.load(path)), parts(model)[0]
    reads = {read for part in found for read in part.reads}
    _, kept = graph.run_and_keep({"x": pictures(3, seed=2)}, reads, 1 << 20)
    return {part.node: [kept[read] for read in part.reads] for part in found}


def test_every_node_on_integers_is_a_part(model: QuantizedModel) -> None:
    found, left = parts(model)
    assert [part.node for part in found] == EXPECTED
    assert left == {}
    types = {part.node: part.op_type for part in found}
    assert (types["a"], types["j"], types["silu"], types["u"]) == ("Add", "Concat", "Mul", "Resize")
    assert {part.node: part.reads for part in found}["a"] == (("a", 0), ("a", 1))


@pytest.mark.parametrize(
    ("runtime", "form"),
    [("onnxruntime", ONNX), ("openvino", ONNX), ("openvino", OPENVINO_IR)],
    ids=["onnxruntime", "openvino", "openvino-ir"],
)
def test_parts_give_the_references_codes(
    model: QuantizedModel, read: dict[str, list[Array]], runtime: str, form: FileFormat, tmp_path: Path
) -> None:
    if runtime != "onnxruntime":
        pytest.importorskip("openvino")
    for name in EXPECTED:
        agrees(model, name, runtime, form, read[name], tmp_path)


@pytest.mark.parametrize("name", ["a", "p", "e"])
def test_parts_give_the_references_codes_in_litert(
    model: QuantizedModel, read: dict[str, list[Array]], name: str, tmp_path: Path
) -> None:
    pytest.importorskip("litert_torch")
    agrees(model, name, "litert", TFLITE, read[name], tmp_path)


def agrees(model: QuantizedModel, name: str, runtime: str, form: FileFormat, codes: list[Array], folder: Path) -> None:
    low, expected, high = (alone.in_reference(model, name, nudged(by))(codes) for by in (-0.01, 0, 0.01))
    found = alone.in_runtime(model, name, runtime, form, folder)(codes)
    assert found.shape == expected.shape
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(found, expected, atol=1e-3 * np.ptp(expected))
        return
    apart = np.abs(found.astype(int) - expected.astype(int))
    assert apart.max() <= 1, name
    assert ((low <= found) & (found <= high)).mean() >= 0.99, name


def test_what_only_moves_entries_is_no_part(model: QuantizedModel) -> None:
    with pytest.raises(BadInput, match="'hf' computes nothing on codes that could run alone: expected one of c1, c2"):
        part_of(model, "hf")
