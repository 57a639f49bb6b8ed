"""The Keras twin against ONNX Runtime: whole networks of small size, and every operator of the grid (see `cases`)."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from lowbit.core.errors import UnsupportedError
from lowbit.graph.refused import FOLDED, REFUSED
from tests.runtime.cases import everything
from tests.runtime.cases.case import Case, Nodes
from tests.runtime.importing import Array, floats, ints, node
from tests.runtime.test_operator_grid import VARIANTS

tf: Any = pytest.importorskip("tensorflow")
tf_keras: Any = pytest.importorskip("tf_keras")

IMAGES = 3


def convolution(name: str, weight: tuple[int, ...], x: tuple[int, ...], kind: str = "Conv", **attributes: Any) -> Case:
    """A convolution in a form that the other lists lack."""
    return Case(f"{kind} {name}", (node(kind, "x w", **attributes),), {"w": floats(*weight)}, x)


CONVOLUTIONS = [
    convolution("3-D", (4, 3, 2, 3, 2), (3, 5, 6, 4), pads=[1, 0, 0, 1, 1, 0]),
    convolution("3-D groups", (4, 2, 2, 2, 2), (4, 3, 4, 3), group=2),
    convolution("gaps and strides", (4, 3, 3, 3), (3, 9, 8), strides=[2, 1], dilations=[1, 2]),
    convolution("depthwise, uneven strides", (6, 1, 3, 3), (6, 9, 8), group=6, strides=[2, 1], pads=[1] * 4),
    convolution("depthwise, two a channel", (6, 1, 3, 3), (3, 9, 8), group=3),
    convolution("depthwise 1-D", (4, 1, 3), (4, 9), group=4, strides=[2]),
    convolution("3-D", (3, 4, 2, 3, 2), (3, 3, 4, 3), "ConvTranspose", strides=[2, 1, 2]),
    convolution("more strides than kernel", (3, 4, 2, 2), (3, 4, 3), "ConvTranspose", strides=[3, 3]),
]
GRID = [Case(v.name, tuple(v.nodes), v.given, v.x, v.opset, ("v",)) for v in VARIANTS.values()]
_CASES = [*everything(), *GRID, *CONVOLUTIONS]
ALWAYS_CONSTANT = {"ConstantOfShape", "Range"}  # of sizes, which are constant: the twin is made for one batch size

CONVERTER_LACKS = {
    "BitShift": "LeftShift",
    "BitwiseAnd": "BitwiseAnd",
    "BitwiseNot": "Invert",
    "BitwiseOr": "BitwiseOr",
    "BitwiseXor": "BitwiseXor",
    "Det": "MatrixDeterminant",
    "Div of integers{}i c": "FloorDiv",
    "Mod of integers{'fmod': 1}i c": "FloorDiv",
    "Pow of integers{}i c": "Pow",
}
"""Operator, or one case → TensorFlow's operator that TFLite lacks. The twin computes it all the same."""

DIFFERS = {"IsInf": "LiteRT's logarithm of 0 is not −∞"}
"""Operator → why LiteRT computes another thing from the converted file."""


def twin(case: Case, folder: Path) -> Any:
    from lowbit.kerasgraph.importer import import_graph

    tf_keras.backend.clear_session()
    onnx.save(case.model(), folder / "case.onnx")
    return import_graph(folder / "case.onnx", IMAGES)


def fed(model: Any, x: Array) -> Array:
    """x as the model takes it."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if tuple(model.inputs[0].shape) != x.shape else x


def check(case: Case, folder: Path) -> Any:
    """Hold the twin to ONNX Runtime; gives it."""
    x = case.images(IMAGES)
    model = twin(case, folder)
    found = model(tf.constant(fed(model, x)), training=False)
    found = found if isinstance(found, list | tuple) else [found]
    for ours, theirs in zip(found, case.expected(x), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4, rtol=1e-4)
    return model


def layers_of(model: Any) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


def convolutions(*nodes: Any, **constants: Array) -> Case:
    """A convolution from 3 to 4 channels, and what follows it."""
    first = node("Conv", "x w b", "c", pads=[1] * 4)
    given = {"w": floats(4, 3, 3, 3), "b": floats(4, seed=1), **constants}
    return Case("network", (first, *nodes), given, (3, 6, 8))


# --- where images keep their channels last ----------------------------------------------------------------------------


def test_a_flatten_before_a_product_costs_no_transpose(tmp_path: Path) -> None:
    """The product's weight is put into the order in which the image lies."""
    case = convolutions(node("Flatten", "c", "f"), node("Gemm", "f v d", transB=1), v=floats(5, 192), d=floats(5))
    assert layers_of(check(case, tmp_path)) == ["InputLayer", "Conv2D", "Flatten", "Dense"]


