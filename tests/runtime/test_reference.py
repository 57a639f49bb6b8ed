"""The reference runtime against ONNX Runtime: the same QDQ file, the same codes."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from lowbit.core.adapter import SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.errors import LowbitError, UnsupportedError
from lowbit.core.model import FloatModel
from lowbit.core.samples import Samples
from lowbit.formats.onnx.write import export_onnx
from lowbit.reference.graph import load_integer_graph
from lowbit.runtimes.find import runtimes
from tests.contract.adapters import expected, images
from tests.quantized import CLASSES, INPUT_SHAPE, random_images, small_model, weight_format

REFERENCE = runtimes(("reference",))["reference"]
U8, FLOAT = TensorProto.UINT8, TensorProto.FLOAT
WEIGHTS = weight_format(8)  # what ONNX Runtime multiplies exactly here


def artifact(path: Path, input_shape: tuple[int, int, int] = INPUT_SHAPE, outputs: int = CLASSES) -> Artifact:
    return Artifact(path, "onnx", "", input_shape, outputs)


def onnxruntime(model: onnx.ModelProto, feeds: dict[str, Any]) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feeds)[0])


def test_it_is_used_only_when_it_is_named() -> None:
    assert "reference" not in runtimes()


@pytest.mark.parametrize(
    ("weights", "activations", "asymmetric"), [(8, 8, False), (6, 8, False), (4, 4, True), (3, 3, True), (2, 5, True)]
)
def test_the_engines_files_give_onnxruntimes_scores(
    weights: int, activations: int, asymmetric: bool, tmp_path: Path
) -> None:
    model = small_model(weight_bits=weights, activation_bits=activations, asymmetric=asymmetric)
    export_onnx(model, tmp_path / "m.onnx")
    x = random_images(32, seed=7)
    with REFERENCE.open_session(artifact(tmp_path / "m.onnx"), SessionOptions()) as session:
        scores = session.predict(x)
        operators = session.executed_precision()
    np.testing.assert_allclose(scores, onnxruntime(onnx.load(tmp_path / "m.onnx"), {"x": x}), rtol=1e-6, atol=1e-6)
    assert np.ptp(scores, axis=0).min() > 0.1
    assert all(operator.integer and not operator.reason for operator in operators), operators
    counted = {operator.name: (operator.macs, operator.precision) for operator in operators if operator.macs}
    assert counted == {
        "conv1": (8 * 3 * 9 * 64, "u8s8"),
        "dwconv": (8 * 9 * 64, "u8s8"),
        "fc": (8 * CLASSES, "u8s8"),
    }


def test_a_float_file_says_that_it_is_one(tiny_model: FloatModel, tiny_samples: Samples) -> None:
    x = images(tiny_samples)[:4]
    with REFERENCE.open_session(artifact(tiny_model.path, (3, 8, 8), 4), SessionOptions()) as session:
        np.testing.assert_allclose(session.predict(x), expected(tiny_model, x), atol=1e-5)
        operators = session.executed_precision()
    assert all(operator.reason and not operator.integer for operator in operators)


@pytest.mark.parametrize("content", [b"", b"garbage " * 40], ids=["empty", "text"])
def test_garbage_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(LowbitError), REFERENCE.open_session(artifact(tmp_path / "bad.onnx"), SessionOptions()):
        pass
    with pytest.raises(FileNotFoundError), REFERENCE.open_session(artifact(tmp_path / "gone"), SessionOptions()):
        pass


def node(kind: str, *inputs: str, **attributes: Any) -> onnx.NodeProto:
    """One that computes `y` and may read x and z (codes, dequantized) and the constants of `qdq`."""
    return helper.make_node(kind, inputs, ["y"], kind, **attributes)


def layer(kind: str, shape: tuple[int, ...], axis: int, **attributes: Any) -> list[onnx.NodeProto]:
    """A layer with int8 weights of `shape`, a scale for each entry of `axis`, and an int32 bias."""
    rng = np.random.default_rng(1)
    group = attributes.get("group", 1)
    scale = rng.uniform(0.002, 0.01, shape[axis]).astype(np.float32)
    bias_scale = np.tile(scale, group if kind == "ConvTranspose" else 1) * np.float32(X[0])
    bias = rng.integers(-3000, 3000, bias_scale.size).astype(np.int32)
    arrays: dict[str, np.ndarray] = {
        "w": rng.integers(WEIGHTS.lowest, WEIGHTS.highest + 1, shape).astype(np.int8),
        "ws": scale,
        "b": bias,
        "bs": bias_scale,
    }
    constants = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(arrays[name])) for name in arrays
    ]
    return [
        *constants,
        helper.make_node("DequantizeLinear", ["w", "ws"], ["weight"], axis=axis),
        helper.make_node("DequantizeLinear", ["b", "bs"], ["bias"], axis=0),
        node(kind, "x", "weight", "bias", **attributes),
    ]


X, Z, Y = (0.0301, 120), (0.0113, 60), (0.0477, 128)  # no round ratios: ties would be rounded either way
PAIR = {"kernel_shape": [3, 3], "strides": [2, 2]}
ROUND_UP = {**PAIR, "pads": [1, 1, 0, 0], "ceil_mode": 1}

CASES: dict[str, tuple[tuple[int, ...], list[onnx.NodeProto]]] = {
    "conv": ((2, 6, 9, 9), layer("Conv", (4, 6, 3, 3), 0, pads=[1, 0, 2, 1], strides=[2, 1])),
    "grouped": ((2, 6, 9, 9), layer("Conv", (4, 3, 3, 3), 0, group=2, dilations=[2, 2])),
    "depthwise": ((2, 6, 9, 9), layer("Conv", (12, 1, 3, 3), 0, group=6, auto_pad="SAME_UPPER", strides=[2, 2])),
    "one dimension": ((2, 6, 20), layer("Conv", (4, 6, 5), 0, pads=[2, 2])),
    "transposed": ((2, 6, 5, 5), layer("ConvTranspose", (6, 4, 3, 3), 1, strides=[2, 2], pads=[1, 1, 0, 1])),
    "transposed, grouped": (
        (2, 6, 5, 5),
        layer("ConvTranspose", (6, 2, 2, 3), 1, group=2, strides=[2, 3], output_padding=[1, 0]),
    ),
    "gemm": ((5, 40), layer("Gemm", (7, 40), 0, transB=1)),
    "matmul": ((3, 4, 7), [helper.make_node("Transpose", ["z"], ["t"], perm=[0, 2, 1]), node("MatMul", "x", "t")]),
    "add": ((2, 3, 5), [node("Add", "x", "z")]),
    "sub": ((2, 3, 5), [node("Sub", "x", "z")]),
    "mul": ((2, 3, 5), [node("Mul", "x", "z")]),
    "concat": ((2, 3, 5), [node("Concat", "x", "z", axis=1)]),
    "concat, then moved": (
        (2, 3, 4),
        [helper.make_node("Concat", ["x", "z"], ["c"], axis=1), node("Transpose", "c", perm=[2, 0, 1])],
    ),
    "relu": ((2, 3, 5), [node("Relu", "x")]),
    "max pool": ((2, 3, 8, 8), [node("MaxPool", "x", **ROUND_UP)]),
    "average pool": ((2, 3, 8, 8), [node("AveragePool", "x", **ROUND_UP)]),
    "average pool, pads counted": ((2, 3, 8, 8), [node("AveragePool", "x", **PAIR, pads=[1] * 4, count_include_pad=1)]),
    "global average": ((3, 5, 3, 3), [node("GlobalAveragePool", "x")]),
    "mean": ((2, 3, 7), [node("ReduceMean", "x", "axes", keepdims=0)]),
    "pad": ((2, 3, 4, 4), [node("Pad", "x", "pads")]),
    "hard swish": ((2, 3, 5), [node("HardSwish", "x")]),
    "silu": ((2, 3, 5), [helper.make_node("Sigmoid", ["x"], ["s"]), node("Mul", "x", "s")]),
    "gelu": (
        (2, 3, 5),
        [
            helper.make_node("Div", ["x", "root"], ["d"]),
            helper.make_node("Erf", ["d"], ["e"]),
            helper.make_node("Add", ["e", "one"], ["f"]),
            node("Mul", "x", "f"),
        ],
    ),
    "softmax": ((2, 3, 5), [node("Softmax", "x")]),
}


def qdq(shape: tuple[int, ...], nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    """uint8 codes `x` and `z` of that shape → the nodes → uint8 codes `codes`."""
    constants: dict[str, Any] = {"root": np.float32(2**0.5), "one": np.float32(1), "axes": np.array([2])}
    constants["pads"] = np.array([0, 0, 1, 0, 0, 0, 2, 1])
    for name, (scale, zero) in {"x": X, "z": Z, "y": Y}.items():
        constants |= {f"{name}s": np.float32(scale), f"{name}z": np.uint8(zero)}
    made = [helper.make_node("DequantizeLinear", [f"{name}c", f"{name}s", f"{name}z"], [name]) for name in "xz"]
    graph = helper.make_graph(
        [*made, *nodes, helper.make_node("QuantizeLinear", ["y", "ys", "yz"], ["codes"])],
        "one operator",
        [helper.make_tensor_value_info(f"{name}c", U8, shape) for name in "xz"],
        [helper.make_tensor_value_info("codes", U8, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize("case", list(CASES))
def test_every_operator_gives_onnxruntimes_codes(case: str) -> None:
    model = qdq(*CASES[case])
    rng = np.random.default_rng(0)
    feeds = {name: rng.integers(0, 256, CASES[case][0]).astype(np.uint8) for name in ("xc", "zc")}
    found = np.asarray(load_integer_graph(model).run(feeds)["codes"])
    truth = onnxruntime(model, feeds)
    assert found.dtype == truth.dtype == np.uint8
    assert found.shape == truth.shape
    apart = np.abs(found.astype(int) - truth.astype(int))
    assert apart.max() <= 1
    if case != "softmax":  # ONNX Runtime has an integer softmax of its own, which rounds otherwise
        assert (apart == 0).mean() >= 0.99
        assert len(np.unique(truth)) > 5


def test_an_accumulator_that_overflows_is_an_error(tmp_path: Path) -> None:
    model = qdq((1, 70000), layer("Gemm", (1, 70000), 0, transB=1))
    for tensor in (attribute.t for made in model.graph.node if made.output[0] == "w" for attribute in made.attribute):
        tensor.CopyFrom(numpy_helper.from_array(np.full((1, 70000), 127, np.int8)))
    codes = np.full((1, 70000), 255, np.uint8)
    reached = 70000 * 127 * (255 - X[1])
    assert load_integer_graph(model).run({"xc": codes, "zc": codes})["codes"].tolist() == [[255]]  # type: ignore[union-attr]
    assert reached < 2**31
    for tensor in model.graph.initializer:
        if tensor.name == "xz":
            tensor.CopyFrom(numpy_helper.from_array(np.array(0, np.uint8), "xz"))
    with pytest.raises(UnsupportedError, match="beyond int32"):
        load_integer_graph(model).run({"xc": codes, "zc": codes})
