"""Single operators and small chains: the imported module against ONNX Runtime, at batch 1 and at a larger batch.

Every network here starts from `x` [batch, …]; a free batch that was baked in would fail at one of the two sizes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import NodeProto, TensorProto, helper, numpy_helper

from lowbit.core.errors import UnsupportedError
from lowbit.graph.torch_importer import import_graph

Array = npt.NDArray[Any]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def node(op_type: str, inputs: str, outputs: str = "y", **attributes: Any) -> NodeProto:
    """A node whose inputs and outputs are names in a string; "-" leaves an optional input out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(op_type, names, outputs.split(), name=f"the_{op_type}_{outputs}", **attributes)


def build(
    nodes: list[NodeProto],
    shape: tuple[int, ...],
    constants: dict[str, Array],
    *,
    opset: int = 20,
    outputs: tuple[str, ...] = ("y",),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    for output in graph.output:
        output.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def check(
    folder: Path,
    nodes: list[NodeProto],
    shape: tuple[int, ...],
    constants: dict[str, Array] | None = None,
    *,
    opset: int = 20,
    outputs: tuple[str, ...] = ("y",),
    positive: bool = False,
    batches: tuple[int, ...] = (4, 1),
) -> torch.nn.Module:
    """Import the network and hold it to ONNX Runtime at batch 1 and 4; gives the module for more questions."""
    path = folder / "network.onnx"
    onnx.save(build(nodes, shape, constants or {}, opset=opset, outputs=outputs), path)
    module = import_graph(path)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(7)
    x: Array = rng.normal(0, 2, (4, *shape)).astype(np.float32)
    x = np.abs(x) + np.float32(0.1) if positive else x
    for batch in (x[:n] for n in batches):
        with torch.no_grad():
            got = module(torch.from_numpy(batch))
        got = got if isinstance(got, tuple) else (got,)
        for ours, theirs in zip(got, session.run(None, {"x": batch}), strict=True):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4, rtol=1e-4)
    return module


def floats(*shape: int, seed: int = 0, low: float | None = None) -> Array:
    values = np.random.default_rng(seed).normal(0, 0.5, shape).astype(np.float32)
    return values if low is None else np.abs(values) + np.float32(low)


def ints(*values: int) -> Array:
    return np.array(values, dtype=np.int64)


# -- convolutions and pooling: the geometry is a property over all combinations

SIZES = st.integers(5, 9)


