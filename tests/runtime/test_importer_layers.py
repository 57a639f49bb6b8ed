"""Operators with weights, and pooling, against ONNX Runtime: their geometry is a property over all paddings."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.runtime.importing import check, floats, node, property_test

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
