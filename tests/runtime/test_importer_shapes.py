"""Operators that move elements, shape arithmetic with a free batch, and what is refused, against ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import NodeProto, TensorProto, helper

from lowbit.core.errors import UnsupportedError
from lowbit.torchgraph.importer import import_graph
from tests.runtime.importing import Array, build, check, floats, ints, node, property_test


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


def test_gather_nd_along_fixed_axes(tmp_path: Path) -> None:
    """Adaptive pooling to more pixels than there are: the exporter brings the batch to the back and picks pixels."""
    indices = np.stack(np.meshgrid([0, 1, -1], [2, 0], indexing="ij"), axis=-1).astype(np.int64)
    nodes = [node("Transpose", "x", "t", perm=[2, 3, 0, 1]), node("GatherND", "t i")]
    check(tmp_path, nodes, (2, 3, 4), {"i": indices})


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


@pytest.mark.parametrize(
    ("nodes", "names"),
    [
        ([node("RandomUniformLike", "x")], ("RandomUniformLike", "the_RandomUniformLike_y", "random")),
        ([node("Cast", "x", "c", to=TensorProto.STRING), node("Cast", "c", to=1)], ("Cast", "STRING")),
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
