"""Other types of float, other layouts, free sizes: the float graph is as ours are, and scores as the user's file."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lowbit.core.adapter import Floats
from lowbit.core.errors import BadInput
from lowbit.core.model import FloatModel
from lowbit.core.samples import Samples
from lowbit.data.declare import parse
from lowbit.data.preprocess import to_input
from lowbit.graph.check import check_graph
from lowbit.graph.clean import clean
from lowbit.graph.passes.float32 import OTHERS
from lowbit.graph.values import dims
from lowbit.sources import onnx_file
from lowbit.sources._edge import SourceRequest
from lowbit.sources.check import check_against_source
from tests.graphs import build, info, ops, run, saved

Arrays = dict[str, npt.NDArray[Any]]
node = helper.make_node
COLOUR = (3, 8, 8)


def weights(**shapes: tuple[int, ...]) -> Arrays:
    rng = np.random.default_rng(1)
    return {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def request(
    path: Path, shape: tuple[int, int, int], *, preprocess: str = "unit", size: tuple[int, int] | None = None
) -> SourceRequest:
    channels, height, width = shape
    images = np.random.default_rng(0).integers(0, 256, (11, height, width, channels), np.uint8)
    samples = Samples(Path(), "calibration", "d", tuple("abcd"), images, np.zeros(11, np.int64))
    out = path.parent / "out"
    out.mkdir(exist_ok=True)
    return SourceRequest(str(path), None, shape, 4, samples, parse(preprocess), out, input_size=size)


def loaded(
    model: onnx.ModelProto, folder: Path, shape: tuple[int, int, int] = COLOUR, **options: Any
) -> tuple[FloatModel, onnx.ModelProto]:
    """What the source makes of it, proven to score as the file itself does."""
    asked = request(saved(model, folder), shape, **options)
    made = onnx_file.load(asked)
    graph = onnx.load(made.model.path)
    onnx.checker.check_model(graph)

    def predict(images: Floats) -> Floats:
        return run(graph, images)

    images = to_input(asked.calibration.images, asked.preprocess)
    for part in (images, images[:1]):
        check_against_source(predict, made.predict, part, made.tolerance)
    channels, height, width = shape
    assert dims(graph.graph.input[0]) == ["batch", channels, height, width]
    assert dims(graph.graph.output[0]) == ["batch", made.model.outputs]
    assert (graph.graph.input[0].name, graph.graph.output[0].name) == ("image", "scores")
    kinds = {tensor.data_type for tensor in graph.graph.initializer} | {
        value.type.tensor_type.elem_type for value in (*graph.graph.input, *graph.graph.output, *graph.graph.value_info)
    }
    assert not kinds & set(OTHERS)
    return made.model, graph


def convolution(x: str = "image", y: str = "c") -> onnx.NodeProto:
    return node("Conv", [x, "w"], [y], kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def head(x: str, y: str = "scores") -> list[onnx.NodeProto]:
    return [
        node("GlobalAveragePool", [x], ["pool"]),
        node("Flatten", ["pool"], ["flat"]),
        node("Gemm", ["flat", "fc", "b"], [y]),
    ]


USUAL = weights(w=(6, 3, 3, 3), fc=(6, 4), b=(4,))


# --- types of float ---------------------------------------------------------------------------------------------------


def typed(arrays: Arrays, kind: int) -> Arrays:
    return {name: value.astype(helper.tensor_dtype_to_np_dtype(kind)) for name, value in arrays.items()}


@pytest.mark.parametrize(("kind", "name"), list(OTHERS.items()), ids=list(OTHERS.values()))
@pytest.mark.parametrize("border", ["float32", "own"])
def test_other_floats_become_float32_and_it_is_said(kind: int, name: str, border: str, tmp_path: Path) -> None:
    inside = [
        convolution("x"),
        node("ConstantOfShape", ["four"], ["zeros"], value=helper.make_tensor("v", kind, [1], [0.5])),
        node("EyeLike", ["square"], ["eye"], dtype=kind),
        node("Cast", ["three"], ["scale"], to=kind),
        node("Mul", ["c", "scale"], ["m"]),
        *head("m", "s"),
        node("Add", ["s", "zeros"], ["t"]),
        node("MatMul", ["t", "eye"], ["y"]),
    ]
    if border == "float32":
        nodes = [
            node("Cast", ["image"], ["x"], to=kind),
            *inside,
            node("Cast", ["y"], ["scores"], to=TensorProto.FLOAT),
        ]
    else:
        nodes = [node("Identity", ["image"], ["x"]), *inside, node("Identity", ["y"], ["scores"])]
    arrays = typed(USUAL, kind) | {"four": np.array([4]), "square": np.zeros((4, 4), np.int32), "three": np.array(3)}
    outside = TensorProto.FLOAT if border == "float32" else kind
    model, graph = loaded(build(nodes, arrays, kind=outside, opset=17, ir_version=8), tmp_path)
    assert "Cast" not in ops(graph)
    assert any(f"the model computes in {name}" in note for note in model.notes), model.notes


def test_half_precision_weights_keep_their_values(tmp_path: Path) -> None:
    half = typed(USUAL, TensorProto.FLOAT16)
    nodes = [convolution(), *head("c")]
    _, graph = loaded(build(nodes, half, kind=TensorProto.FLOAT16), tmp_path)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    np.testing.assert_array_equal(stored["w"], half["w"].astype(np.float32))


def test_branches_become_float32_too(tmp_path: Path) -> None:
    kind = TensorProto.FLOAT16
    one = numpy_helper.from_array(np.ones(4, np.float16))
    then = helper.make_graph(
        [node("Constant", [], ["k"], value=one), node("Add", ["y", "k"], ["t"])], "b", [], [info("t", None, kind)]
    )
    otherwise = helper.make_graph([node("Neg", ["y"], ["e"])], "b", [], [info("e", None, kind)])
    nodes = [
        node("Cast", ["image"], ["x"], to=kind),
        convolution("x"),
        *head("c", "y"),
        node("ReduceMax", ["image"], ["most"], keepdims=0),
        node("Less", ["most", "limit"], ["yes"]),
        node("If", ["yes"], ["z"], then_branch=then, else_branch=otherwise),
        node("Cast", ["z"], ["scores"], to=TensorProto.FLOAT),
    ]
    arrays = typed(USUAL, kind) | {"limit": np.array(2, np.float32)}
    loaded(build(nodes, arrays, opset=17, ir_version=8), tmp_path)


# --- images -----------------------------------------------------------------------------------------------------------


def test_channels_last_as_tf2onnx_writes_it_costs_nothing(tmp_path: Path) -> None:
    nodes = [node("Transpose", ["image"], ["x"], perm=[0, 3, 1, 2]), convolution("x"), *head("c")]
    model, graph = loaded(build(nodes, USUAL, image=("unk__1", 8, 8, 3)), tmp_path)
    assert ops(graph) == ["Conv", "GlobalAveragePool", "Flatten", "Gemm"]
    assert model.input_shape == COLOUR
    assert any("as [N, H, W, C]" in note and "take [N, C, H, W]" in note for note in model.notes)


def test_channels_last_without_a_transpose_of_its_own_costs_nothing_either(tmp_path: Path) -> None:
    nodes = [node("ReduceMean", ["image", "axes"], ["m"], keepdims=0), node("Gemm", ["m", "fc", "b"], ["scores"])]
    arrays = weights(fc=(3, 4), b=(4,)) | {"axes": np.array([1, 2])}
    _, graph = loaded(build(nodes, arrays, image=("batch", 8, 8, 3)), tmp_path)
    assert ops(graph) == ["ReduceMean", "Gemm"]


def test_channels_last_that_is_read_in_both_ways(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", ["image"], ["x"], perm=[0, 3, 1, 2]),
        convolution("x"),
        *head("c", "s"),
        node("ReduceMean", ["image", "axes"], ["m"], keepdims=0),
        node("MatMul", ["m", "fc2"], ["u"]),
        node("Add", ["s", "u"], ["scores"]),
    ]
    arrays = USUAL | weights(fc2=(3, 4)) | {"axes": np.array([1, 2])}
    _, graph = loaded(build(nodes, arrays, image=("batch", 8, 8, 3)), tmp_path)
    assert "Transpose" not in ops(graph)


@pytest.mark.parametrize(
    ("image", "shape"),
    [
        (("n", 4, 4, 3), (3, 4, 4)),
        (("n", 3, 4, 3), (3, 4, 3)),
        (("n", 3, 4, 3), (3, 3, 4)),
        (("n", 8, 8, 2), (2, 8, 8)),
    ],
)
def test_the_images_decide_where_the_channels_are(image: Any, shape: tuple[int, int, int], tmp_path: Path) -> None:
    """[N, 3, 4, 3] takes colour images of 4 × 3 or of 3 × 4: what fits is meant."""
    size = int(np.prod(shape))
    nodes = [node("Flatten", ["image"], ["f"]), node("Gemm", ["f", "fc"], ["scores"])]
    model, _ = loaded(build(nodes, weights(fc=(size, 4)), image=image), tmp_path, shape)
    assert model.input_shape == shape
    assert bool(model.notes) == (tuple(image[1:]) != shape)


@pytest.mark.parametrize("batch", ["batch", 1])
def test_grey_images_without_a_channel_axis(batch: Any, tmp_path: Path) -> None:
    nodes = [node("Flatten", ["image"], ["f"]), node("Gemm", ["f", "fc"], ["scores"])]
    model = build(nodes, weights(fc=(48, 4)), image=(batch, 8, 6), scores=(batch, 4))
    made, _ = loaded(model, tmp_path, (1, 8, 6), preprocess="unit,channels=grey")
    assert made.input_shape == (1, 8, 6)
    assert any("[N, H, W]" in note for note in made.notes)


@pytest.mark.parametrize(
    "image", [("batch", 3, "h", "w"), ("batch", "h", "w", 3), (None, None, None, 3), (1, 3, None, None)]
)
def test_free_height_and_width(image: Any, tmp_path: Path) -> None:
    last = image[3] == 3
    nodes = [
        node("Transpose", ["image"], ["x"], perm=[0, 3, 1, 2] if last else [0, 1, 2, 3]),
        convolution("x"),
        *head("c"),
    ]
    model = build(nodes, USUAL, image=image, scores=None)
    asked, _ = loaded(model, tmp_path, size=(8, 8))
    assert any("free: fixed at 8 × 8" in note for note in asked.notes)
    by_crop, _ = loaded(model, tmp_path, preprocess="unit,crop=8")
    assert by_crop.digest == asked.digest
    with pytest.raises(BadInput, match="give --input-size 8x8"):
        loaded(model, tmp_path)
    with pytest.raises(BadInput, match="takes images of 3 × 6 × 8, but preprocessing 'unit' makes 3 × 8 × 8"):
        loaded(model, tmp_path, size=(6, 8))


def test_a_size_that_the_model_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"--input-size 9x9: .*model\.onnx takes images of 8x8"):
        loaded(build([convolution(), *head("c")], USUAL), tmp_path, size=(9, 9))


# --- batch and scores -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [2, 4, 8])
def test_a_fixed_batch_becomes_free(batch: int, tmp_path: Path) -> None:
    nodes = [
        convolution(),
        node("Reshape", ["c", "rows"], ["r"]),
        node("Relu", ["r"], ["a"]),
        node("Reshape", ["a", "maps"], ["back"]),
        *head("back"),
    ]
    arrays = USUAL | {"rows": np.array([batch * 6, 64]), "maps": np.array([batch, 6, 8, 8])}
    model, _ = loaded(build(nodes, arrays, image=(batch, 3, 8, 8), scores=(batch, 4)), tmp_path)
    assert any(f"takes {batch} images at a time" in note for note in model.notes)


@pytest.mark.parametrize("constant", ["tile", "split"])
def test_a_batch_that_is_built_in_is_refused(constant: str) -> None:
    nodes, arrays = [convolution(), *head("c", "s")], dict(USUAL)
    if constant == "tile":
        nodes, arrays["each"] = [*nodes, node("Add", ["s", "each"], ["scores"])], np.ones((3, 4), np.float32)
    else:
        nodes.append(node("Split", ["s"], ["first", "second", "third"], axis=0, num_outputs=3))
        nodes.append(node("Concat", ["first", "third", "second"], ["scores"], axis=0))
    with pytest.raises(BadInput, match="a batch size of 3 is built into it"):
        clean(check_graph(build(nodes, arrays, image=(3, 3, 8, 8), scores=(3, 4)), "m"))


@pytest.mark.parametrize("scores", [("batch", 6, 1, 1), (1, 6, 1, 1), ("batch", 1, 6), ("batch", 6, 1)])
def test_scores_with_axes_of_one(scores: Any, tmp_path: Path) -> None:
    nodes = [convolution(), node("GlobalAveragePool", ["c"], ["scores" if len(scores) == 4 else "pool"])]
    arrays = {"w": USUAL["w"]}
    if len(scores) == 3:
        nodes.append(node("Reshape", ["pool", "shape"], ["scores"]))
        arrays["shape"] = np.array([0, *scores[1:]])
    model, graph = loaded(build(nodes, arrays, image=(scores[0], 3, 8, 8), scores=scores), tmp_path)
    assert ops(graph)[-1] == "Flatten"
    assert model.outputs == 6
    assert any("the float graph gives [N, classes]" in note for note in model.notes)


# --- Gemm -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("bias", [(1, 4), (1,), (), (1, 1), (4,)])
def test_a_gemms_bias_is_one_number_an_output(bias: tuple[int, ...], transposed: int) -> None:
    nodes = [convolution(), *head("c")]
    nodes[-1].attribute.extend([helper.make_attribute("transB", transposed), helper.make_attribute("beta", 0.5)])
    arrays = USUAL | weights(b=bias)
    if transposed:
        arrays["fc"] = np.ascontiguousarray(arrays["fc"].T)
    model = build(nodes, arrays)
    graph = clean(check_graph(model, "m"))
    stored = {tensor.name: list(tensor.dims) for tensor in graph.graph.initializer}
    assert stored["b"] == [4]
    x = np.random.default_rng(2).normal(size=(2, 3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(run(graph, x), run(model, x), rtol=1e-5, atol=1e-5)


def test_a_bias_that_others_read_stays_for_them() -> None:
    nodes = [convolution(), *head("c", "s"), node("Add", ["s", "b"], ["t"]), node("Mul", ["t", "b"], ["scores"])]
    model = build(nodes, USUAL | weights(b=(1, 4)))
    graph = clean(check_graph(model, "m"))
    assert sorted(list(tensor.dims) for tensor in graph.graph.initializer)[:2] == [[1, 4], [4]]
    x = np.random.default_rng(2).normal(size=(2, 3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(run(graph, x), run(model, x), rtol=1e-5, atol=1e-5)


# --- scores that are no numbers ---------------------------------------------------------------------------------------


def test_a_model_that_gives_nan_is_the_users_to_mend() -> None:
    nan = np.full((2, 4), np.nan, np.float32)
    with pytest.raises(BadInput, match="the model gives NaN or infinite scores"):
        check_against_source(lambda _: nan, lambda _: nan, np.zeros((2, 3, 8, 8), np.float32))
