"""Graphs in the style of exporters old and new: each becomes a float graph that scores as the file does."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lowbit.graph.adapt import adapt
from lowbit.graph.check import check_graph
from lowbit.graph.clean import clean
from tests.graphs import info, ops, run

Arrays = dict[str, npt.NDArray[Any]]
node = helper.make_node
rng = np.random.default_rng(0)
IMAGES = rng.normal(size=(4, 3, 16, 16)).astype(np.float32)


def normal(*shape: int) -> npt.NDArray[np.float32]:
    return rng.normal(0, 0.4, shape).astype(np.float32)


def constant(name: str, value: Any) -> onnx.NodeProto:
    return node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value)))


def norm(channels: int) -> Arrays:
    return {name: normal(channels) for name in ("gamma", "beta", "mean")} | {"var": np.abs(normal(channels)) + 0.5}


NORM = ["gamma", "beta", "mean", "var"]
END = [node("Gemm", ["f", "fw", "fb"], ["scores"])]
POOLED = [node("GlobalAveragePool", ["last"], ["p"]), node("Flatten", ["p"], ["f"]), *END]
FC = {"fw": normal(6, 5), "fb": normal(5)}
CONV = {"w": normal(6, 3, 3, 3)}


def written(
    nodes: list[onnx.NodeProto],
    weights: Arrays,
    opset: int,
    *,
    image: Any = (1, 3, 16, 16),
    scores: Any = (1, 5),
    listed: bool = False,
) -> onnx.ModelProto:
    """listed: weights stand among the inputs too, one of them before the image, as before IR version 4."""
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    inputs = [info("image", image)]
    if listed:
        inputs[:0] = [info(tensors[0].name, tensors[0].dims, tensors[0].data_type)]
        inputs += [info(tensor.name, tensor.dims, tensor.data_type) for tensor in tensors[1:]]
    graph = helper.make_graph(nodes, "g", inputs, [info("scores", scores)], tensors)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=3 if listed else 4 + opset // 3
    )


def cleaned(model: onnx.ModelProto) -> onnx.ModelProto:
    """The float graph, proven to score as the file does."""
    image = next(value for value in model.graph.input if value.name == "image")
    sides = [dim.dim_value for dim in image.type.tensor_type.shape.dim]
    given = IMAGES.transpose(0, 2, 3, 1).copy() if sides[3] == 3 else IMAGES
    step = sides[0] if sides[0] > 0 else 4
    expected = np.concatenate([run(model, given[i : i + step]) for i in range(0, 4, step)]).reshape(4, -1)
    result = clean(adapt(check_graph(model, "m"), "m", (3, 16, 16)).model, "m")
    np.testing.assert_allclose(run(result, IMAGES), expected, rtol=1e-4, atol=1e-4)
    return result


@pytest.mark.parametrize("opset", [7, 8, 9, 10])
def test_old_pytorch(opset: int) -> None:
    """Numbers for names, weights among the inputs, Dropout with its mask, a shape computed from the batch's."""
    spatial: dict[str, Any] = {"spatial": 1} if opset < 9 else {}
    nodes = [
        node("Conv", ["image", "1"], ["10"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["10", *NORM], ["11"], momentum=0.9, **spatial),
        node("MaxPool", ["11"], ["13"], kernel_shape=[4, 4], strides=[4, 4]),
        node("Shape", ["13"], ["14"]),
        constant("15", 0),
        node("Gather", ["14", "15"], ["16"]),
        constant("17", -1),
        node("Unsqueeze", ["16"], ["18"], axes=[0]),
        node("Unsqueeze", ["17"], ["19"], axes=[0]),
        node("Concat", ["18", "19"], ["20"], axis=0),
        node("Reshape", ["13", "20"], ["21"]),
        node("Dropout", ["21"], ["22", "23"] if opset < 10 else ["22"], ratio=0.5),
        node("Gemm", ["22", "fw", "fb"], ["scores"], transB=1),
    ]
    weights = {"1": normal(6, 3, 3, 3), **norm(6), "fw": normal(5, 96), "fb": normal(5)}
    assert ops(cleaned(written(nodes, weights, opset, listed=True))) == ["Conv", "MaxPool", "Reshape", "Gemm"]


def test_cntk() -> None:
    """SAME_UPPER, the bias an Add of [C, 1, 1], the last matrix stored in four axes."""
    nodes = [
        node("Div", ["image", "most"], ["d"]),
        node("Conv", ["d", "w"], ["c"], auto_pad="SAME_UPPER", kernel_shape=[5, 5]),
        node("Add", ["c", "bias"], ["cb"]),
        node("MaxPool", ["cb"], ["p"], auto_pad="NOTSET", kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", ["p", "s"], ["f"]),
        node("Reshape", ["fw4", "fws"], ["fw"]),
        node("MatMul", ["f", "fw"], ["m"]),
        node("Add", ["m", "fb"], ["scores"]),
    ]
    weights = {
        "most": np.array(255, np.float32),
        "w": normal(8, 3, 5, 5),
        "bias": normal(8, 1, 1),
        "s": np.array([1, 512]),
        "fw4": normal(8, 8, 8, 5),
        "fws": np.array([512, 5]),
        "fb": normal(1, 5),
    }
    cleaned(written(nodes, weights, 8, listed=True))


def test_keras2onnx() -> None:
    """Channels last, every operator before those it reads."""
    nodes = [
        node("Transpose", ["image"], ["t"], perm=[0, 3, 1, 2]),
        node("Conv", ["t", "w"], ["c"], auto_pad="SAME_UPPER", kernel_shape=[3, 3], strides=[4, 4]),
        node("Transpose", ["c"], ["t2"], perm=[0, 2, 3, 1]),
        node("Identity", ["t2"], ["t3"]),
        node("Flatten", ["t3"], ["f"]),
        node("MatMul", ["f", "fw"], ["m"]),
        node("Softmax", ["m"], ["scores"], axis=1),
    ]
    model = written(nodes[::-1], CONV | {"fw": normal(96, 5)}, 11, image=("N", 16, 16, 3), scores=("N", 5))
    assert ops(cleaned(model)) == ["Conv", "Flatten", "MatMul", "Softmax"]


def test_tf2onnx() -> None:
    """The mean is subtracted channels last; the shape goes through Cast, Slice, Squeeze and Concat in int32."""
    nodes = [
        node("Sub", ["image", "mean"], ["s"]),
        node("Mul", ["s", "inverse"], ["s2"]),
        node("Transpose", ["s2"], ["t"], perm=[0, 3, 1, 2]),
        node("Pad", ["t"], ["pd"], mode="constant", pads=[0, 0, 0, 0, 0, 0, 1, 1], value=0.0),
        node("Conv", ["pd", "w"], ["c"], kernel_shape=[3, 3], strides=[4, 4]),
        node("Transpose", ["c"], ["back"], perm=[0, 2, 3, 1]),
        node("Clip", ["back"], ["r6"], min=0.0, max=6.0),
        node("Transpose", ["r6"], ["again"], perm=[0, 3, 1, 2]),
        node("Shape", ["again"], ["sh"]),
        node("Cast", ["sh"], ["sh32"], to=TensorProto.INT32),
        node("Slice", ["sh32"], ["b"], axes=[0], starts=[0], ends=[1]),
        node("Squeeze", ["b"], ["b0"], axes=[0]),
        node("Unsqueeze", ["b0"], ["b1"], axes=[0]),
        node("Concat", ["b1", "rest"], ["tg"], axis=0),
        node("Cast", ["tg"], ["tg64"], to=TensorProto.INT64),
        node("Reshape", ["again", "tg64"], ["f"]),
        node("MatMul", ["f", "fw"], ["scores"]),
    ]
    weights = CONV | {"mean": normal(3), "inverse": normal(3), "rest": np.array([96], np.int32), "fw": normal(96, 5)}
    model = written(nodes, weights, 9, image=("unk__1", 16, 16, 3), scores=("unk__2", 5))
    assert ops(cleaned(model)) == ["Sub", "Mul", "Conv", "Clip", "Reshape", "MatMul"]


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(
    ("op_type", "opset", "scale"),
    [("Upsample", 8, 1.5), ("Upsample", 9, 3.0), ("Resize", 10, 0.5), ("Resize", 10, 1.5), ("Resize", 10, 3.0)],
)
def test_resizing_of_before_operator_set_11(op_type: str, opset: int, scale: float, mode: str) -> None:
    """Where samples lie was not said then, and the default has changed since."""
    scales: Any = {"scales": [1.0, 1.0, scale, scale]} if opset == 8 else {}
    resized = node(op_type, ["image"] if scales else ["image", "sc"], ["u"], mode=mode, **scales)
    nodes = [resized, node("Conv", ["u", "w"], ["c"], strides=[3, 3]), node("GlobalMaxPool", ["c"], ["last"]), *POOLED]
    weights = CONV | FC | ({} if scales else {"sc": np.array([1, 1, scale, scale], np.float32)})
    cleaned(written(nodes, weights, opset))


def test_shuffled_channels_of_old_pytorch() -> None:
    """Slice and Split with attributes, shapes computed from the batch's twice."""
    nodes = [
        node("Conv", ["image", "w"], ["c"], pads=[1, 1, 1, 1]),
        node("Slice", ["c"], ["s1"], axes=[1], starts=[0], ends=[4]),
        node("Slice", ["c"], ["s2"], axes=[1], starts=[4], ends=[8]),
        node("Relu", ["s1"], ["r1"]),
        node("Concat", ["r1", "s2"], ["cc"], axis=1),
        node("Shape", ["cc"], ["sh"]),
        constant("zero", 0),
        node("Gather", ["sh", "zero"], ["b"]),
        node("Unsqueeze", ["b"], ["b1"], axes=[0]),
        node("Concat", ["b1", "split"], ["to5"], axis=0),
        node("Reshape", ["cc", "to5"], ["v"]),
        node("Transpose", ["v"], ["vt"], perm=[0, 2, 1, 3, 4]),
        node("Concat", ["b1", "joined"], ["to4"], axis=0),
        node("Reshape", ["vt", "to4"], ["vb"]),
        node("Split", ["vb"], ["x1", "x2"], axis=1, split=[4, 4]),
        node("Sub", ["x1", "x2"], ["xa"]),
        node("ReduceMean", ["xa"], ["f"], axes=[2, 3], keepdims=0),
        *END,
    ]
    weights = {"w": normal(8, 3, 3, 3), "split": np.array([2, 4, 16, 16]), "joined": np.array([-1, 16, 16])}
    weights |= {"fw": normal(4, 5), "fb": normal(5)}
    result = cleaned(written(nodes, weights, 9, image=("batch", 3, 16, 16), scores=("batch", 5)))
    assert not {"Shape", "Gather"} & set(ops(result))


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("stored", ["constant", "Expand"])
def test_a_transformer_of_a_fixed_batch(stored: str, batch: int) -> None:
    """Its class token is one for every image of the batch that was exported."""
    nodes = [
        node("Conv", ["image", "w"], ["c"], kernel_shape=[16, 16]),
        node("Reshape", ["c", "s"], ["r"]),
        node("Concat", ["token", "r"], ["cc"], axis=1),
        node("ReduceMean", ["cc"], ["f"], axes=[1], keepdims=0),
        *END,
    ]
    weights = {"w": normal(6, 3, 16, 16), "s": np.array([batch, 1, 6]), **FC}
    if stored == "Expand":
        nodes.insert(2, node("Expand", ["one", "shape"], ["token"]))
        weights |= {"one": normal(1, 1, 6), "shape": np.array([batch, 1, 6])}
    else:
        weights["token"] = normal(1, 1, 6).repeat(batch, axis=0)
    cleaned(written(nodes, weights, 11, image=(batch, 3, 16, 16), scores=(batch, 5)))


def test_mxnet_squeezenet() -> None:
    """The scores are what a pooling leaves, [1, K, 1, 1]."""
    nodes = [
        node("Conv", ["image", "w"], ["c"]),
        node("Dropout", ["c"], ["d"], ratio=0.5),
        node("AveragePool", ["d"], ["scores"], kernel_shape=[14, 14]),
    ]
    model = written(nodes, CONV, 7, scores=(1, 6, 1, 1), listed=True)
    assert ops(cleaned(model)) == ["Conv", "AveragePool", "Flatten"]


@pytest.mark.parametrize("opset", [8, 9, 12])
def test_softmax_of_before_operator_set_13_sums_over_all_later_axes(opset: int) -> None:
    nodes = [
        node("Conv", ["image", "w"], ["c"], strides=[5, 5]),
        node("Softmax", ["c"], ["s"]),
        node("GlobalMaxPool", ["s"], ["last"]),
        *POOLED,
    ]
    cleaned(written(nodes, CONV | FC, opset))


def test_weights_that_two_layers_share_through_an_identity() -> None:
    nodes = [
        node("Identity", ["w"], ["w2"]),
        node("Conv", ["image", "w"], ["c"], pads=[1, 1, 1, 1]),
        node("Conv", ["c", "w2"], ["c2"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c2", *NORM], ["last"]),
        *POOLED,
    ]
    weights = {"w": normal(3, 3, 3, 3), **norm(3), "fw": normal(3, 5), "fb": normal(5)}
    assert ops(cleaned(written(nodes, weights, 13)))[:2] == ["Conv", "Conv"]


def test_a_file_whose_output_has_no_shape() -> None:
    assert ops(cleaned(written([node("Conv", ["image", "w"], ["last"]), *POOLED], CONV | FC, 13, scores=None)))
