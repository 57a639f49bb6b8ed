"""Placement on small graphs: which tensors get a quantizer, how wide, which share a range, and what stays float."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from lowbit.quant.plan.placement import make_plan
from lowbit.quant.plan.plan import LayerPlan, QuantPlan
from lowbit.quant.plan.scheme import Scheme, widths

Array = npt.NDArray[Any]


def node(op_type: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    """A node that is called as its (first) output."""
    return helper.make_node(op_type, inputs.split(), outputs.split(), name=outputs.split()[0], **attributes)


def conv(source: str, output: str) -> NodeProto:
    """A convolution 4 → 4 that keeps the size."""
    return node("Conv", f"{source} w b", output, pads=[1, 1, 1, 1])


def graph(
    *nodes: NodeProto, outputs: str = "y", shape: tuple[int, ...] = (4, 8, 8), **constants: Array | float
) -> ir.Model:
    """A network from x [batch, *shape]; w and b are a convolution's, g and c a Gemm's 4 → 4; others are given."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "w": rng.normal(0, 1, (4, 4, 3, 3)), "b": np.zeros(4), "g": rng.normal(0, 1, (4, 4)), "c": np.zeros(4)
    } | constants  # fmt: skip
    used = {name for entry in nodes for name in entry.input}
    made = helper.make_graph(
        list(nodes),
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs.split()],
        [numpy_helper.from_array(_numbers(array), name) for name, array in arrays.items() if name in used],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(model))


def _numbers(array: Any) -> Array:
    values = np.asarray(array)
    return values if values.dtype == np.int64 else values.astype(np.float32)


def head(source: str) -> tuple[NodeProto, ...]:
    return (
        node("GlobalAveragePool", source, "pool"),
        node("Flatten", "pool", "flat"),
        node("Gemm", "flat g c", "y", transB=1),
    )


def plan(model: ir.Model, recipe: str = "w4a4", **scheme: Any) -> QuantPlan:
    return make_plan(model, "digest", Scheme(*widths(recipe), **scheme))


def main(found: QuantPlan) -> dict[str, int]:
    """Tensor → bits of its main quantizer."""
    return {tensor.tensor: tensor.format.bits for tensor in found.tensors if tensor.role == "main"}


def product(found: QuantPlan) -> dict[str, int]:
    """Tensor → bits of its narrower copy."""
    return {tensor.tensor: tensor.format.bits for tensor in found.tensors if tensor.role == "product"}


def groups(found: QuantPlan) -> set[frozenset[str]]:
    """The sets of more than one tensor that share a range."""
    members: dict[str, set[str]] = {}
    for tensor in found.tensors:
        if tensor.role == "main":
            members.setdefault(tensor.group, set()).add(tensor.tensor)
    return {frozenset(names) for names in members.values() if len(names) > 1}


def floats(found: QuantPlan) -> set[str]:
    return {entry.node for entry in found.floats}


def layer(found: QuantPlan, name: str) -> LayerPlan:
    return next(entry for entry in found.layers if entry.node == name)


def bits(found: QuantPlan) -> dict[str, tuple[int, int]]:
    """Layer → bits of its weight (0: none) and of what it reads."""
    return {entry.node: (entry.format.bits if entry.format else 0, entry.activation_bits) for entry in found.layers}


# -- rule 1: what computes on integers, and what only moves them


def test_a_chain_of_layers_has_the_width_they_ask_for_between_wide_ends() -> None:
    found = plan(graph(conv("x", "c1"), node("Relu", "c1", "r1"), conv("r1", "c2"), node("Relu", "c2", "r2"),
                       conv("r2", "c3"), node("Relu", "c3", "r3"), *head("r3")))  # fmt: skip
    assert main(found) == {"x": 8, "r1": 4, "r2": 4, "r3": 8, "pool": 8, "flat": 8}
    assert product(found) == {}
    assert groups(found) == {frozenset({"pool", "flat"})}
    assert bits(found) == {"c1": (8, 8), "c2": (4, 4), "c3": (4, 4), "y": (8, 8)}
    assert floats(found) == set()


