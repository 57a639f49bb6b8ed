"""Activations, arithmetic, comparisons and reductions against ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from lowbit.torchgraph.importer import import_graph
from tests.runtime.importing import Array, build, check, floats, ints, node


@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("Relu", {}),
        ("LeakyRelu", {"alpha": 0.2}),
        ("Elu", {"alpha": 0.7}),
        ("HardSigmoid", {}),
        ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
        ("HardSwish", {}),
        ("Sigmoid", {}),
        ("Tanh", {}),
        ("Softplus", {}),
        ("Mish", {}),
        ("Gelu", {}),
        ("Gelu", {"approximate": "tanh"}),
        ("Softmax", {"axis": 1}),
        ("LogSoftmax", {}),
        ("Abs", {}),
        ("Neg", {}),
        ("Exp", {}),
        ("Erf", {}),
        ("Floor", {}),
        ("Ceil", {}),
        ("Round", {}),
        ("Sin", {}),
        ("Cos", {}),
        ("Identity", {}),
        ("Dropout", {}),
        ("Flatten", {}),
        ("Flatten", {"axis": 0}),
        ("Flatten", {"axis": 2}),
        ("Flatten", {"axis": -1}),
        ("Transpose", {"perm": [0, 2, 3, 1]}),
        ("DepthToSpace", {"blocksize": 2}),
        ("DepthToSpace", {"blocksize": 2, "mode": "CRD"}),
        ("SpaceToDepth", {"blocksize": 2}),
    ],
    ids=str,
)
def test_operator_of_one_input(tmp_path: Path, op_type: str, attributes: dict[str, Any]) -> None:
    check(tmp_path, [node(op_type, "x", **attributes)], (4, 6, 4))


@pytest.mark.parametrize("op_type", ["Log", "Sqrt", "Reciprocal"])
def test_operator_of_positive_numbers(tmp_path: Path, op_type: str) -> None:
    check(tmp_path, [node(op_type, "x")], (3, 4), positive=True)


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div", "Min", "Max"])
@pytest.mark.parametrize("side", ["x c", "c x"])
@pytest.mark.parametrize("shape", [(), (1,), (3, 1)], ids=str)
def test_arithmetic_with_a_constant(tmp_path: Path, op_type: str, side: str, shape: tuple[int, ...]) -> None:
    constant = np.full(shape, 1.7, np.float32) + (floats(*shape, low=0) if shape else 0)
    check(tmp_path, [node(op_type, side)], (3, 4), {"c": constant.astype(np.float32)}, positive=op_type == "Div")


@pytest.mark.parametrize("exponent", [np.array(2.0, np.float32), ints(2).reshape(())])
def test_pow(tmp_path: Path, exponent: Array) -> None:
    check(tmp_path, [node("Pow", "x e")], (3, 4), {"e": exponent})


@pytest.mark.parametrize(
    ("low", "high", "kind"),
    [(0.0, 6.0, torch.nn.ReLU6), (0.0, None, torch.nn.ReLU), (-1.0, 1.5, None), (None, 0.5, None)],
)
def test_clip(tmp_path: Path, low: float | None, high: float | None, kind: type[torch.nn.Module] | None) -> None:
    constants = {n: np.array(v, np.float32) for n, v in (("low", low), ("high", high)) if v is not None}
    names = f"x {'-' if low is None else 'low'} {'-' if high is None else 'high'}"
    module = check(tmp_path, [node("Clip", names)], (3, 4), constants)
    assert [type(child) for child in module.children()] == ([] if kind is None else [kind])


@pytest.mark.parametrize("shape", [(1,), (3, 1, 1), (3, 4, 1)], ids=str)
def test_prelu(tmp_path: Path, shape: tuple[int, ...]) -> None:
    check(tmp_path, [node("PRelu", "x s")], (3, 4, 5), {"s": floats(*shape)})


def test_swish(tmp_path: Path) -> None:
    """ONNX Runtime has no Swish yet: against x sigmoid(alpha x) by hand."""
    for alpha in (1.0, 1.5):
        path = tmp_path / "swish.onnx"
        onnx.save(build([node("Swish", "x", alpha=alpha)], (4,), {}, opset=24), path)
        x = np.linspace(-3, 3, 8, dtype=np.float32).reshape(2, 4)
        got = import_graph(path)(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(got, x / (1 + np.exp(-alpha * x)), atol=1e-6)


def test_comparisons_and_where(tmp_path: Path) -> None:
    constants = {"zero": np.array(0.0, np.float32), "one": floats(4)}
    nodes = [
        node("Greater", "x zero", "a"),
        node("Less", "x one", "b"),
        node("And", "a b", "c"),
        node("Not", "c", "d"),
        node("Or", "d a", "e"),
        node("Where", "e x zero", "w"),
        node("Equal", "w zero", "f"),
        node("Cast", "f", "g", to=TensorProto.FLOAT),
        node("GreaterOrEqual", "x one", "h"),
        node("LessOrEqual", "x zero", "i"),
        node("And", "h i", "j"),
        node("Where", "j one g"),
    ]
    check(tmp_path, nodes, (3, 4), constants)


def test_integers_divide_towards_zero(tmp_path: Path) -> None:
    nodes = [
        node("Cast", "x", "i", to=TensorProto.INT64),
        node("Div", "i three", "d"),
        node("Mod", "i three", "m"),
        node("Add", "d m", "s"),
        node("Cast", "s", to=TensorProto.FLOAT),
    ]
    check(tmp_path, nodes, (30,), {"three": ints(3)})


@pytest.mark.parametrize("op_type", ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2"])
@pytest.mark.parametrize("keep", [0, 1])
def test_reductions_with_axes_of_either_opset(tmp_path: Path, op_type: str, keep: int) -> None:
    check(tmp_path, [node(op_type, "x a", keepdims=keep)], (3, 4, 5), {"a": ints(-1, 2)})
    if op_type != "ReduceSum":
        check(tmp_path, [node(op_type, "x", keepdims=keep, axes=[2, 3])], (3, 4, 5), opset=13)


def test_reduction_without_axes(tmp_path: Path) -> None:
    check(tmp_path, [node("ReduceMean", "x"), node("ReduceMax", "x", "z")], (3, 4), outputs=("y", "z"))
    check(tmp_path, [node("ReduceSum", "x", noop_with_empty_axes=1)], (3, 4))


def test_argmax_cumsum_einsum(tmp_path: Path) -> None:
    check(tmp_path, [node("ArgMax", "x", "a", axis=1), node("Cast", "a", to=1)], (5, 3))
    check(tmp_path, [node("CumSum", "x one")], (5, 3), {"one": ints(1).reshape(())})
    check(tmp_path, [node("Einsum", "x w", equation="bij,jk->bik")], (5, 3), {"w": floats(3, 4)})