def test_a_flatten_that_others_read_is_in_onnx_order(tmp_path: Path) -> None:
    nodes = (node("Flatten", "c", "f"), node("Softmax", "f", "s"), node("Gemm", "s v d", transB=1))
    assert "Permute" in layers_of(check(convolutions(*nodes, v=floats(5, 192), d=floats(5)), tmp_path))


def test_patches_become_tokens_without_a_transpose(tmp_path: Path) -> None:
    nodes = (node("Reshape", "c s", "r"), node("Transpose", "r", "t", perm=[0, 2, 1]), node("MatMul", "t v"))
    case = convolutions(*nodes, s=ints(0, 4, -1), v=floats(4, 5))
    assert layers_of(check(case, tmp_path)) == ["InputLayer", "Conv2D", "Reshape", "Dense"]


def test_a_channel_shuffle_moves_channels_only(tmp_path: Path) -> None:
    nodes = (
        node("Reshape", "c s", "r"), node("Transpose", "r", "t", perm=[0, 2, 1, 3, 4]), node("Reshape", "t u", "v"),
        node("Conv", "v k", "y"),
    )  # fmt: skip
    case = convolutions(*nodes, s=ints(0, 2, 2, 6, 8), u=ints(0, 4, 6, 8), k=floats(2, 4, 1, 1))
    kinds = layers_of(check(case, tmp_path))
    assert kinds.count("Permute") == 2  # the shuffle itself, and the result, which ONNX has channels first


def test_transposes_that_cancel_leave_nothing(tmp_path: Path) -> None:
    nodes = (
        node("Transpose", "c", "t", perm=[0, 2, 3, 1]), node("LayerNormalization", "t g h", "n"),
        node("Transpose", "n", "u", perm=[0, 3, 1, 2]), node("Conv", "u k", "y", group=4),
    )  # fmt: skip
    case = convolutions(*nodes, g=floats(4), h=floats(4), k=floats(4, 1, 3, 3))
    assert layers_of(check(case, tmp_path)) == ["InputLayer", "Conv2D", "Operation", "DepthwiseConv2D", "Permute"]


def test_a_gate_by_channel_costs_no_transpose(tmp_path: Path) -> None:
    nodes = (
        node("GlobalAveragePool", "c", "g"), node("Conv", "g k", "h"), node("Sigmoid", "h", "s"),
        node("Mul", "c s", "m"),
        node("ReduceMean", "m a", keepdims=0),
    )  # fmt: skip
    kinds = layers_of(check(convolutions(*nodes, k=floats(4, 4, 1, 1), a=ints(2, 3)), tmp_path))
    assert "Permute" not in kinds
    assert "Multiply" in kinds


@pytest.mark.parametrize(
    "normalization",
    [
        node("LayerNormalization", "c g h"),
        node("InstanceNormalization", "c i j"),
        node("MeanVarianceNormalization", "c"),
    ],
    ids=lambda each: each.op_type,
)
def test_a_normalization_runs_with_16_bits(normalization: onnx.NodeProto, tmp_path: Path) -> None:
    """LiteRT has no SQUARED_DIFFERENCE of 16 bits, which the converter makes of the square of a difference."""
    from ai_edge_litert.interpreter import Interpreter
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    case = convolutions(normalization, g=floats(8), h=floats(8, seed=1), i=floats(4), j=floats(4, seed=1))
    x = case.images(IMAGES)
    model = check(case, tmp_path)
    wanted = tf.TensorSpec(model.inputs[0].shape, tf.float32)
    function = tf.function(lambda t: model(t, training=False)).get_concrete_function(wanted)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([convert_variables_to_constants_v2(function)])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: [[fed(model, x)]]
    sets = tf.lite.OpsSet
    converter.target_spec.supported_ops = [
        sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        sets.TFLITE_BUILTINS,
    ]
    interpreter = Interpreter(model_content=converter.convert(), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], fed(model, x))
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, case.expected(x)[0], atol=0.03)


# --- what becomes one layer -------------------------------------------------------------------------------------------


def test_a_relu_is_computed_by_the_layer_before_it(tmp_path: Path) -> None:
    nodes = (node("Relu", "c", "r"), node("Conv", "r k", "d"), node("Add", "r d", "e"), node("Relu", "e"))
    kinds = layers_of(check(convolutions(*nodes, k=floats(4, 4, 1, 1)), tmp_path))
    assert kinds == ["InputLayer", "Conv2D", "Conv2D", "Add", "ReLU", "Permute"]