def test_both_operands_of_a_residual_add_and_its_sum_are_quantized() -> None:
    found = plan(graph(conv("x", "c1"), conv("c1", "c2"), node("Add", "c2 c1", "a"), conv("a", "c3"), *head("c3")))
    assert main(found) == {"x": 8, "c1": 8, "c2": 8, "a": 4, "c3": 8, "pool": 8, "flat": 8}
    assert product(found) == {"c1": 4}


def test_a_concat_and_what_it_joins_share_one_range_and_one_width() -> None:
    found = plan(graph(conv("x", "c1"), conv("c1", "c2"), node("Concat", "c1 c2", "j", axis=1),
                       node("Conv", "j w2 b", "c3"), *head("c3"), w2=np.ones((4, 8, 1, 1))))  # fmt: skip
    assert frozenset({"c1", "c2", "j"}) in groups(found)
    assert {name: main(found)[name] for name in ("c1", "c2", "j")} == {"c1": 4, "c2": 4, "j": 4}


def test_a_concat_with_something_wide_is_wide_and_its_layers_read_narrower_copies() -> None:
    found = plan(graph(conv("x", "c1"), conv("c1", "c2"), node("Concat", "c1 c2", "j", axis=1),
                       node("Conv", "j w2 b", "c3"), node("GlobalAveragePool", "c2", "p2"), node("Flatten", "p2", "f2"),
                       node("Gemm", "f2 g c", "z", transB=1), *head("c3"),
                       outputs="y z", w2=np.ones((4, 8, 1, 1))))  # fmt: skip
    assert {name: main(found)[name] for name in ("c1", "c2", "j")} == {"c1": 8, "c2": 8, "j": 8}
    assert product(found) == {"c1": 4, "j": 4}


def test_a_concat_with_a_constant() -> None:
    found = plan(graph(conv("x", "c1"), node("Concat", "c1 k", "j", axis=2), conv("j", "c2"), *head("c2"),
                       k=np.full((1, 4, 1, 8), 3.0)))  # fmt: skip
    assert frozenset({"c1", "j"}) in groups(found)
    assert "k" not in main(found)
    assert floats(found) == set()


def test_a_skip_connection_around_a_pooling() -> None:
    nodes = (conv("x", "c1"), node("Relu", "c1", "r1"), node("MaxPool", "r1", "p", kernel_shape=[3, 3], pads=[1] * 4),
             conv("p", "c2"), node("Add", "c2 p", "a"), conv("a", "c3"), *head("c3"))  # fmt: skip
    found = plan(graph(*nodes))
    assert frozenset({"r1", "p"}) in groups(found)
    assert main(found)["r1"] == main(found)["p"] == 8
    assert product(found) == {"p": 4}


@pytest.mark.parametrize("pool", ["MaxPool", "AveragePool"])
def test_a_pooling_that_moves_entries_keeps_the_range_one_that_computes_does_not(pool: str) -> None:
    found = plan(graph(conv("x", "c1"), node(pool, "c1", "p", kernel_shape=[2, 2]), conv("p", "c2"), *head("c2")))
    assert (frozenset({"c1", "p"}) in groups(found)) is (pool == "MaxPool")
    assert main(found)["c1"] == (4 if pool == "MaxPool" else 8)


def test_both_halves_of_a_split_share_the_range_even_when_only_the_second_is_multiplied() -> None:
    found = plan(graph(conv("x", "c1"), node("Split", "c1", "s1 s2", axis=1, num_outputs=2),
                       node("Softmax", "s1", "z", axis=1), node("Conv", "s2 w2 b", "c2"), *head("c2"),
                       outputs="y z", w2=np.ones((4, 2, 1, 1))))  # fmt: skip
    assert frozenset({"c1", "s1", "s2"}) in groups(found)
    assert floats(found) == {"z"}


# -- rule 2: clamps


