"""The integer-only interpreter against arithmetic written out by hand: exact, and honest about what it cannot do."""

from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from lowbit.core.errors import BadInput, UnsupportedError
from lowbit.core.model import FloatModel
from lowbit.core.samples import Samples
from lowbit.formats.onnx.write import export_onnx
from lowbit.reference.graph import IntegerGraph, load_integer_graph
from lowbit.reference.op import real
from lowbit.reference.products import convolution, exact_matrix_product, exactly, transposed_convolution
from lowbit.reference.values import Codes, Lookup, Sums, by_fixed_point, by_fixed_point_ties_up, by_float, in_int32
from lowbit.reference.windows import windows
from tests.contract.adapters import expected, images
from tests.quantized import random_images, small_model

FLOAT = TensorProto.FLOAT


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[dict[str, object], np.ndarray, np.ndarray]:
    """Attributes, x [2, C, …] and w [O, C / group, …] of a convolution of one or two dimensions."""
    rank = draw(st.integers(1, 2))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    dilations = [draw(st.integers(1, 2)) for _ in range(rank)]
    group, ins, outs = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    sizes = [draw(st.integers(5, 7)) for _ in range(rank)]
    attributes = {
        "group": group,
        "dilations": dilations,
        "strides": [draw(st.integers(1, 3)) for _ in range(rank)],
        "pads": [draw(st.integers(0, 2)) for _ in range(2 * rank)],
    }
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.integers(-255, 256, (2, group * ins, *sizes))
    return attributes, x, rng.integers(-127, 128, (group * outs, ins, *kernel))


