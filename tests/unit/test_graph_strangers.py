"""Graphs as other exporters write them: infinite constants, operators in any order, branches and loops."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lowbit.core.errors import BadInput
from lowbit.graph.check import check_graph
from lowbit.graph.clean import clean
from tests.graphs import build, info, ops, run

Arrays = dict[str, npt.NDArray[Any]]
node = helper.make_node
rng = np.random.default_rng(0)
W: Arrays = {name: rng.normal(size=(3, 4)).astype(np.float32) for name in ("w", "v")}
IMAGES = rng.normal(size=(3, 3, 8, 8)).astype(np.float32)


def floats(*values: float) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32)


def averaged() -> list[onnx.NodeProto]:
    """image → f [N, 3]."""
    return [node("GlobalAveragePool", ["image"], ["p"]), node("Flatten", ["p"], ["f"])]


def cleaned(model: onnx.ModelProto) -> onnx.ModelProto:
    """The clean graph, proven to score as `model` does, which may take one image at a time only."""
    fixed = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    parts = [IMAGES[i : i + 1] for i in range(3)] if fixed else [IMAGES]
    expected = np.concatenate([run(model, part) for part in parts])
    result = clean(check_graph(model, "m"))
    np.testing.assert_allclose(run(result, IMAGES), expected, rtol=1e-4, atol=1e-4)
    return result


# --- constants that are infinite on purpose ---------------------------------------------------------------------------


@pytest.mark.parametrize("stored", ["initializer", "node"])
def test_an_infinite_bound_or_mask_is_no_diverged_weight(stored: str) -> None:
    constants = {"hi": np.array(np.inf, np.float32), "mask": floats(0, 0, 0, -np.inf)}
    nodes = [
        *averaged(),
        node("MatMul", ["f", "w"], ["m"]),
        node("Clip", ["m", "", "hi"], ["c"]),
        node("Add", ["c", "mask"], ["a"]),
        node("Softmax", ["a"], ["scores"]),
    ]
    if stored == "node":
        given = [node("Constant", [], [name], value=numpy_helper.from_array(x)) for name, x in constants.items()]
        cleaned(build(given + nodes, {"w": W["w"]}))
    else:
        cleaned(build(nodes, {"w": W["w"], **constants}))


@pytest.mark.parametrize("bad", [np.inf, np.nan])
@pytest.mark.parametrize("stored", ["initializer", "node", "moved"])
def test_a_weight_that_is_not_finite_is_refused(stored: str, bad: float) -> None:
    w = W["w"].copy()
    w[1, 2] = bad
    nodes = [*averaged(), node("MatMul", ["f", "w"], ["scores"])]
    weights: Arrays = {"w": w}
    if stored == "node":
        nodes.insert(0, node("Constant", [], ["w"], value=numpy_helper.from_array(w)))
        weights = {}
    if stored == "moved":
        nodes.insert(0, node("Transpose", ["t"], ["w"]))
        weights = {"t": np.ascontiguousarray(w.T)}
    with pytest.raises(BadInput, match=r"1 of the 12 values of '[wt]' are NaN or infinite"):
        check_graph(build(nodes, weights), "m")


def test_nan_is_refused_wherever_it_stands() -> None:
    nodes = [*averaged(), node("MatMul", ["f", "w"], ["m"]), node("Add", ["m", "mask"], ["scores"])]
    with pytest.raises(BadInput, match="1 of the 4 values of 'mask'"):
        check_graph(build(nodes, {"w": W["w"], "mask": floats(0, np.nan, 0, 0)}), "m")
    inner = branch([node("Add", ["m", "k"], ["t"])], "t", {"k": floats(np.nan, 0, 0, 0)})
    with pytest.raises(BadInput, match="1 of the 4 values of 'k'"):
        check_graph(asking(inner, branch([node("Neg", ["m"], ["e"])], "e")), "m")


# --- order ------------------------------------------------------------------------------------------------------------


def test_operators_in_any_order_are_sorted() -> None:
    nodes = [*averaged(), node("MatMul", ["f", "w"], ["m"]), node("Relu", ["m"], ["r"]), node("Neg", ["r"], ["scores"])]
    straight = build(nodes, {"w": W["w"]})
    result = clean(check_graph(build(nodes[::-1], {"w": W["w"]}), "m"))
    assert ops(result) == ops(clean(check_graph(straight, "m")))
    np.testing.assert_array_equal(run(result, IMAGES), run(straight, IMAGES))


def test_nested_graphs_are_sorted_and_count_what_they_read_from_around() -> None:
    then = branch([node("Add", ["n", "m"], ["t"]), node("Neg", ["m"], ["n"])], "t")
    model = asking(then, branch([node("Neg", ["m"], ["e"])], "e"))
    nodes = list(model.graph.node)
    matmul = next(number for number, each in enumerate(nodes) if each.op_type == "MatMul")
    nodes.append(nodes.pop(matmul))  # behind the If whose branches read it
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    result = clean(check_graph(model, "m"))
    expected = np.maximum(np.zeros(4), -(IMAGES.mean((2, 3)) @ W["w"]))
    np.testing.assert_allclose(run(result, IMAGES), expected, atol=1e-5)


def test_operators_in_a_circle_are_refused() -> None:
    nodes = [
        *averaged(),
        node("Add", ["f", "b"], ["a"]),
        node("Relu", ["a"], ["b"]),
        node("MatMul", ["b", "w"], ["scores"]),
    ]
    with pytest.raises(BadInput, match="in a circle"):
        check_graph(build(nodes, {"w": W["w"]}), "m")


# --- branches and loops -----------------------------------------------------------------------------------------------


def branch(nodes: list[onnx.NodeProto], output: str, weights: Arrays | None = None) -> onnx.GraphProto:
    tensors = [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()]
    return helper.make_graph(nodes, "branch", [], [info(output, None)], tensors)


def asking(
    then: onnx.GraphProto,
    otherwise: onnx.GraphProto,
    *,
    before: tuple[onnx.NodeProto, ...] = (),
    condition: bool | None = None,
    fixed: bool = False,
    opset: int = 17,
) -> onnx.ModelProto:
    """f @ w = m, then an If: of a condition that depends on the image and is never true, or of a constant one."""
    weights: Arrays = {**W, "most": np.array(100, np.float32)}
    nodes = [node("ReduceMax", ["image"], ["x"], keepdims=0), node("Greater", ["x", "most"], ["c"])]
    if condition is not None:
        weights["c"], nodes = np.array(condition), []
    nodes = [*averaged(), *nodes, node("MatMul", ["f", "w"], ["m"]), *before]
    nodes += [node("If", ["c"], ["y"], then_branch=then, else_branch=otherwise), node("Relu", ["y"], ["scores"])]
    batch = 1 if fixed else "batch"
    return build(nodes, weights, image=(batch, 3, 8, 8), scores=(batch, 4), opset=opset, ir_version=8)


def constant(name: str, *values: float) -> onnx.NodeProto:
    return node("Constant", [], [name], value=numpy_helper.from_array(floats(*values)))


ABSOLUTE = branch([node("Abs", ["m"], ["t"])], "t")
NEGATED = [node("Neg", ["m"], ["e"])]
BRANCHES: dict[str, tuple[list[onnx.NodeProto], tuple[onnx.NodeProto, ...]]] = {  # else branch, operators before the If
    "captures": (NEGATED, ()),
    "hides names that cleaning gives": (
        [node("Neg", ["m"], ["MatMul_4"]), node("Abs", ["MatMul_4"], ["Relu_6"]), node("Neg", ["Relu_6"], ["e"])],
        (),
    ),
    "has a constant": ([constant("k", 1, 2, 3, 4), node("Sub", ["k", "m"], ["e"])], ()),
    "gives a constant": ([constant("e", 1, 2, 3, 4)], ()),
    "gives a folded constant": ([constant("k", 1, 2, 3, 4), node("Neg", ["k"], ["e"])], ()),
    "gives what it captures": ([node("Identity", ["m"], ["e"])], ()),
    "drops out what it captures": ([node("Dropout", ["m"], ["e"])], ()),
    "drops out inside": ([node("Dropout", ["m"], ["d"]), node("Neg", ["d"], ["e"])], ()),
    "captures what is dropped": ([node("Neg", ["d"], ["e"])], (node("Dropout", ["m"], ["d"]),)),
    "captures a constant": ([node("Sub", ["k", "m"], ["e"])], (constant("k", 1, 2, 3, 4),)),
    "captures what folds": (
        [node("Sub", ["q", "m"], ["e"])],
        (constant("k", 1, 4, 9, 16), node("Sqrt", ["k"], ["q"])),
    ),
    "asks again": ([node("If", ["c"], ["e"], then_branch=ABSOLUTE, else_branch=branch(NEGATED, "e"))], ()),
}


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("name", BRANCHES)
def test_cleaning_leaves_a_branch_whole(name: str, fixed: bool) -> None:
    nodes, before = BRANCHES[name]
    then, otherwise = ABSOLUTE, branch(nodes, "e")
    if "constant" in name and name.startswith("gives"):  # one row for any number of images: never taken, but loaded
        then, otherwise = otherwise, then
    result = cleaned(asking(then, otherwise, before=before, fixed=fixed))
    assert "If" in ops(result)


@pytest.mark.parametrize("condition", [True, False])
@pytest.mark.parametrize("opset", [11, 17])
def test_a_constant_condition_leaves_its_branch_only(condition: bool, opset: int) -> None:
    then = ABSOLUTE
    otherwise = branch([node("Add", ["m", "k"], ["e"])], "e", {"k": floats(1, 2, 3, 4)})
    result = cleaned(asking(then, otherwise, condition=condition, opset=opset))
    assert ops(result) == ["GlobalAveragePool", "Flatten", "MatMul", "Abs" if condition else "Add", "Relu"]


def test_two_branches_with_one_name_for_their_constants() -> None:
    nodes = [*averaged(), node("MatMul", ["f", "w"], ["m"])]
    for number, before in enumerate(("m", "y0")):
        parts = {
            key: branch([node("Add", [before, "k"], ["t"])], "t", {"k": floats(*[number + bias] * 4)})
            for key, bias in (("then_branch", 1), ("else_branch", 5))
        }
        nodes.append(node("If", ["c"], [f"y{number}"], **parts))
    nodes.append(node("Relu", ["y1"], ["scores"]))
    result = cleaned(build(nodes, {"w": W["w"], "c": np.array(False)}, opset=17, ir_version=8))
    assert "If" not in ops(result)


def test_a_condition_that_depends_on_sizes_alone_is_constant() -> None:
    before = (
        node("Shape", ["f"], ["s"]),
        node("Constant", [], ["one"], value=numpy_helper.from_array(np.array(1))),
        node("Gather", ["s", "one"], ["d"]),
        node("Equal", ["d", "one"], ["c1"]),
    )
    then, otherwise = ABSOLUTE, branch(NEGATED, "e")
    for fixed in (False, True):
        model = asking(then, otherwise, before=before, fixed=fixed)
        next(each for each in model.graph.node if each.op_type == "If").input[0] = "c1"
        assert ops(cleaned(model)) == ["GlobalAveragePool", "Flatten", "MatMul", "Neg", "Relu"]


@pytest.mark.parametrize("fixed", [False, True])
def test_a_loop_survives(fixed: bool) -> None:
    body = helper.make_graph(
        [
            constant("k", 1, 2, 3, 4),
            node("Mul", ["k", "m"], ["MatMul_2"]),  # a name that cleaning gives outside
            node("Add", ["sum", "MatMul_2"], ["more"]),
            node("Identity", ["go"], ["on"]),
        ],
        "body",
        [info("i", [], TensorProto.INT64), info("go", [], TensorProto.BOOL), info("sum", None)],
        [info("on", [], TensorProto.BOOL), info("more", None)],
    )
    nodes = [*averaged(), node("MatMul", ["f", "w"], ["m"]), node("Loop", ["trip", "", "m"], ["scores"], body=body)]
    batch = 1 if fixed else "batch"
    model = build(
        nodes, {"w": W["w"], "trip": np.array(3)}, image=(batch, 3, 8, 8), scores=(batch, 4), opset=17, ir_version=8
    )
    assert ops(cleaned(model)) == ["GlobalAveragePool", "Flatten", "MatMul", "Loop"]


def test_a_scan_survives() -> None:
    body = helper.make_graph(
        [node("Add", ["state", "row"], ["next"]), node("Identity", ["next"], ["seen"])],
        "body",
        [info("state", None), info("row", None)],
        [info("next", None), info("seen", None)],
    )
    nodes = [
        *averaged(),
        node("Transpose", ["image"], ["t"], perm=[2, 0, 1, 3]),
        node("ReduceMean", ["t", "last"], ["rows"], keepdims=0),
        node("Scan", ["f", "rows"], ["state_out", "all"], body=body, num_scan_inputs=1),
        node("MatMul", ["state_out", "w"], ["scores"]),
    ]
    assert "Scan" in ops(cleaned(build(nodes, {"w": W["w"], "last": np.array([3])}, opset=18, ir_version=8)))


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_a_shape_that_is_computed_from_the_batch_becomes_constant() -> None:
    """`x.view(x.size(0), -1)` and `x.view(x.size(0) * 2, …)` of old PyTorch; the second stays computed."""
    zero, minus = node("Constant", [], ["0"], value_int=0), node("Constant", [], ["-1"], value_ints=[-1])
    nodes = [
        zero,
        minus,
        node("Shape", ["image"], ["s"]),
        node("Gather", ["s", "0"], ["n"]),
        node("Unsqueeze", ["n", "axes"], ["nn"]),
        node("Concat", ["nn", "-1"], ["target"], axis=0),
        node("Reshape", ["image", "target"], ["flat"]),
        node("Gemm", ["flat", "big"], ["scores"]),
    ]
    weights = {"axes": np.array([0]), "big": rng.normal(size=(192, 4)).astype(np.float32)}
    result = cleaned(build(nodes, weights))
    assert ops(result) == ["Reshape", "Gemm"]