@pytest.mark.parametrize("clamp", [("Relu", ""), ("Clip", " zero six"), ("Clip", " zero")])
@pytest.mark.parametrize("before", ["Conv", "Add", "GlobalAveragePool"])
def test_a_clamp_right_behind_arithmetic_is_the_quantizers(clamp: tuple[str, str], before: str) -> None:
    middle = {
        "Conv": conv("c1", "m"), "Add": node("Add", "c1 c0", "m"),
        "GlobalAveragePool": node("GlobalAveragePool", "c1", "m"),
    }[before]  # fmt: skip
    found = plan(graph(conv("x", "c0"), conv("x", "c1"), middle, node(clamp[0], f"m{clamp[1]}", "r"), conv("r", "c2"),
                       *head("c2"), zero=0.0, six=6.0))  # fmt: skip
    assert "m" not in main(found)
    assert main(found)["r"] == 4
    assert "r" not in floats(found)


def test_a_clamp_is_not_absorbed_where_somebody_else_reads_what_it_reads() -> None:
    found = plan(
        graph(conv("x", "c1"), node("Relu", "c1", "r"), node("Add", "r c1", "a"), conv("a", "c2"), *head("c2"))
    )
    assert main(found)["c1"] == main(found)["r"] == 8
    assert floats(found) == {"r"}


def test_a_clamp_is_not_absorbed_where_the_world_reads_what_it_reads() -> None:
    found = plan(graph(conv("x", "c1"), node("Relu", "c1", "r"), conv("r", "c2"), *head("c2"), outputs="y c1"))
    assert main(found)["c1"] == 8
    assert floats(found) == {"r"}


@pytest.mark.parametrize("clamp", ["Relu", "Clip"])
@pytest.mark.parametrize("between", [
    [node("Reshape", "m sizes", "v")], [node("Transpose", "m", "v")], [node("Squeeze", "m axis", "v")],
    [node("Flatten", "m", "v")], [node("Unsqueeze", "m axis", "v1"), node("Transpose", "v1", "v")],
])  # fmt: skip
def test_a_clamp_is_the_quantizers_through_what_only_moves_entries(between: list[NodeProto], clamp: str) -> None:
    limits = "v zero" if clamp == "Clip" else "v"
    found = plan(graph(node("Gemm", "x g c", "m", transB=1), *between, node(clamp, limits, "r"),
                       node("Reshape", "r back", "s"), node("Gemm", "s g c", "t", transB=1),
                       node("Gemm", "t g c", "y", transB=1), shape=(4,), zero=0.0, sizes=np.array([-1, 2, 2]),
                       axis=np.array([2]), back=np.array([-1, 4])))  # fmt: skip
    moved = {value for entry in between for value in entry.output}
    assert frozenset({"m", "r", "s"} | moved) in groups(found)
    assert {main(found)[name] for name in ("m", "r", "s")} == {4}
    assert floats(found) == set()


def test_a_clamp_behind_a_max_pooling_is_the_quantizers() -> None:
    found = plan(graph(conv("x", "c1"), node("MaxPool", "c1", "p", kernel_shape=[2, 2]), node("Relu", "p", "r"),
                       conv("r", "c2"), *head("c2")))  # fmt: skip
    assert frozenset({"c1", "p", "r"}) in groups(found)
    assert floats(found) == set()


@pytest.mark.parametrize(("between", "outputs"), [
    ([node("Reshape", "m sizes", "v"), node("Add", "v v", "also")], "y"),  # somebody else reads in between
    ([node("Reshape", "m sizes", "v")], "y v"),
    ([node("Pad", "m edges", "v")], "y"),  # its zeros are cut too
])  # fmt: skip
def test_a_clamp_stays_where_what_it_reads_is_read_otherwise(between: list[NodeProto], outputs: str) -> None:
    found = plan(graph(node("Gemm", "x g c", "m", transB=1), *between, node("Relu", "v", "r"),
                       node("Reshape", "r back", "s"), node("Gemm", "s g c", "y", transB=1),
                       outputs=outputs, shape=(4,), sizes=np.array([-1, 4]), back=np.array([-1, 4]),
                       edges=np.array([0, 0, 0, 0])))  # fmt: skip
    assert floats(found) == {"r"}
    assert not any({"m", "r"} <= group for group in groups(found))


