"""Every operator variant that the engine writes, in every runtime that reads it, against float and the reference.

Weights have 4 bits, so that no 16-bit sum saturates. What does not hold is named in `HOLES`, with its reason; a hole
that closes fails the test, so that the table stays true.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lowbit.core.errors import LowbitError
from tests.runtime.networks import Array, node
from tests.runtime.variants import RUNTIMES, STEP, Variant, make

pytestmark = pytest.mark.slow

HOLES: dict[tuple[str, str], str] = {
    ("Pad wrap", "openvino"): "OpConversionFailure",  # OpenVINO's reader of ONNX has no wrap: the file is refused there
    ("Pad wrap", "openvino-ir"): "OpenVINO cannot read the model",
    ("Pad wrap crop", "openvino"): "OpConversionFailure",
    ("Pad wrap crop", "openvino-ir"): "OpenVINO cannot read the model",
    ("MaxPool d2", "litert"): "has 2 graphs",  # LiteRT has no pooling with gaps
    ("MaxPool d2 ceil", "litert"): "has 2 graphs",
}
"""(variant, runtime) → what it says instead of giving numbers."""


def whole(*shape: int, axis: int = 0, seed: int = 0) -> Array:
    """Weights that 4 bits hold exactly: multiples of 1/8 from -7/8 to 7/8, the largest in every channel of `axis`."""
    codes = np.random.default_rng((seed, *shape)).integers(-7, 8, shape)
    first: list[Any] = [0] * len(shape)
    first[axis] = slice(None)
    codes[tuple(first)] = 7
    return (codes / 8).astype(np.float32)


def bias(size: int) -> Array:
    return (np.arange(size) - 1).astype(np.float32) / 4


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def floats(value: float) -> Array:
    return np.array(value, np.float32)


def one(op_type: str, name: str, inputs: str = "x", given: dict[str, Array] | None = None, **more: Any) -> Variant:
    """A variant of one node; `more`: the variant's own fields, and the node's attributes."""
    fields = {key: more.pop(key) for key in ("x", "within", "opset") if key in more}
    return Variant(f"{op_type} {name}".strip(), [node(op_type, inputs, "v", **more)], given or {}, **fields)


def convolutions() -> Iterator[Variant]:
    sizes = {"1-D": (4, 11), "2-D": (4, 9, 8)}
    forms: dict[str, dict[str, Any]] = {
        "k1": {"k": 1}, "k3": {"k": 3}, "k3 p1": {"k": 3, "p": 1}, "k3 s2 p1": {"k": 3, "s": 2, "p": 1},
        "k2 s2": {"k": 2, "s": 2}, "k3 d2 p2": {"k": 3, "d": 2, "p": 2}, "k3 p1 g2": {"k": 3, "p": 1, "g": 2},
        "k3 p1 depthwise": {"k": 3, "p": 1, "g": 4}, "k3 s2 depthwise": {"k": 3, "s": 2, "g": 4},
        "k3 d2 depthwise": {"k": 3, "d": 2, "g": 4, "p": 2}, "k5 s3": {"k": 5, "s": 3},
    }  # fmt: skip
    for (rank, x), (name, f) in product(sizes.items(), forms.items()):
        n, group = len(x) - 1, f.get("g", 1)
        attributes: dict[str, Any] = {"group": group, "strides": [f.get("s", 1)] * n, "pads": [f.get("p", 0)] * 2 * n}
        attributes["dilations"] = [f.get("d", 1)] * n
        given = {"w": whole(8, 4 // group, *[f["k"]] * n), "b": bias(8)}
        yield one("Conv", f"{rank} {name}", "x w b", given, x=x, **attributes)
        turned = {"w": whole(4, 8 // group, *[f["k"]] * n, axis=1), "b": bias(8)}
        small = (4, *(size // 2 for size in x[1:]))
        yield one("ConvTranspose", f"{rank} {name}", "x w b", turned, x=small, **attributes)
    given = {"w": whole(6, 4, 3, 3), "b": bias(6)}
    for pads in ([1, 0, 0, 1], [0, 2, 1, 0], [2, 2, 0, 0]):
        yield one("Conv", f"pads {pads}", "x w b", given, x=(4, 9, 8), pads=pads, strides=[2, 1])
    for kind, stride in product(("SAME_UPPER", "SAME_LOWER", "VALID"), (1, 2)):
        yield one("Conv", f"{kind} s{stride}", "x w b", given, x=(4, 9, 8), auto_pad=kind, strides=[stride] * 2)
    yield one("Conv", "kernel 1x3", "x w b", {"w": whole(6, 4, 1, 3), "b": bias(6)}, x=(4, 9, 8), pads=[0, 1, 0, 1])
    yield one("Conv", "without bias", "x w", {"w": whole(6, 4, 3, 3)}, x=(4, 9, 8))
    upside = {"w": whole(4, 6, 3, 3, axis=1), "b": bias(6)}
    turned_forms: dict[str, dict[str, Any]] = {
        "s2 output_padding": {"strides": [2, 2], "output_padding": [1, 1], "pads": [1] * 4},
        "s2 uneven": {"strides": [2, 2], "pads": [1, 0, 0, 1]},
        "s2 output_shape": {"strides": [2, 2], "output_shape": [10, 9]},
        "s2 SAME_UPPER": {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        "s2 SAME_LOWER": {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
        "s3 VALID": {"strides": [3, 3], "auto_pad": "VALID"},
    }
    for name, more in turned_forms.items():
        yield one("ConvTranspose", name, "x w b", upside, x=(4, 5, 4), **more)


def clamped() -> Iterator[Variant]:
    given = {"w": whole(6, 4, 3, 3), "b": bias(6), "low": floats(-1), "high": floats(6)}
    for name, clamp in {"Relu": "c", "Clip": "c low high", "Clip above": "c - high", "Clip below": "c low"}.items():
        used = {key: given[key] for key in given if key in ("w", "b", *clamp.split())}
        behind = node(name.split()[0], clamp, "v")
        yield Variant(f"Conv then {name}", [node("Conv", "x w b", "c"), behind], used, x=(4, 9, 8))
        layers = [node("Gemm", "x w b", "c", transB=1), behind]
        yield Variant(f"Gemm then {name}", layers, used | {"w": whole(6, 12)}, x=(12,))


def poolings() -> Iterator[Variant]:
    for (h, w), k, s, p, ceil in product(((8, 8), (7, 9)), (2, 3), (1, 2, 3), (0, 1), (0, 1)):
        shape: dict[str, Any] = {"kernel_shape": [k] * 2, "strides": [s] * 2, "pads": [p] * 4, "ceil_mode": ceil}
        name = f"{h}x{w} k{k} s{s} p{p} ceil{ceil}"
        yield one("MaxPool", name, x=(2, h, w), **shape)
        for include in (0, 1):
            yield one("AveragePool", f"{name} include{include}", x=(2, h, w), count_include_pad=include, **shape)
    for suffix in ("", " include0", " include1"):
        op_type = "AveragePool" if suffix else "MaxPool"
        more: dict[str, Any] = {"count_include_pad": int(suffix[-1])} if suffix else {}
        for pads in ([0, 0, 1, 1], [1, 0, 0, 1]):
            yield one(op_type, f"pads {pads}{suffix}", kernel_shape=[3, 3], strides=[2, 2], pads=pads, **more)
        for kind in ("SAME_UPPER", "SAME_LOWER", "VALID"):
            yield one(op_type, f"{kind}{suffix}", kernel_shape=[3, 3], strides=[2, 2], auto_pad=kind, **more)
        yield one(op_type, f"1-D{suffix}", x=(3, 9), kernel_shape=[3], strides=[2], pads=[1, 1], **more)
        yield one(op_type, f"1-D ceil{suffix}", x=(3, 8), kernel_shape=[3], strides=[2], ceil_mode=1, **more)
        yield one(op_type, f"k2x3{suffix}", kernel_shape=[2, 3], strides=[1, 2], **more)
    yield one("MaxPool", "d2", kernel_shape=[3, 3], dilations=[2, 2], pads=[1] * 4)
    yield one("MaxPool", "d2 ceil", kernel_shape=[3, 3], dilations=[2, 2], strides=[2, 2], ceil_mode=1)
    for op_type, (rank, x) in product(("GlobalAveragePool", "GlobalMaxPool"), (("1-D", (3, 7)), ("2-D", (3, 7, 5)))):
        yield one(op_type, rank, x=x)


def means() -> Iterator[Variant]:
    for axes, keep in product(([2, 3], [-1, -2], [3], [2], [1], [-1]), (0, 1)):
        yield one("ReduceMean", f"{axes} keep{keep}", "x a", {"a": ints(*axes)}, keepdims=keep)
    yield one("ReduceMean", "tokens [1]", "x a", {"a": ints(1)}, x=(5, 6), keepdims=0)


def moves() -> Iterator[Variant]:
    yield one("Reshape", "to rows", "x s", {"s": ints(0, 6, -1)})
    yield one("Reshape", "to four", "x s", {"s": ints(-1, 8, 3, 8)})
    yield one("Flatten", "axis 1", x=(3, 4))
    for order in ([0, 2, 3, 1], [0, 1, 3, 2], [0, 3, 2, 1]):
        yield one("Transpose", str(order), perm=order)
    yield one("Squeeze", "1", "x a", {"a": ints(1)}, x=(1, 6, 7))
    yield one("Squeeze", "-2", "x a", {"a": ints(-2)}, x=(6, 1, 7))
    yield one("Unsqueeze", "-1", "x a", {"a": ints(-1)}, x=(6, 7))
    yield one("Expand", "", "x s", {"s": ints(1, 3, 4, 5)}, x=(3, 1, 5))
    yield one("Tile", "", "x r", {"r": ints(1, 2, 1, 3)}, x=(3, 4, 2))
    yield one("DepthToSpace", "DCR", x=(8, 3, 4), blocksize=2)
    yield one("DepthToSpace", "CRD", x=(8, 3, 4), blocksize=2, mode="CRD")
    yield one("SpaceToDepth", "", x=(2, 4, 6), blocksize=2)
    slices: dict[str, tuple[int, int, int, int]] = {
        "1:3": (1, 3, 1, 1), "negative axis": (1, 5, -1, 1), "step 2": (0, 99, 2, 2), "step 3 from 1": (1, 99, 3, 3),
        "from the end": (-3, 99, 2, 1), "backwards": (-1, -99, 3, -1), "backwards by 2": (-1, -99, 2, -2),
        "to -1": (0, -1, 2, 1),
    }  # fmt: skip
    for name, (start, end, axis, step) in slices.items():
        given = {"s": ints(start), "e": ints(end), "a": ints(axis), "t": ints(step)}
        yield one("Slice", name, "x s e a t", given)
    yield one("Slice", "two axes", "x s e a", {"s": ints(1, 2), "e": ints(7, 6), "a": ints(-2, -1)})
    yield one("Gather", "one", "x i", {"i": np.array(2, np.int64)}, axis=1)
    yield one("Gather", "several", "x i", {"i": ints(5, 0, -1)}, axis=2)
    yield one("Gather", "matrix, axis -1", "x i", {"i": np.array([[0, 1], [7, 3]], np.int64)}, axis=-1)
    for axis, sizes in ((1, (4, 2)), (-1, (3, 5)), (2, (1, 7))):
        parts = [node("Split", "x n", "a b", axis=axis), node("Concat", "b a", "v", axis=axis)]
        yield Variant(f"Split {axis} {sizes}, Concat", parts, {"n": ints(*sizes)}, x=(6, 8, 8))
    even = [node("Split", "x", "a b", axis=1, num_outputs=2), node("Add", "a b", "v")]
    yield Variant("Split evenly, Add", even, {}, x=(6, 4, 4))


def pads() -> Iterator[Variant]:
    amounts = {
        "ends": (0, 0, 1, 2, 0, 0, 3, 0), "channels": (0, 1, 0, 0, 0, 2, 0, 0), "crop": (0, 0, -1, 0, 0, 0, -2, -1),
        "crop and pad": (0, 0, 1, -1, 0, 0, -2, 2), "channel crop": (0, -1, 0, 0, 0, 0, 0, 0),
    }  # fmt: skip
    for name, amount in amounts.items():
        yield one("Pad", name, "x p", {"p": ints(*amount)})
        yield one("Pad", f"{name} with 1", "x p c", {"p": ints(*amount), "c": floats(1)})
    yield one("Pad", "with lowest", "x p c", {"p": ints(*amounts["ends"]), "c": floats(-100 / 32)})
    yield one("Pad", "axes", "x p - a", {"p": ints(1, 2), "a": ints(-1)})
    for mode in ("reflect", "edge", "wrap"):
        yield one("Pad", mode, "x p", {"p": ints(*amounts["ends"])}, mode=mode)
        yield one("Pad", f"{mode} crop", "x p", {"p": ints(*amounts["crop"])}, mode=mode)


def resizes() -> Iterator[Variant]:
    kinds = (
        "nearest asymmetric",
        "nearest half_pixel",
        "linear half_pixel",
        "linear align_corners",
        "cubic half_pixel",
    )
    for kind, scale in product(kinds, (2.0, 0.5, 1.5)):
        mode, place = kind.split()
        more: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": place}
        if place == "asymmetric":
            more["nearest_mode"] = "floor"
        yield one("Resize", f"{kind} x{scale}", "x - s", {"s": np.array([1, 1, scale, scale], np.float32)}, **more)
    yield one("Resize", "nearest sizes", "x - - s", {"s": ints(12, 5)}, mode="nearest", axes=[2, 3])


def sums() -> Iterator[Variant]:
    halves = {"n": ints(3, 3)}
    for op_type in ("Add", "Sub", "Mul"):
        parts = [node("Split", "x n", "a b", axis=1), node(op_type, "a b", "v")]
        yield Variant(f"{op_type} of two", parts, halves, x=(6, 4, 4))
        yield one(op_type, "itself", "x x")
        for name, shape in {
            "number": (),
            "channel": (3, 1, 1),
            "row": (8,),
            "picture": (1, 8, 8),
            "whole": (3, 8, 8),
        }.items():
            codes = np.random.default_rng(7).integers(0, 256, shape or (1,))
            codes.flat[:1] = 255
            constant = ((codes - 100 * (codes.size > 1)) / 64).astype(np.float32).reshape(shape)
            yield one(op_type, f"a {name}", "x k", {"k": constant}, within=1.0)
            yield one(op_type, f"a {name} on the left", "k x", {"k": constant}, within=1.0)
    mean = [node("GlobalAveragePool", "x", "g"), node("Mul", "x g", "v")]
    yield Variant("Mul by its mean [N, C, 1, 1]", mean, {}, within=2.0)
    yield Variant("Add its mean [N, C, 1, 1]", [mean[0], node("Add", "x g", "v")], {}, within=1.0)
    relu = [node("Split", "x n", "a b", axis=1), node("Add", "a b", "s"), node("Relu", "s", "v")]
    yield Variant("Add then Relu", relu, halves, x=(6, 4, 4))
    for axis in (1, -1, 2):
        pools = [node("MaxPool", "x", "m", kernel_shape=[3, 3], pads=[1] * 4), node("Concat", "x m x", "v", axis=axis)]
        yield Variant(f"Concat {axis}", pools, {})
    wide = [node("Add", "x x", "d"), node("Concat", "x d", "v", axis=1)]
    yield Variant("Concat of different ranges", wide, {}, within=1.01)  # x is on the wider grid


def products() -> Iterator[Variant]:
    for alpha, beta, trans in product((1.0, 0.5), (1.0, 2.0), (0, 1)):
        given = {"w": whole(5, 12) if trans else np.ascontiguousarray(whole(5, 12).T), "b": bias(5)}
        yield one(
            "Gemm",
            f"alpha {alpha} beta {beta} trans {trans}",
            "x w b",
            given,
            x=(12,),
            alpha=alpha,
            beta=beta,
            transB=trans,
        )
    yield one("Gemm", "bias [1, 5]", "x w b", {"w": whole(5, 12), "b": bias(5).reshape(1, 5)}, x=(12,), transB=1)
    yield one("MatMul", "rank 2", "x w", {"w": np.ascontiguousarray(whole(5, 12).T)}, x=(12,))
    yield one("MatMul", "rank 3", "x w", {"w": np.ascontiguousarray(whole(5, 6).T)}, x=(7, 6))
    yield one("MatMul", "rank 4", "x w", {"w": np.ascontiguousarray(whole(5, 6).T)}, x=(2, 7, 6))
    left = {"w": np.broadcast_to(whole(3, 8), (3, 8)).copy()}
    yield one("MatMul", "a constant on the left", "w x", left, x=(3, 8, 6), within=1.0)
    halves = [node("Split", "x n", "a b", axis=1), node("Transpose", "b", "t", perm=[0, 1, 3, 2])]
    yield Variant("MatMul of two", [*halves, node("MatMul", "a t", "v")], {"n": ints(2, 2)}, x=(4, 5, 6))
    yield Variant(
        "MatMul of two, rank 3", [node("Transpose", "x", "t", perm=[0, 2, 1]), node("MatMul", "x t", "v")], {}, x=(5, 6)
    )


def functions() -> Iterator[Variant]:
    for op_type in (
        *("Abs", "Elu", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Neg", "Relu"),
        *("Sigmoid", "Softplus", "Tanh", "Erf"),
    ):
        yield one(op_type, "")
    yield one("LeakyRelu", "0.3", alpha=0.3)
    yield one("Gelu", "tanh", approximate="tanh")
    yield one("Clip", "alone", "x low high", {"low": floats(-1), "high": floats(2)})
    yield one("Softmax", "axis 1", axis=1)
    yield one("Softmax", "axis -1", axis=-1)
    yield one("LogSoftmax", "axis 1", axis=1)
    yield Variant("Abs, Sqrt", [node("Abs", "x", "a"), node("Sqrt", "a", "v")])
    yield Variant("SiLU", [node("Sigmoid", "x", "s"), node("Mul", "x s", "v")], within=1.0)
    yield one("PRelu", "channel", "x s", {"s": np.array([0.25, 0.5, 0.125], np.float32).reshape(3, 1, 1)})
    yield one("LayerNormalization", "", "x s b", {"s": np.ones(8, np.float32), "b": np.zeros(8, np.float32)})
    yield one("InstanceNormalization", "", "x s b", {"s": np.ones(3, np.float32), "b": np.zeros(3, np.float32)})
    yield one("LRN", "", size=3)
    yield one("Max", "a number", "x k", {"k": floats(0.5)})
    yield one("Div", "a number", "x k", {"k": floats(4)})
    yield one("Pow", "2", "x k", {"k": floats(2)})


VARIANTS = {
    variant.name: variant
    for family in (convolutions, clamped, poolings, means, moves, pads, resizes, sums, products, functions)
    for variant in family()
}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", VARIANTS)
def test_variant(name: str, runtime: str, tmp_path: Path) -> None:
    if runtime.startswith("openvino"):
        pytest.importorskip("openvino")
    if runtime == "litert":
        pytest.importorskip("litert_torch")
    variant = VARIANTS[name]
    made = make(variant, tmp_path)
    if (name, runtime) in HOLES:
        with pytest.raises((LowbitError, RuntimeError), match=HOLES[name, runtime]):
            RUNTIMES[runtime](made, tmp_path)
        return
    found = RUNTIMES[runtime](made, tmp_path)
    within = variant.within
    if runtime == "litert":  # its averages and resizes are rounded on the input's grid first
        within += 0.5 + 0.5 * STEP / made.step
    assert made.error(found) < within