@st.composite
def windows(draw: st.DrawFn) -> dict[str, Any]:
    """Attributes of a window over two axes of 5 to 9 pixels."""
    kernel = [draw(st.integers(1, 3)) for _ in range(2)]
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": [draw(st.integers(1, 3)) for _ in range(2)]}
    kind = draw(st.sampled_from(["pads", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if kind == "pads":
        attributes["pads"] = [draw(st.integers(0, k - 1)) for k in kernel * 2]
    else:
        attributes["auto_pad"] = kind
    return attributes


property_test = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@property_test
@given(windows(), SIZES, SIZES, st.sampled_from([1, 2, 4]), st.booleans(), st.integers(1, 2))
def test_conv_agrees_for_every_padding(
    tmp_path: Path, window: dict[str, Any], height: int, width: int, group: int, bias: bool, dilation: int
) -> None:
    window = {**window, "dilations": [dilation, dilation], "group": group}
    weight = floats(8, 4 // group, *window["kernel_shape"])
    names = "x w b" if bias else "x w"
    check(tmp_path, [node("Conv", names, **window)], (4, height, width), {"w": weight, "b": floats(8)})


@property_test
@given(windows(), SIZES, SIZES, st.integers(0, 1))
def test_max_pool_agrees_for_every_padding(
    tmp_path: Path, window: dict[str, Any], height: int, width: int, ceil: int
) -> None:
    strides = [min(pair) for pair in zip(window["strides"], window["kernel_shape"], strict=True)]
    window = {**window, "strides": strides}  # ONNX Runtime refuses SAME padding where a stride is larger
    ceil = 0 if "auto_pad" in window else ceil
    check(tmp_path, [node("MaxPool", "x", ceil_mode=ceil, **window)], (2, height, width))


@property_test
@given(windows(), SIZES, SIZES, st.integers(0, 1))
def test_average_pool_agrees_for_every_padding(
    tmp_path: Path, window: dict[str, Any], height: int, width: int, include: int
) -> None:
    check(tmp_path, [node("AveragePool", "x", count_include_pad=include, **window)], (2, height, width))


@pytest.mark.parametrize("include", [0, 1])
def test_average_pool_with_ceil_mode(tmp_path: Path, include: int) -> None:
    attributes: dict[str, Any] = {
        "kernel_shape": [3, 3],
        "strides": [2, 2],
        "ceil_mode": 1,
        "count_include_pad": include,
    }
    check(tmp_path, [node("AveragePool", "x", pads=[1, 1, 1, 1], **attributes)], (2, 8, 8))


def test_max_pool_with_dilation(tmp_path: Path) -> None:
    check(tmp_path, [node("MaxPool", "x", kernel_shape=[3, 3], dilations=[2, 1])], (2, 8, 8))


@pytest.mark.parametrize("n", [1, 3])
def test_conv_over_one_and_three_axes(tmp_path: Path, n: int) -> None:
    constants = {"w": floats(5, 3, *(3,) * n), "b": floats(5)}
    check(tmp_path, [node("Conv", "x w b", pads=[1] * n + [0] * n)], (3, *(6,) * n), constants)


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
        {"strides": [2, 2], "pads": [0, 1, 1, 0]},
        {"strides": [3, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [3, 2], "auto_pad": "SAME_LOWER"},
        {"strides": [2, 2], "output_shape": [10, 11]},
        {"group": 2, "dilations": [2, 2]},
    ],
    ids=str,
)
def test_conv_transpose(tmp_path: Path, attributes: dict[str, Any]) -> None:
    constants = {"w": floats(4, 3, 3, 3), "b": floats(3 * attributes.get("group", 1))}
    check(tmp_path, [node("ConvTranspose", "x w b", **attributes)], (4, 5, 5), constants)


@pytest.mark.parametrize("op_type", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [(3, 7), (3, 7, 5), (3, 4, 5, 6)])
def test_global_pools(tmp_path: Path, op_type: str, shape: tuple[int, ...]) -> None:
    check(tmp_path, [node(op_type, "x")], shape)


# -- matrix products


@pytest.mark.parametrize("bias", [(), (6,), (1, 6), (1,), None], ids=str)
@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_is_a_linear(tmp_path: Path, transposed: int, bias: tuple[int, ...] | None) -> None:
    constants = {"w": floats(6, 5) if transposed else floats(5, 6)}
    names = "x w"
    if bias is not None:
        constants["b"], names = floats(*bias) if bias else np.array(0.5, np.float32), "x w b"
    module = check(tmp_path, [node("Gemm", names, transB=transposed, alpha=0.5, beta=2.0)], (5,), constants)
    assert isinstance(module.get_submodule("the_Gemm_y"), torch.nn.Linear)


def test_gemm_of_two_activations(tmp_path: Path) -> None:
    nodes = [node("Gemm", "x x", transA=1, alpha=0.5)]
    check(tmp_path, nodes, (5,))


def test_matmul_takes_the_bias_behind_it(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x w", "m"), node("Add", "b m")]
    module = check(tmp_path, nodes, (4, 5), {"w": floats(5, 6), "b": floats(6)})
    layer = module.get_submodule("the_MatMul_m")
    assert isinstance(layer, torch.nn.Linear)
    assert layer.bias is not None


def test_matmul_keeps_a_bias_that_others_look_past(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x w", "m"), node("Add", "m b", "a"), node("Mul", "a m")]
    check(tmp_path, nodes, (4, 5), {"w": floats(5, 6), "b": floats(6)})


def test_matmul_of_constants_is_folded_with_an_add_behind_it(tmp_path: Path) -> None:
    nodes = [node("MatMul", "a b", "m"), node("Add", "m c", "s"), node("Mul", "x s")]
    check(tmp_path, nodes, (4, 5), {"a": floats(4, 3), "b": floats(3, 5), "c": floats(5)})


def test_matmul_with_constants_that_make_no_linear(tmp_path: Path) -> None:
    check(tmp_path, [node("MatMul", "x w")], (2, 4, 5), {"w": floats(2, 5, 3)})
    check(tmp_path, [node("MatMul", "w x")], (4, 5), {"w": floats(3, 4)})
    check(tmp_path, [node("Transpose", "x", "t", perm=[0, 2, 1]), node("MatMul", "x t")], (4, 5))


# -- normalizations


def test_batch_norm(tmp_path: Path) -> None:
    constants = {"s": floats(4), "b": floats(4), "m": floats(4), "v": floats(4, low=0.5)}
    for shape in [(4,), (4, 6), (4, 5, 6), (4, 3, 3, 3)]:
        check(tmp_path, [node("BatchNormalization", "x s b m v", epsilon=1e-3)], shape, constants)


@pytest.mark.parametrize("axis", [-1, 1, 2])
def test_layer_norm(tmp_path: Path, axis: int) -> None:
    shape = (3, 4, 5)
    size = (0, *shape)[axis:]
    constants = {"s": floats(*size), "b": floats(*size)}
    check(tmp_path, [node("LayerNormalization", "x s b", axis=axis, epsilon=1e-3)], shape, constants)
    check(tmp_path, [node("LayerNormalization", "x s", axis=axis)], shape, constants)


def test_instance_norm(tmp_path: Path) -> None:
    check(tmp_path, [node("InstanceNormalization", "x s b")], (4, 5, 6), {"s": floats(4), "b": floats(4)})


@pytest.mark.parametrize(("opset", "size"), [(18, 2), (21, 6)])
def test_group_norm(tmp_path: Path, opset: int, size: int) -> None:
    constants = {"s": floats(size), "b": floats(size)}
    check(tmp_path, [node("GroupNormalization", "x s b", num_groups=2)], (6, 4, 4), constants, opset=opset)


def test_local_response_norm(tmp_path: Path) -> None:
    check(tmp_path, [node("LRN", "x", size=3, alpha=0.1, beta=0.6, bias=1.5)], (7, 4, 4))


# -- activations and arithmetic


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


# -- moving elements


@pytest.mark.parametrize("target", [(0, -1), (-1, 12), (0, 2, 6), (-1, 0, 2, 2)], ids=str)
def test_reshape(tmp_path: Path, target: tuple[int, ...]) -> None:
    check(tmp_path, [node("Reshape", "x s")], (3, 4), {"s": ints(*target)})


@given(
    st.lists(
        st.tuples(
            st.sampled_from([1, 2]),
            st.integers(-12, 12),
            st.integers(-12, 12) | st.just(2**63 - 1),
            st.integers(1, 3),
        ),
        min_size=1,
        max_size=2,
        unique_by=lambda cut: cut[0],
    )
)
@property_test
def test_slice_forwards(tmp_path: Path, cuts: list[tuple[int, int, int, int]]) -> None:
    axes, starts, ends, steps = (ints(*column) for column in zip(*cuts, strict=True))
    constants = {"starts": starts, "ends": ends, "axes": axes, "steps": steps}
    check(tmp_path, [node("Slice", "x starts ends axes steps")], (7, 9), constants)


@given(st.integers(-12, 12), st.integers(-12, 12) | st.just(-(2**63)), st.integers(-3, -1))
@property_test
def test_slice_backwards(tmp_path: Path, start: int, end: int, step: int) -> None:
    constants = {"starts": ints(start), "ends": ints(end), "axes": ints(-1), "steps": ints(step)}
    check(tmp_path, [node("Slice", "x starts ends axes steps")], (3, 8), constants)


@pytest.mark.parametrize(
    ("mode", "pads", "axes"),
    [
        ("constant", (0, 1, 2, 0, 0, 3, 0, 1), None),
        ("constant", (0, 0, -1, 1, 0, 0, 2, -1), None),
        ("constant", (1, 2, 3, 0), (1, -1)),
        ("reflect", (0, 0, 2, 1, 0, 0, 1, 3), None),
        ("edge", (2, 1, 0, 3), (2, 3)),
    ],
    ids=str,
)
def test_pad(tmp_path: Path, mode: str, pads: tuple[int, ...], axes: tuple[int, ...] | None) -> None:
    constants = {"p": ints(*pads), "v": np.array(0.5, np.float32)}
    names = "x p v"
    if axes is not None:
        constants["a"], names = ints(*axes), "x p v a"
    check(tmp_path, [node("Pad", names, mode=mode)], (3, 5, 5), constants)


def test_concat_and_split(tmp_path: Path) -> None:
    nodes = [
        node("Split", "x sizes", "a b", axis=1),
        node("Split", "b", "c d", axis=2, num_outputs=2),
        node("Concat", "d c d", axis=-1),
    ]
    check(tmp_path, nodes, (6, 5), {"sizes": ints(2, 4)})
    check(tmp_path, [node("Split", "x", "y z", axis=1)], (6, 5), opset=13, outputs=("y", "z"))


def test_squeeze_and_unsqueeze(tmp_path: Path) -> None:
    nodes = [node("Unsqueeze", "x front_and_back", "u"), node("Squeeze", "u back")]
    check(tmp_path, nodes, (3, 4), {"front_and_back": ints(1, -1), "back": ints(-1)})


def test_squeeze_without_axes_leaves_a_batch_of_one(tmp_path: Path) -> None:
    module = check(tmp_path, [node("Squeeze", "x")], (3, 1, 4), batches=(4,))
    assert module(torch.zeros(1, 3, 1, 4)).shape == (1, 3, 4)


@pytest.mark.parametrize("target", [(1, 5, 1), (5, 4), (1, 1, 1, 4)], ids=str)
def test_expand(tmp_path: Path, target: tuple[int, ...]) -> None:
    shape = (3, 1, 4) if len(target) == 4 else (1, 4)
    check(tmp_path, [node("Expand", "x t")], shape, {"t": ints(*target)})


def test_tile(tmp_path: Path) -> None:
    check(tmp_path, [node("Tile", "x r")], (3, 4), {"r": ints(1, 2, 3)})


@pytest.mark.parametrize("indices", [ints(2).reshape(()), ints(1, -1, 0), ints(0, 1, 2, -2).reshape(2, 2)], ids=str)
def test_gather(tmp_path: Path, indices: Array) -> None:
    check(tmp_path, [node("Gather", "x i", axis=1)], (3, 4), {"i": indices})


def test_gather_by_computed_indices(tmp_path: Path) -> None:
    nodes = [node("ArgMax", "x", "i", axis=2, keepdims=1), node("GatherElements", "x i", axis=2)]
    check(tmp_path, nodes, (3, 4))
    nodes = [node("ArgMax", "x", "i", axis=1, keepdims=0), node("Gather", "table i", axis=0)]
    check(tmp_path, nodes, (3, 4), {"table": floats(3, 6)})


@pytest.mark.parametrize(
    ("placing", "rounding"),
    [("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("align_corners", "round_prefer_ceil")],
)
@pytest.mark.parametrize("sizes", [(8, 10), (3, 7)])
def test_resize_nearest(tmp_path: Path, placing: str, rounding: str, sizes: tuple[int, int]) -> None:
    scales = np.array([1, 1, sizes[0] / 4, sizes[1] / 5], np.float32)
    attributes = {"mode": "nearest", "coordinate_transformation_mode": placing, "nearest_mode": rounding}
    check(tmp_path, [node("Resize", "x - scales", **attributes)], (2, 4, 5), {"scales": scales})


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("placing", ["half_pixel", "pytorch_half_pixel", "align_corners"])
def test_resize_to_sizes_behind_a_free_batch(tmp_path: Path, mode: str, placing: str) -> None:
    nodes = [
        node("Shape", "x", "shape"),
        node("Slice", "shape zero two", "front"),
        node("Concat", "front wanted", "sizes", axis=0),
        node("Resize", "x - - sizes", mode=mode, coordinate_transformation_mode=placing),
    ]
    check(tmp_path, nodes, (2, 4, 5), {"zero": ints(0), "two": ints(2), "wanted": ints(7, 9)})


# -- shape arithmetic: the batch stays symbolic


def test_shape_chain_of_old_exporters(tmp_path: Path) -> None:
    """x.view(x.size(0), -1) and a class token, as TorchScript's exporter wrote them."""
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape zero", "n", axis=0),
        node("Unsqueeze", "n axis0", "n1"),
        node("Concat", "n1 minus_one three", "t", axis=0),
        node("Reshape", "x t", "r"),
        node("Concat", "n1 one three", "want", axis=0),
        node("ConstantOfShape", "rank", "ones", value=helper.make_tensor("v", TensorProto.INT64, [1], [1])),
        node("Mul", "ones minus", "markers"),
        node("Equal", "want markers", "is_marker"),
        node("Where", "is_marker ones want", "target"),
        node("Expand", "token target", "tokens"),
        node("Concat", "tokens r", axis=1),
    ]
    constants = {
        "zero": ints(0).reshape(()),
        "axis0": ints(0),
        "minus_one": ints(-1),
        "one": ints(1),
        "three": ints(3),
        "minus": ints(-1).reshape(()),
        "rank": ints(3),
        "token": floats(1, 1, 3),
    }
    module = check(tmp_path, nodes, (4, 3), constants)
    assert [name for name, _ in module.named_parameters()] == ["token"]


def test_windows_that_multiply_the_batch(tmp_path: Path) -> None:
    """Swin's windows: [n, 4, 6] → [n * 2, 2, 6] → back by a division of the batch."""
    nodes = [
        node("Shape", "x", "n", end=1),
        node("Mul", "n two", "n2"),
        node("Concat", "n2 two six", "t", axis=0),
        node("Reshape", "x t", "w"),
        node("Softmax", "w", "s", axis=1),
        node("Shape", "s", "m", end=1),
        node("Div", "m two", "back"),
        node("Concat", "back minus", "u", axis=0),
        node("Reshape", "s u"),
    ]
    check(tmp_path, nodes, (4, 6), {"two": ints(2), "six": ints(6), "minus": ints(-1)})


def test_constant_of_a_shape_that_follows_the_batch(tmp_path: Path) -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("ConstantOfShape", "s", "c", value=helper.make_tensor("v", TensorProto.FLOAT, [1], [0.5])),
        node("Mul", "x c"),
    ]
    check(tmp_path, nodes, (3, 4))


def test_rows_counted_along_the_batch(tmp_path: Path) -> None:
    """The exporter's as_strided: all rows flat, gathered back by numbers made from a Range over the batch."""
    nodes = [
        node("Shape", "x", "n", end=1),
        node("Squeeze", "n", "limit"),
        node("Range", "zero limit one", "r"),
        node("Mul", "r four", "first"),
        node("Unsqueeze", "first axis", "column"),
        node("Add", "column offsets", "rows"),
        node("Reshape", "x minus", "flat"),
        node("Gather", "flat rows", axis=0),
    ]
    scalars = {name: ints(value).reshape(()) for name, value in (("zero", 0), ("one", 1), ("four", 4))}
    check(tmp_path, nodes, (4,), {**scalars, "axis": ints(1), "offsets": ints(2, 0), "minus": ints(-1)})


def test_mean_by_a_count_that_follows_the_batch(tmp_path: Path) -> None:
    nodes = [
        node("Size", "x", "n"),
        node("Cast", "n", "f", to=TensorProto.FLOAT),
        node("ReduceSum", "x", "s", keepdims=0),
        node("Div", "s f"),
    ]
    check(tmp_path, nodes, (3, 4))


def test_constant_subgraph_is_folded(tmp_path: Path) -> None:
    nodes = [
        node("Range", "zero four one", "r"),
        node("Unsqueeze", "r column", "i"),
        node("ScatterND", "data i updates", "m"),
        node("Add", "x m"),
    ]
    constants = {
        "zero": ints(0).reshape(()),
        "four": ints(4).reshape(()),
        "one": ints(1).reshape(()),
        "column": ints(1),
        "data": floats(6),
        "updates": floats(4, seed=1),
    }
    module = check(tmp_path, nodes, (6,), constants)
    assert [tuple(parameter.shape) for parameter in module.parameters()] == [(6,)]


# -- what is refused names the operator and its node


@pytest.mark.parametrize(
    ("nodes", "names"),
    [
        ([node("Selu", "x")], ("Selu", "the_Selu_y")),
        ([node("LRN", "x", size=4)], ("LRN", "even")),
        ([node("Reshape", "x five")], ("Reshape", "batch of 5")),
        ([node("Conv", "x x")], ("Conv", "constant")),
        ([node("Dropout", "x", "d mask"), node("Cast", "mask", to=1)], ("Dropout", "outputs are used")),
        ([node("BatchNormalization", "x s s s s", training_mode=1)], ("BatchNormalization", "training")),
    ],
    ids=str,
)
def test_what_is_lacking_is_named(tmp_path: Path, nodes: list[NodeProto], names: tuple[str, ...]) -> None:
    path = tmp_path / "network.onnx"
    onnx.save(build(nodes, (3, 4, 4), {"five": ints(1, 48), "s": floats(3, low=1)}), path)
    with pytest.raises(UnsupportedError) as refusal:
        import_graph(path)
    assert all(name in refusal.value.reason for name in names), refusal.value.reason
    assert refusal.value.remedy


def test_a_foreign_domain_is_named(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    model = build([helper.make_node("Magic", ["x"], ["y"], name="wand", domain="com.example")], (3,), {})
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    onnx.save(model, path)
    with pytest.raises(UnsupportedError, match=r"Magic \(node 'wand'\).*com\.example"):
        import_graph(path)