def test_a_clamp_with_limits_that_are_computed_stays() -> None:
    found = plan(graph(conv("x", "c1"), node("ReduceMax", "x", "top", keepdims=0), node("Clip", "c1  top", "r"),
                       conv("r", "c2"), *head("c2")))  # fmt: skip
    assert main(found)["c1"] == 8
    assert "r" in floats(found)


# -- rule 3: functions of one tensor


def silu(source: str, name: str) -> tuple[NodeProto, ...]:
    return node("Sigmoid", source, f"{name}_s"), node("Mul", f"{source} {name}_s", name)


def gelu(source: str, name: str) -> tuple[NodeProto, ...]:
    return (node("Div", f"{source} root", f"{name}1"), node("Erf", f"{name}1", f"{name}2"),
            node("Add", f"{name}2 one", f"{name}3"), node("Mul", f"{source} {name}3", f"{name}4"),
            node("Mul", f"{name}4 half", name))  # fmt: skip


def hard_swish(source: str, name: str) -> tuple[NodeProto, ...]:
    return (node("Add", f"{source} three", f"{name}1"), node("Clip", f"{name}1 zero six", f"{name}2"),
            node("Mul", f"{source} {name}2", f"{name}3"), node("Div", f"{name}3 six", name))  # fmt: skip


@pytest.mark.parametrize("kind", ["silu", "gelu", "hard_swish", "HardSwish", "Gelu", "Sigmoid", "LeakyRelu", "Tanh"])
def test_a_function_of_one_tensor_is_float_between_two_quantizers(kind: str) -> None:
    made = {"silu": silu, "gelu": gelu, "hard_swish": hard_swish}.get(kind)
    region = made("c1", "f") if made else (node(kind, "c1", "f"),)
    found = plan(graph(conv("x", "c1"), *region, conv("f", "c2"), *head("c2"),
                       root=2**0.5, one=1.0, half=0.5, three=3.0, zero=0.0, six=6.0))  # fmt: skip
    inside = {entry.name for entry in region[:-1]}
    ends = {name: width for name, width in main(found).items() if name not in inside}
    assert ends == {"x": 8, "c1": 8, "f": 4, "c2": 8, "pool": 8, "flat": 8}
    names = {entry.name for entry in region}
    assert names - {"f"} <= floats(found) <= names
    assert made is silu or "f" in floats(found)  # the product of x and Sigmoid(x) has integer kernels
    assert all("a function of one 8-bit tensor" in entry.why for entry in found.floats)


def test_a_product_of_two_tensors_is_no_function_of_one() -> None:
    found = plan(graph(conv("x", "c1"), conv("c1", "c2"), node("Sigmoid", "c2", "s"), node("Mul", "c1 s", "m"),
                       conv("m", "c3"), *head("c3")))  # fmt: skip
    assert {"c1", "c2", "s", "m"} <= set(main(found))
    assert floats(found) == {"s"}


@pytest.mark.parametrize(("op_type", "inputs"), [("Add", "c1 k"), ("Mul", "k c1"), ("Sub", "c1 k")])
def test_a_lone_operation_with_a_number_is_arithmetic(op_type: str, inputs: str) -> None:
    found = plan(graph(conv("x", "c1"), node(op_type, inputs, "a"), conv("a", "c2"), *head("c2"), k=0.3))
    assert main(found) == {"x": 8, "c1": 8, "a": 4, "c2": 8, "pool": 8, "flat": 8}
    assert floats(found) == set()


