"""The prepared graph: the same function as the model's, in fewer kinds of operators, everything named."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from lowbit.graph.values import constant
from lowbit.quant.prepare import prepare

Array = npt.NDArray[Any]
IMAGE = (4, 6, 5)


def floats(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng((seed, *shape)).normal(0, 0.7, shape).astype(np.float32)


def node(op_type: str, inputs: str, outputs: str = "y", **attributes: Any) -> NodeProto:
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(op_type, names, outputs.split(), name=f"n_{outputs.split()[0]}", **attributes)


def prepared(
    folder: Path,
    nodes: list[NodeProto],
    constants: dict[str, Array] | None = None,
    *,
    shape: tuple[int, ...] = IMAGE,
    outputs: str = "y",
    opset: int = 20,
) -> ir.Model:
    """The prepared graph of a network from x [batch, *shape], after a check that it gives what the network gives."""
    shapes: dict[str, list[str | int | None]] = {"x": ["batch", *shape]}
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shapes["x"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes.get(name)) for name in outputs.split()],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.save(model, folder / "model.onnx")
    made = prepare(folder / "model.onnx")
    proto = ir.to_proto(made)
    onnx.checker.check_model(proto, full_check=True)
    x = floats(3, *shape, seed=7)
    for batch in (x, x[:1]):
        for ours, theirs in zip(run(proto, batch), run(model, batch), strict=True):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    check_names(made)
    return made


def run(model: onnx.ModelProto, x: Array) -> list[Array]:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results: list[Array] = session.run(None, {"x": x})
    return results


def check_names(model: ir.Model) -> None:
    nodes = [entry.name for entry in model.graph]
    values = [value.name for entry in model.graph for value in entry.outputs]
    values += [value.name for value in model.graph.inputs] + list(model.graph.initializers)
    assert all(nodes)
    assert all(values)
    assert len(set(nodes)) == len(nodes)
    assert len(set(values)) == len(values)


def operators(model: ir.Model) -> str:
    return " ".join(entry.op_type for entry in model.graph)


def only(model: ir.Model, op_type: str) -> ir.Node:
    (found,) = (entry for entry in model.graph if entry.op_type == op_type)
    return found


# -- a scale or shift a channel


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1)])
@pytest.mark.parametrize(("op_type", "inputs"), [
    ("Mul", "c k"), ("Mul", "k c"), ("Add", "c k"), ("Add", "k c"), ("Sub", "c k"), ("Div", "c k"),
])  # fmt: skip
def test_a_scale_or_shift_behind_a_convolution_is_folded(
    tmp_path: Path, op_type: str, inputs: str, shape: tuple[int, ...]
) -> None:
    weights = {"w": floats(4, 4, 3, 3), "k": floats(*shape) + 2}
    model = prepared(tmp_path, [node("Conv", "x w", "c"), node(op_type, inputs)], weights)
    assert operators(model) == "Conv"


@pytest.mark.parametrize(("op_type", "inputs"), [("Mul", "x k"), ("Add", "k x"), ("Sub", "x k"), ("Div", "x k")])
def test_a_scale_or_shift_with_no_layer_before_it_is_a_depthwise_convolution(
    tmp_path: Path, op_type: str, inputs: str
) -> None:
    model = prepared(tmp_path, [node(op_type, inputs)], {"k": floats(4, 1, 1) + 2})
    layer = only(model, "Conv")
    assert layer.attributes.get_int("group") == 4
    assert operators(model) == "Conv"


@pytest.mark.parametrize(("op_type", "inputs", "shape"), [
    ("Sub", "k x", (4, 1, 1)), ("Div", "k x", (4, 1, 1)),  # not linear in x, or turned round
    ("Mul", "x k", (4, 6, 1)), ("Add", "x k", (6, 1)), ("Mul", "x k", (5,)), ("Mul", "x k", ()),
])  # fmt: skip
def test_other_operands_are_left_alone(tmp_path: Path, op_type: str, inputs: str, shape: tuple[int, ...]) -> None:
    assert operators(prepared(tmp_path, [node(op_type, inputs)], {"k": floats(*shape) + 3})) == op_type


def test_a_convolution_that_somebody_else_reads_is_not_folded_into(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "c"), node("Mul", "c k", "m"), node("Add", "m c")]
    model = prepared(tmp_path, nodes, {"w": floats(4, 4, 1, 1), "k": floats(4, 1, 1)})
    assert operators(model) == "Conv Conv Add"


# -- BatchNormalization


def norm(channels: int) -> dict[str, Array]:
    variance = np.abs(floats(channels, seed=4)) + np.float32(0.3)
    return {"g": floats(channels, seed=1), "b": floats(channels, seed=2), "m": floats(channels, seed=3), "v": variance}


@pytest.mark.parametrize("shape", [(4, 6, 5), (4, 7)])
def test_a_normalization_without_a_layer_before_it_is_a_depthwise_convolution(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    nodes = [node("Relu", "x", "r"), node("BatchNormalization", "r g b m v", epsilon=0.1)]
    model = prepared(tmp_path, nodes, norm(4), shape=shape)
    layer = only(model, "Conv")
    weight = constant(layer.inputs[1])
    assert weight is not None
    assert weight.shape == (4, 1, *[1] * (len(shape) - 1))
    assert operators(model) == "Relu Conv"


@pytest.mark.parametrize("group", [1, 2, 4])
def test_a_normalization_behind_a_transposed_convolution_is_folded(tmp_path: Path, group: int) -> None:
    nodes = [node("ConvTranspose", "x w", "c", group=group, strides=[2, 2]), node("BatchNormalization", "c g b m v")]
    model = prepared(tmp_path, nodes, {"w": floats(4, 8 // group, 3, 3), **norm(8)})
    assert operators(model) == "ConvTranspose"


def test_a_normalization_of_rows_behind_a_gemm_is_folded(tmp_path: Path) -> None:
    nodes = [node("Gemm", "x w c", "h", alpha=0.5, beta=2.0), node("BatchNormalization", "h g b m v")]
    model = prepared(tmp_path, nodes, {"w": floats(6, 4), "c": floats(4), **norm(4)}, shape=(6,))
    assert operators(model) == "Gemm"


# -- matrix products


def check_plain(layer: ir.Node) -> None:
    weight, bias = constant(layer.inputs[1]), constant(layer.inputs[2])
    assert weight is not None
    assert bias is not None
    assert bias.shape == weight.shape[:1]
    assert {name: attribute.value for name, attribute in layer.attributes.items()} == {"transB": 1}


@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 5, 6)])
@pytest.mark.parametrize("bias", [None, (3,), (1, 3), (1,), ()])
@pytest.mark.parametrize("turned", [False, True])
def test_a_product_with_a_matrix_is_a_gemm(
    tmp_path: Path, shape: tuple[int, ...], bias: tuple[int, ...] | None, turned: bool
) -> None:
    weights, nodes = {"w": floats(6, 3)}, [node("MatMul", "x w", "y" if bias is None else "h")]
    if bias is not None:
        weights["b"] = floats(*bias)
        nodes.append(node("Add", "b h" if turned else "h b"))
    model = prepared(tmp_path, nodes, weights, shape=shape)
    assert operators(model) == ("Gemm" if len(shape) == 1 else "Reshape Gemm Reshape")
    check_plain(only(model, "Gemm"))


def test_an_addend_a_row_is_no_bias(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x w", "h"), node("Add", "h b")]
    model = prepared(tmp_path, nodes, {"w": floats(6, 3), "b": floats(3, 1)}, shape=(3, 6))
    assert operators(model) == "Reshape Gemm Reshape Add"


def test_names_that_are_taken_are_not_given_twice(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "fc_weight"], ["fc_out"], "fc"),
        helper.make_node("Relu", ["fc_out"], ["fc_flat_out"], "fc_flat"),
        helper.make_node("MatMul", ["fc_flat_out", "fc_bias"], ["fc_back_out"], "fc_back"),
        helper.make_node("Relu", ["fc_back_out"], ["y"], "last"),
    ]
    prepared(tmp_path, nodes, {"fc_weight": floats(6, 3), "fc_bias": floats(3, 2)}, shape=(5, 6))


def test_a_product_read_twice_keeps_its_sum_apart(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x w", "h"), node("Add", "h b", "s"), node("Mul", "s h")]
    model = prepared(tmp_path, nodes, {"w": floats(6, 3), "b": floats(3)}, shape=(6,))
    assert operators(model) == "Gemm Add Mul"


@pytest.mark.parametrize("inputs", ["x x", "w x", "x v"])
def test_products_without_a_matrix_on_the_right_are_left_alone(tmp_path: Path, inputs: str) -> None:
    weights = {"w": floats(5, 5), "v": floats(2, 5, 5)}
    used = {name: weights[name] for name in inputs.split() if name in weights}
    assert operators(prepared(tmp_path, [node("MatMul", inputs)], used, shape=(2, 5, 5))) == "MatMul"


@pytest.mark.parametrize("alpha", [1.0, 0.25])
@pytest.mark.parametrize("beta", [1.0, -3.0])
@pytest.mark.parametrize("trans", [0, 1])
@pytest.mark.parametrize("bias", [None, (3,), (1, 3), (1,), ()])
def test_every_gemm_becomes_plain(
    tmp_path: Path, alpha: float, beta: float, trans: int, bias: tuple[int, ...] | None
) -> None:
    weights = {"w": floats(3, 6) if trans else floats(6, 3)} | ({} if bias is None else {"b": floats(*bias)})
    inputs = "x w" if bias is None else "x w b"
    gemm = node("Gemm", inputs, alpha=alpha, beta=beta, transB=trans)
    model = prepared(tmp_path, [gemm], weights, shape=(6,))
    assert operators(model) == "Gemm"
    check_plain(only(model, "Gemm"))


def test_a_gemm_whose_addend_is_computed_keeps_its_meaning(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "r"), node("Gemm", "x w r", alpha=0.5, beta=2.0)]
    prepared(tmp_path, nodes, {"w": floats(6, 6)}, shape=(6,))


@pytest.mark.parametrize("first", ["alpha", "plain"])
def test_a_weight_of_two_layers_is_the_one_each_of_them_had(tmp_path: Path, first: str) -> None:
    changed, plain = {"alpha": 0.5, "transB": 1}, {"transB": 1}
    pair = (changed, plain) if first == "alpha" else (plain, changed)
    nodes = [node("Gemm", "x w b", "h", **pair[0]), node("Gemm", "h w b", **pair[1])]
    model = prepared(tmp_path, nodes, {"w": floats(6, 6), "b": floats(6)}, shape=(6,))
    assert operators(model) == "Gemm Gemm"


def test_a_weight_read_both_ways_round_is_turned_for_one_reader_only(tmp_path: Path) -> None:
    nodes = [node("Gemm", "x w", "g", transB=1), node("Gemm", "g w", "h"), node("MatMul", "h w")]
    model = prepared(tmp_path, nodes, {"w": floats(6, 6)}, shape=(6,))
    for entry in model.graph:
        check_plain(entry)


def test_a_scale_behind_one_user_of_a_weight_leaves_the_other_user_alone(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w b", "c"), node("Mul", "c k", "m"), node("Conv", "m w b")]
    model = prepared(tmp_path, nodes, {"w": floats(4, 4, 1, 1), "b": floats(4), "k": floats(4, 1, 1)})
    assert operators(model) == "Conv Conv"


def test_layers_that_share_a_weight_still_do(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "c"), node("Relu", "c", "r"), node("Conv", "r w")]
    model = prepared(tmp_path, nodes, {"w": floats(4, 4, 1, 1)})
    first, second = (entry for entry in model.graph if entry.op_type == "Conv")
    assert first.inputs[1] is second.inputs[1]


# -- biases


@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("empty", ["x w", "x w -"])
def test_a_convolution_gets_a_bias_of_zeros(tmp_path: Path, group: int, empty: str) -> None:
    inputs = empty.split()
    conv = helper.make_node("Conv", [name if name != "-" else "" for name in inputs], ["y"], "conv", group=group)
    model = prepared(tmp_path, [conv], {"w": floats(8, 4 // group, 3, 3)})
    bias = constant(only(model, "Conv").inputs[2])
    np.testing.assert_array_equal(bias, np.zeros(8, np.float32))


@pytest.mark.parametrize("group", [1, 2, 4])
def test_a_transposed_convolution_gets_a_bias_for_each_output(tmp_path: Path, group: int) -> None:
    transposed = node("ConvTranspose", "x w", group=group, strides=[2, 1], output_padding=[1, 0])
    model = prepared(tmp_path, [transposed], {"w": floats(4, 6, 3, 3)})
    bias = constant(only(model, "ConvTranspose").inputs[2])
    np.testing.assert_array_equal(bias, np.zeros(6 * group, np.float32))


def test_convolutions_over_one_axis_get_a_bias_too(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "c", pads=[1, 1]), node("ConvTranspose", "c v", strides=[2])]
    model = prepared(tmp_path, nodes, {"w": floats(5, 4, 3), "v": floats(5, 2, 2)}, shape=(4, 9))
    assert [len(entry.inputs) for entry in model.graph] == [3, 3]


# -- averages


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2], [3, 2], [-2, 3]])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("opset", [13, 20])
def test_a_mean_over_the_picture_is_a_pooling(tmp_path: Path, axes: list[int], keepdims: int, opset: int) -> None:
    if opset < 18:
        mean, weights = node("ReduceMean", "x", axes=axes, keepdims=keepdims), {}
    else:
        mean, weights = node("ReduceMean", "x a", keepdims=keepdims), {"a": np.array(axes)}
    model = prepared(tmp_path, [mean], weights, opset=opset)
    assert operators(model) == ("GlobalAveragePool" if keepdims else "GlobalAveragePool Reshape")


@pytest.mark.parametrize(("axes", "shape"), [([1], IMAGE), ([3], IMAGE), ([1, 2, 3], IMAGE), ([1, 2], (4, 6))])
def test_other_means_are_left_alone(tmp_path: Path, axes: list[int], shape: tuple[int, ...]) -> None:
    assert (
        operators(prepared(tmp_path, [node("ReduceMean", "x a")], {"a": np.array(axes)}, shape=shape)) == "ReduceMean"
    )


@pytest.mark.parametrize(("shape", "pads"), [(IMAGE, [1, 0, 1, 0]), (IMAGE, [0, 1, 1, 1]), ((4, 9), [1, 1])])
def test_an_average_that_counts_its_padding_is_padded_apart(
    tmp_path: Path, shape: tuple[int, ...], pads: list[int]
) -> None:
    n = len(pads) // 2
    pool = node("AveragePool", "x", kernel_shape=[3] * n, strides=[2] * n, pads=pads, count_include_pad=1)
    model = prepared(tmp_path, [pool], shape=shape)
    assert operators(model) == "Pad AveragePool"
    assert set(only(model, "AveragePool").attributes) == {"kernel_shape", "strides"}


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 1]])
@pytest.mark.parametrize(("shape", "kernel", "stride"), [((4, 8, 7), 3, 2), ((4, 7, 7), 2, 2), ((4, 10, 7), 2, 3)])
def test_an_average_that_counts_its_padding_and_hangs_over_divides_by_what_is_inside(
    tmp_path: Path, pads: list[int], shape: tuple[int, ...], kernel: int, stride: int
) -> None:
    counted: dict[str, Any] = {"pads": pads, "ceil_mode": 1, "count_include_pad": 1}
    pool = node("AveragePool", "x", kernel_shape=[kernel] * 2, strides=[stride] * 2, **counted)
    model = prepared(tmp_path, [pool], shape=shape)
    assert operators(model) == ("Pad AveragePool" if any(pads) else "AveragePool")
    assert set(only(model, "AveragePool").attributes) <= {"kernel_shape", "strides", "pads"}


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_padding_that_is_counted_may_be_stated_by_a_word(tmp_path: Path, auto_pad: str) -> None:
    pool = node("AveragePool", "x", kernel_shape=[3, 2], strides=[2, 1], auto_pad=auto_pad, count_include_pad=1)
    model = prepared(tmp_path, [pool])
    assert operators(model) == ("AveragePool" if auto_pad == "VALID" else "Pad AveragePool")


@pytest.mark.parametrize("op_type", ["AveragePool", "MaxPool"])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]])
@pytest.mark.parametrize(("shape", "kernel", "stride"), [((4, 8, 7), 3, 2), ((4, 7, 7), 2, 2), ((4, 10, 7), 2, 3)])
def test_a_pooling_that_rounds_its_size_up_is_padded_at_the_end(
    tmp_path: Path, op_type: str, pads: list[int], shape: tuple[int, ...], kernel: int, stride: int
) -> None:
    pool = node(op_type, "x", "p", kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads, ceil_mode=1)
    model = prepared(tmp_path, [pool, node("Relu", "p")], shape=shape)
    assert set(only(model, op_type).attributes) == {"kernel_shape", "strides", "pads"}


@pytest.mark.parametrize("attributes", [{"pads": [1] * 4}, {}])
def test_averages_of_their_own_entries_are_left_alone(tmp_path: Path, attributes: dict[str, Any]) -> None:
    pool = node("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], **attributes)
    model = prepared(tmp_path, [pool])
    assert operators(model) == "AveragePool"
    assert set(only(model, "AveragePool").attributes) == {"kernel_shape", "strides", *attributes}


def test_a_global_average_over_one_axis_is_one_over_two(tmp_path: Path) -> None:
    model = prepared(tmp_path, [node("GlobalAveragePool", "x")], shape=(4, 7))
    assert operators(model) == "Unsqueeze GlobalAveragePool Squeeze"


# -- transposed convolutions


@pytest.mark.parametrize("attributes", [
    {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}, {"auto_pad": "VALID"}, {"output_shape": [11, 10]},
    {"output_shape": [13, 9]}, {"output_shape": [12, 10], "auto_pad": "SAME_UPPER"},
])  # fmt: skip
@pytest.mark.parametrize("kernel", [3, 4])
def test_a_transposed_convolution_says_its_padding_by_numbers(
    tmp_path: Path, attributes: dict[str, Any], kernel: int
) -> None:
    transposed = node("ConvTranspose", "x w", strides=[2, 2], **attributes)
    model = prepared(tmp_path, [transposed], {"w": floats(4, 3, kernel, kernel)})
    assert not {"auto_pad", "output_shape"} & set(only(model, "ConvTranspose").attributes)


# -- the whole


def test_several_outputs_keep_their_names_and_order(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x w", "c"), node("Mul", "c k", "a"), node("GlobalAveragePool", "a", "p"),
        node("Flatten", "p", "f"), node("MatMul", "f v", "h"), node("Add", "h b", "scores"),
        node("ReduceMean", "c axes", "means", keepdims=0),
    ]  # fmt: skip
    weights = {
        "w": floats(6, 4, 3, 3), "k": floats(6, 1, 1), "v": floats(6, 3), "b": floats(3), "axes": np.array([2, 3])
    }  # fmt: skip
    model = prepared(tmp_path, nodes, weights, outputs="scores a means")
    assert [value.name for value in model.graph.outputs] == ["scores", "a", "means"]


def test_the_input_may_be_an_output(tmp_path: Path) -> None:
    prepared(tmp_path, [node("Relu", "x", "y")], outputs="y x")


def test_a_network_of_everything_has_layers_and_integers_only(tmp_path: Path) -> None:
    nodes = [
        node("Sub", "x mean", "x0"), node("Div", "x0 std", "x1"),
        node("Conv", "x1 w1", "c1", pads=[1] * 4), node("BatchNormalization", "c1 g b m v", "n1"),
        node("Relu", "n1", "r1"), node("Conv", "r1 w2", "c2", group=4), node("Add", "c2 k", "s2"),
        node("AveragePool", "s2", "p", kernel_shape=[2, 2], pads=[1] * 4, count_include_pad=1),
        node("ReduceMean", "p axes", "q", keepdims=0), node("MatMul", "q w3", "h"), node("Add", "h b3"),
    ]  # fmt: skip
    weights = {
        "mean": floats(4, 1, 1), "std": np.full((4, 1, 1), 2, np.float32), "w1": floats(8, 4, 3, 3), **norm(8),
        "w2": floats(8, 2, 1, 1), "k": floats(8, 1, 1), "axes": np.array([2, 3]), "w3": floats(8, 3), "b3": floats(3),
    }  # fmt: skip
    model = prepared(tmp_path, nodes, weights)
    assert Counter(entry.op_type for entry in model.graph) == {
        "Conv": 4, "Relu": 1, "Pad": 1, "AveragePool": 1, "GlobalAveragePool": 1, "Reshape": 1, "Gemm": 1
    }  # fmt: skip
    shapes = [value.shape for entry in model.graph for value in entry.outputs]
    assert all(shape is not None for shape in shapes)


@pytest.mark.parametrize(
    ("pool", "kind"),
    [
        ({"kernel_shape": [6, 5], "strides": [6, 5]}, "GlobalAveragePool"),
        ({"kernel_shape": [6, 5], "auto_pad": "VALID"}, "GlobalAveragePool"),
        ({"kernel_shape": [6, 5], "pads": [0, 0, 0, 1]}, "AveragePool"),
        ({"kernel_shape": [6, 4]}, "AveragePool"),
    ],
)
def test_a_pooling_of_one_window_is_a_mean(tmp_path: Path, pool: dict[str, Any], kind: str) -> None:
    assert operators(prepared(tmp_path, [node("AveragePool", "x", **pool)])) == kind