def by_hand(attributes: dict[str, object], x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The sum of ONNX's definition of Conv, one output at a time, in Python's integers."""
    rank, group = w.ndim - 2, attributes["group"]
    strides, dilations, pads = (list(attributes[name]) for name in ("strides", "dilations", "pads"))  # type: ignore[call-overload]
    sizes = [
        (x.shape[2 + a] + pads[a] + pads[rank + a] - dilations[a] * (w.shape[2 + a] - 1) - 1) // strides[a] + 1
        for a in range(rank)
    ]
    y = np.zeros((len(x), len(w), *sizes), np.int64)
    assert isinstance(group, int)
    for n, o, *at in product(*map(range, y.shape)):
        for i, *tap in product(*map(range, w.shape[1:])):
            place = [at[a] * strides[a] + tap[a] * dilations[a] - pads[a] for a in range(rank)]
            if all(0 <= place[a] < x.shape[2 + a] for a in range(rank)):
                channel = o // (len(w) // group) * w.shape[1] + i
                y[(n, o, *at)] += int(x[(n, channel, *place)]) * int(w[(o, i, *tap)])
    return y


@settings(max_examples=40, deadline=None)
@given(convolutions())
def test_convolution_is_the_sum_of_its_definition(case: tuple[dict[str, object], np.ndarray, np.ndarray]) -> None:
    attributes, x, w = case
    axes = tuple(range(1, w.ndim))
    np.testing.assert_array_equal(exactly(convolution(attributes), x, w, axes), by_hand(attributes, x, w))


@settings(max_examples=40, deadline=None)
@given(convolutions())
def test_transposed_convolution_is_the_adjoint(case: tuple[dict[str, object], np.ndarray, np.ndarray]) -> None:
    """⟨conv(x), y⟩ = ⟨x, convᵀ(y)⟩ for every y, exactly, once the rows that no window reached are added."""
    attributes, x, w = case
    forward = exactly(convolution(attributes), x, w, tuple(range(1, w.ndim)))
    y = np.random.default_rng(0).integers(-255, 256, forward.shape)
    rank = w.ndim - 2
    plain = exactly(transposed_convolution(attributes), y, w, (0,))
    missed = [x.shape[2 + a] - plain.shape[2 + a] for a in range(rank)]
    back = exactly(transposed_convolution({**attributes, "output_padding": missed}), y, w, (0,))
    assert back.shape == x.shape
    assert (forward * y).sum() == (x * back).sum()


def test_products_stay_exact_where_float32_would_round() -> None:
    x, w = np.full((1, 5000), 255, np.uint8), np.full((5000, 3), 127, np.int8)
    w[0] = 126  # an odd total of 28 bits
    assert exact_matrix_product(x, w).tolist() == [[5000 * 255 * 127 - 255] * 3]


def test_overflow_of_int32_is_an_error() -> None:
    assert in_int32(np.array([2**31 - 1, -(2**31)]), "conv").size == 2
    for beyond in (2**31, -(2**31) - 1):
        with pytest.raises(UnsupportedError, match=f"conv: a sum reaches {beyond}, beyond int32"):
            in_int32(np.array([beyond]), "conv")


totals = st.integers(-(2**31), 2**31 - 1)
ratios = st.floats(2**-20, 1, width=32)


@given(totals, ratios)
def test_requantizing_by_float_rounds_to_nearest(total: int, ratio: float) -> None:
    exact = Fraction(total) * Fraction(ratio)
    found = int(by_float(np.array([total]), np.array([ratio], np.float32))[0])
    assert abs(found - exact) <= Fraction(1, 2) + abs(exact) / 2**22  # two roundings to 24 bits, and to an integer


@given(totals, ratios)
def test_requantizing_by_fixed_point_rounds_twice(total: int, ratio: float) -> None:
    """To the nearest 2^-shift of a code, then to the nearest code: that much it can be off, and no more."""
    exact = Fraction(total) * Fraction(ratio)
    exponent = int(np.frexp(ratio)[1])
    assume(abs(total) << max(0, exponent) < 2**31)  # beyond that the left shift saturates, far outside of any code
    shift = max(0, -exponent)
    for way in (by_fixed_point, by_fixed_point_ties_up):
        found = int(way(np.array([total]), np.array([ratio], np.float32))[0])
        assert abs(found - exact) <= Fraction(1, 2) + Fraction(1, 2) / 2**shift


def test_where_the_ways_differ() -> None:
    total, third = np.array([40, -40, 2, -2]), np.array([1 / 3] * 2 + [1 / 4] * 2, np.float32)
    assert by_float(total, third).tolist() == [13, -13, 0, 0]  # 13.33; a tie goes to the even code
    assert by_fixed_point(total, third).tolist() == [14, -14, 1, -1]  # 26.67 halves → 27 halves → away from zero
    assert by_fixed_point_ties_up(total, third).tolist() == [14, -13, 1, 0]


@given(st.integers(0, 255), st.integers(0, 255), st.floats(2**-10, 1, width=32), st.floats(2**-10, 1, width=32))
def test_sums_of_codes_are_exact_but_for_a_millionth(a: int, b: int, scale_a: float, scale_b: float) -> None:
    one = qdq([helper.make_node("Add", ["a", "b"], ["y"])], {"a": (scale_a, 3), "b": (scale_b, 200)}, ["y"])
    found = one.run({"a": np.array([a], np.uint8), "b": np.array([b], np.uint8)})["y"]
    assert isinstance(found, Sums)
    exact = Fraction(float(np.float32(scale_a))) * (a - 3) + Fraction(float(np.float32(scale_b))) * (b - 200)
    got = int(found.total[0]) * Fraction(float(found.scale))
    assert abs(got - exact) <= Fraction(max(scale_a, scale_b)) / 2**19 + abs(exact) / 2**23  # the unit is a float32


def test_a_function_of_one_tensor_is_a_table() -> None:
    nodes = [helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node("Mul", ["x", "s"], ["y"])]
    graph = qdq(nodes, {"x": (0.05, 128)}, ["y"])
    codes = np.random.default_rng(0).integers(0, 256, (2, 3, 4)).astype(np.uint8)
    found = graph.run({"x": codes})["y"]
    assert isinstance(found, Lookup)
    assert found.table.shape == (256,)
    x = (codes.astype(np.float64) - 128) * np.float32(0.05)
    np.testing.assert_allclose(found.real(), x / (1 + np.exp(-x)), rtol=1e-5)


def test_averages_count_what_they_cover() -> None:
    for ceil, padding in product((0, 1), (0, 1)):
        attributes = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 0, 0], "ceil_mode": ceil}
        found = windows(attributes, (3, 3), (7, 7))
        counts = found.counts((7, 7), with_padding=bool(padding))
        line = [sum(1 for k in range(3) if -padding <= 2 * at - 1 + k < 7) for at in range(3 + ceil)]
        assert counts.tolist() == np.outer(line, line).tolist()
        total = sum(found.taps(found.padded(np.ones((1, 1, 7, 7), np.int64))), np.zeros((), np.int64))
        assert total.shape[2:] == counts.shape


@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8])
def test_packed_weights_unfold_to_their_codes(bits: int, asymmetric: bool, tmp_path: Path) -> None:
    model = small_model(weight_bits=bits, asymmetric=asymmetric)
    export_onnx(model, tmp_path / "m.onnx")
    graph = load_integer_graph(onnx.load(tmp_path / "m.onnx"))
    for node in graph.nodes:
        if node.name in model.layers:
            weight = graph.constants[node.input[1]]
            assert isinstance(weight, Codes)
            given = model.layers[node.name].weight
            zero = given.qparams.zero_point.reshape(-1, *[1] * (given.codes.ndim - 1))
            np.testing.assert_array_equal(weight.centred(), given.codes - zero)


def test_a_float_file_is_computed_in_float(tiny_model: FloatModel, tiny_samples: Samples) -> None:
    graph, x = load_integer_graph(onnx.load(tiny_model.path)), images(tiny_samples)[:4]
    np.testing.assert_allclose(np.asarray(graph.run({"input": x})["logits"]), expected(tiny_model, x), atol=1e-5)


def test_a_bias_in_other_units_is_refused() -> None:
    bias = helper.make_node("DequantizeLinear", ["b", "s"], ["bias"])
    gemm = helper.make_node("Gemm", ["x", "w", "bias"], ["y"], "fc", transB=1)
    graph = qdq([bias, gemm], {"x": (0.1, 0), "w": (0.5, 0)}, ["y"], b=np.array([7], np.int32), s=np.float32(0.06))
    with pytest.raises(BadInput, match=r"fc: its bias has scale 0.06 … and its products 0.05"):
        graph.run({"x": np.ones((1, 2), np.uint8), "w": np.ones((1, 2), np.uint8)})


def test_an_operator_that_nobody_knows_is_named() -> None:
    graph = qdq([helper.make_node("Nonsense", ["x"], ["y"], "n1")], {"x": (0.1, 0)}, ["y"])
    with pytest.raises(UnsupportedError, match="Nonsense n1"):
        graph.run({"x": np.ones((1, 2), np.uint8)})


@pytest.mark.parametrize("pads", [[0, 0, -1, 2, 0, 0, 1, -2], [0, -1, 0, 0, 0, 2, -3, 0]])
@pytest.mark.parametrize("fill", [None, 0.0, 1.5])
def test_padding_may_cut(pads: list[int], fill: float | None) -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "scale", "zero"], ["f"]),
        helper.make_node("Pad", ["f", "pads"] + ["fill"] * (fill is not None), ["y"]),
    ]
    constants: dict[str, Any] = {
        "scale": np.array(0.5, np.float32),
        "zero": np.array(3, np.uint8),
        "pads": np.array(pads),
    }
    if fill is not None:
        constants["fill"] = np.array(fill, np.float32)
    graph = helper.make_graph(
        nodes,
        "pad",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 3, 5, 6])],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    x = np.random.default_rng(0).integers(0, 256, (1, 3, 5, 6)).astype(np.uint8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    wanted = ort.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})[0]
    np.testing.assert_array_equal(real(load_integer_graph(model).run({"x": x})["y"]), wanted)


def test_codes_that_nodes_read_are_kept_for_the_first_images(tmp_path: Path) -> None:
    export_onnx(small_model(), tmp_path / "m.onnx")
    graph = load_integer_graph(onnx.load(tmp_path / "m.onnx"))
    x = random_images(4, seed=2)
    values, kept = graph.run_and_keep({"x": x}, [("add", 0), ("add", 1), ("fc", 0)], 2 * 8 * 64)
    assert {read: (codes.dtype.name, codes.shape) for read, codes in kept.items()} == {
        ("add", 0): ("uint8", (2, 8, 8, 8)), ("add", 1): ("uint8", (2, 8, 8, 8)), ("fc", 0): ("uint8", (4, 8)),
    }  # fmt: skip
    assert set(values) == set(graph.outputs)
    with pytest.raises(BadInput, match=r"read no codes in the file: fc \(input 7\)"):
        graph.run_and_keep({"x": x}, [("fc", 7)], 1)


def qdq(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[float, int]],
    outputs: list[str],
    **constants: np.ndarray | np.generic,
) -> IntegerGraph:
    """A graph whose inputs are uint8 codes of that scale and zero point; its nodes read them dequantized."""
    made, tensors = [], [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    for name, (scale, zero) in inputs.items():
        tensors.append(numpy_helper.from_array(np.asarray(scale, np.float32), f"{name}:scale"))
        tensors.append(numpy_helper.from_array(np.asarray(zero, np.uint8), f"{name}:zero"))
        made.append(helper.make_node("DequantizeLinear", [name, f"{name}:scale", f"{name}:zero"], [f"{name}:real"]))
    for node in nodes:
        read = [f"{name}:real" if name in inputs else name for name in node.input]
        del node.input[:]
        node.input.extend(read)
    graph = helper.make_graph(
        [*made, *nodes],
        "test",
        [helper.make_tensor_value_info(name, TensorProto.UINT8, None) for name in inputs],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        tensors,
    )
    return load_integer_graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))