def test_a_squeeze_and_excitation_block() -> None:
    found = plan(graph(conv("x", "c1"), *silu("c1", "f"), node("GlobalAveragePool", "f", "p"),
                       node("Conv", "p w1 b", "d"), node("Relu", "d", "r"), node("Conv", "r w1 b", "u"),
                       node("HardSigmoid", "u", "s"), node("Mul", "f s", "m"), conv("m", "c2"), *head("c2"),
                       w1=np.ones((4, 4, 1, 1))))  # fmt: skip
    expected = {
        "x": 8, "c1": 8, "f": 8, "p": 4, "r": 4, "u": 8, "s": 8, "m": 4, "c2": 8, "pool": 8, "flat": 8
    }  # fmt: skip
    assert {name: width for name, width in main(found).items() if name != "f_s"} == expected
    assert floats(found) - {"f"} == {"f_s", "s"}


# -- attention and the rest of a transformer


def attention() -> ir.Model:
    rows = node("Reshape", "x rows", "r")
    q, k, v = (node("Gemm", "r g c", name, transB=1) for name in "qkv")
    heads = [node("Reshape", f"{name} back", f"{name}h") for name in "qkv"]
    return graph(
        rows, q, k, v, *heads, node("Transpose", "kh", "kt", perm=[0, 2, 1]), node("MatMul", "qh kt", "scores"),
        node("Mul", "scores half", "scaled"), node("Softmax", "scaled", "weights"),
        node("MatMul", "weights vh", "mixed"), node("Add", "mixed x", "sum"),
        node("LayerNormalization", "sum gamma beta", "norm"),
        node("Reshape", "norm rows", "flat"), node("Gemm", "flat g c", "y", transB=1),
        shape=(5, 4), rows=np.array([-1, 4]), back=np.array([-1, 5, 4]), half=0.5, gamma=np.ones(4), beta=np.zeros(4),
    )  # fmt: skip


def test_attention_multiplies_integers_around_a_softmax_in_float() -> None:
    found = plan(attention(), "w4a4")
    assert bits(found)["scores"] == bits(found)["mixed"] == (0, 4)
    assert {"qh", "kt", "scores", "scaled", "weights", "vh", "mixed", "sum", "norm", "flat"} <= set(main(found))
    assert floats(found) == {"weights", "norm"}
    assert frozenset({"k", "kh", "kt"}) in groups(found)
    assert {name: main(found)[name] for name in ("q", "qh", "kt", "vh", "weights")} == dict.fromkeys(
        ("q", "qh", "kt", "vh", "weights"), 4
    )
    assert main(found)["scaled"] == main(found)["sum"] == 8
    whys = {entry.node: entry.why for entry in found.floats}
    assert "exponentials" in whys["weights"]
    assert "standard deviation" in whys["norm"]


def test_every_layer_that_the_input_reaches_first_is_a_first_layer() -> None:
    assert {name for name, widths in bits(plan(attention())).items() if widths == (8, 8)} == {"q", "k", "v", "y"}


# -- sizes are no activations


def test_a_shape_carries_no_picture_to_the_layers_behind_it() -> None:
    found = plan(graph(node("Flatten", "x", "f"), node("Gemm", "f big c", "m", transB=1),
                       node("Shape", "x", "n", end=1), node("Concat", "n four", "sizes", axis=0),
                       node("Expand", "token sizes", "t"), node("Concat", "t m", "j", axis=0),
                       node("Gemm", "j g c", "h", transB=1), node("Gemm", "h g c", "y", transB=1),
                       big=np.ones((4, 256)), four=np.array([4]), token=np.ones((1, 4))))  # fmt: skip
    assert bits(found) == {"m": (8, 8), "h": (4, 4), "y": (8, 8)}
    assert main(found)["t"] == main(found)["j"] == 4
    assert floats(found) == set()


def test_a_layer_whose_result_only_gives_a_size_is_not_the_last() -> None:
    found = plan(graph(conv("x", "c1"), conv("c1", "c2"), node("Shape", "c2", "n", end=1),
                       node("Concat", "n four", "sizes", axis=0), node("GlobalAveragePool", "c2", "p"),
                       node("Flatten", "p", "f"), node("Gemm", "f g c", "h", transB=1),
                       node("Reshape", "h sizes", "y"), four=np.array([4])))  # fmt: skip
    assert bits(found) == {"c1": (8, 8), "c2": (4, 4), "h": (8, 8)}