@pytest.mark.parametrize("form", ["x·(1+erf)·half", "(x·half)·(1+erf)", "x·((1+erf)·half)"])
def test_arithmetic_around_erf_becomes_one_gelu(form: str, tmp_path: Path) -> None:
    root, half, one = (np.array(value, np.float32) for value in (2**0.5, 0.5, 1.0))
    nodes: Nodes = (node("Div", "x root", "d"), node("Erf", "d", "e"), node("Add", "e one", "a"))
    nodes += {
        "x·(1+erf)·half": (node("Mul", "x a", "m"), node("Mul", "m half")),
        "(x·half)·(1+erf)": (node("Mul", "x half", "m"), node("Mul", "m a")),
        "x·((1+erf)·half)": (node("Mul", "a half", "m"), node("Mul", "x m")),
    }[form]
    model = check(Case(form, nodes, {"root": root, "half": half, "one": one}, (5, 6)), tmp_path)
    assert layers_of(model) == ["InputLayer", "Operation"]


@pytest.mark.parametrize("relu", [True, False])
def test_what_stands_around_a_maximum_spoils_no_range(relu: bool, tmp_path: Path) -> None:
    """ResNet's first pooling pads both ends; a lowest number there would be in the ranges of quantization."""
    nodes = (*((node("Relu", "c", "r"),) if relu else ()), node("Neg", "c", "n"))
    pool = node("MaxPool", "r" if relu else "n", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    case = convolutions(*nodes, pool)
    model = check(case, tmp_path)
    names = [layer for layer in layers_of(model) if layer == "ZeroPadding2D"]
    assert len(names) == int(relu)
    seen = tf_keras.Model(model.inputs, [layer.output for layer in model.layers[1:]])
    x = case.images(IMAGES)
    assert max(float(np.abs(value).max()) for value in seen(tf.constant(fed(model, x)))) < 100


# --- every operator ---------------------------------------------------------------------------------------------------


def test_every_operator_of_the_torch_importer_has_a_rule() -> None:
    from lowbit.kerasgraph import importer as keras
    from lowbit.torchgraph import importer as torch

    assert set(torch.OPERATORS) - set(keras.OPERATORS) == ALWAYS_CONSTANT
    assert not set(keras.OPERATORS) & (set(REFUSED) | FOLDED)


@pytest.mark.parametrize("name", ["NonMaxSuppression", "If", "QuantizeLinear"])
def test_a_refused_operator_says_why(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=name) as caught:
        twin(Case(name, (node(name, "x"),)), tmp_path)
    assert REFUSED[name] in caught.value.reason


@pytest.mark.slow
@pytest.mark.parametrize("case", _CASES, ids=[case.name for case in _CASES])
def test_operator(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)


def named(case: Case, table: dict[str, str]) -> str | None:
    """The entry for a case, or for one of its operators."""
    return next((table[name] for name in (case.name, *(each.op_type for each in case.nodes)) if name in table), None)


@pytest.mark.slow
@pytest.mark.parametrize("case", _CASES, ids=[case.name for case in _CASES])
def test_operator_in_a_file(case: Case, tmp_path: Path) -> None:
    """Converted, and run by LiteRT; what TFLite has no operator for is named in CONVERTER_LACKS."""
    interpreter_of = pytest.importorskip("ai_edge_litert.interpreter").Interpreter
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from lowbit.toolchains._tensorflow_twin import traced
    from lowbit.toolchains.tensorflow import _lacking

    model, x = twin(case, tmp_path), case.images(IMAGES)
    frozen = convert_variables_to_constants_v2(traced(model, (0, 0, 0), IMAGES).function)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    lacking = named(case, CONVERTER_LACKS)
    if lacking is not None and "RIGHT" not in case.name:  # TFLite has a shift to the right
        with pytest.raises(UnsupportedError, match=rf"TFLite has no operator for tf\.{lacking}"), _lacking():
            converter.convert()
        return
    interpreter = interpreter_of(model_content=converter.convert(), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], fed(model, x))
    interpreter.invoke()
    found = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
    wanted = case.expected(x)
    assert sorted(each.shape for each in found) == sorted(each.shape for each in wanted)
    same = all(any(close(ours, theirs) for ours in found) for theirs in wanted)
    assert same or named(case, DIFFERS) is not None


def close(ours: Array, theirs: Array) -> bool:
    """A file's outputs come in an order of its own."""
    return ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=1e-3, atol=1e-3, equal_nan=True)