def test_who_reads_only_a_size_widens_nothing() -> None:
    found = plan(graph(conv("x", "c1"), node("Shape", "c1", "n"), conv("c1", "c2"), node("Reshape", "c2 n", "v"),
                       conv("v", "c3"), *head("c3")))  # fmt: skip
    assert main(found)["c1"] == 4


def test_arithmetic_on_sizes_is_not_quantized() -> None:
    found = plan(graph(node("Shape", "x", "n", start=2), node("Add", "n one", "more"),
                       node("Cast", "more", "real", to=1), node("Mul", "real half", "smaller"),
                       node("Cast", "smaller", "whole", to=7), node("Concat", "two whole", "sizes", axis=0),
                       conv("x", "c1"), node("Expand", "c1 sizes", "e"), conv("e", "c2"), *head("c2"),
                       one=np.array([1, 1]), half=np.array([1.0, 1.0]), two=np.array([1, 1])))  # fmt: skip
    assert set(main(found)) == {"x", "c1", "e", "c2", "pool", "flat"}
    assert {entry.node: entry.why for entry in found.floats} == {
        "smaller": "it computes from sizes and constants alone, and nothing of the picture"
    }


# -- what the world reads


def test_scores_and_what_only_leads_to_them_stay_float() -> None:
    found = plan(graph(conv("x", "c1"), node("GlobalAveragePool", "c1", "p"), node("Flatten", "p", "f"),
                       node("Gemm", "f g c", "h", transB=1), node("Softmax", "h", "s"),
                       node("Unsqueeze", "s axis", "y"), axis=np.array([1])))  # fmt: skip
    assert main(found) == {"x": 8, "c1": 8, "p": 8, "f": 8}
    assert floats(found) == {"s", "y"}
    assert "moves float numbers" in next(entry.why for entry in found.floats if entry.node == "y")


def test_what_is_returned_and_multiplied_too_keeps_its_quantizer() -> None:
    found = plan(graph(conv("x", "c1"), node("Relu", "c1", "r"), conv("r", "c2"), *head("c2"), outputs="y r"))
    assert main(found)["r"] == 4
    assert "c1" not in main(found)


def test_what_is_returned_and_nothing_else_stays_float() -> None:
    found = plan(graph(conv("x", "c1"), conv("c1", "z"), *head("c1"), outputs="y z"))
    assert main(found) == {"x": 8, "c1": 8, "pool": 8, "flat": 8}
    assert bits(found)["z"] == (8, 8)


def test_an_input_that_is_returned_is_still_quantized_for_its_layers() -> None:
    found = plan(graph(conv("x", "c1"), *head("c1"), outputs="y x"))
    assert main(found)["x"] == 8


def test_every_operand_of_a_layer_is_quantized_whatever_else_reads_it() -> None:
    model = attention()
    found = plan(model)
    for entry in model.graph:
        if entry.name in bits(found):
            read = entry.inputs[:1] if layer(found, str(entry.name)).format else entry.inputs
            assert {str(value.name) for value in read if value is not None} <= set(main(found))


@pytest.mark.parametrize("hidden", [-np.inf, np.finfo(np.float32).min, -1e9, -1e4])
def test_a_mask_is_added_in_float(hidden: float) -> None:
    """Its numbers would stretch a range of 8 bits so far that nothing else is left in it."""
    mask = np.triu(np.full((4, 4), hidden), 1)
    nodes = (
        node("MatMul", "x t", "scores"),
        node("Add", "scores mask", "masked"),
        node("Softmax", "masked", "p", axis=-1),
        node("MatMul", "p x", "y"),
    )
    plan = make_plan(
        graph(node("Transpose", "x", "t", perm=[0, 2, 1]), *nodes, shape=(4, 4), mask=mask), "d", Scheme(8, 8)
    )
    assert {"Add", "Softmax"} <= {entry.op_type for entry in plan.floats}
    assert not {"scores", "masked"} & {tensor.tensor for tensor in plan.tensors}
