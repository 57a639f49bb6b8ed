"""Bad ONNX files one by one, and what cleaning does to good ones."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from lowbit.core.errors import BadInput
from lowbit.core.model import FloatModel
from lowbit.graph.adapt import adapt
from lowbit.graph.clean import clean
from lowbit.graph.load import files_of, load_graph
from lowbit.graph.scores import kind_of_scores
from lowbit.graph.values import dims
from tests.graphs import Floats, build, info, ops, run, saved


def classifier(**options: Any) -> onnx.ModelProto:
    """Average over the image, then a Gemm: the smallest classifier."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "w", "b"], ["scores"], "fc"),
    ]
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(3, 4)).astype(np.float32), "b": rng.normal(size=4).astype(np.float32)}
    return build(nodes, weights, **options)


# --- files that are no model ------------------------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere\.onnx: no such file"):
        load_graph(tmp_path / "nowhere.onnx")


def test_a_folder_with_a_models_name_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "dir.onnx").mkdir()
    with pytest.raises(BadInput, match=r"dir\.onnx: a folder; expected the path of an \.onnx file"):
        load_graph(tmp_path / "dir.onnx")


@pytest.mark.parametrize("content", [b"", b"this is no protobuf at all, but a line of text", bytes(range(256))])
def test_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="not an ONNX model"):
        load_graph(path)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.9, 0.99])
def test_a_truncated_model(tmp_path: Path, tiny_model: FloatModel, share: float) -> None:
    whole = tiny_model.path.read_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BadInput, match="cut short"):
        load_graph(path)


# --- external data ----------------------------------------------------------------------------------------------------


def external(folder: Path) -> Path:
    """The classifier with all its weights in `weights.bin` beside it."""
    path = folder / "model.onnx"
    onnx.save(classifier(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def point_at(path: Path, location: str) -> None:
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())


def test_external_data_are_read_and_digested(tmp_path: Path) -> None:
    path = external(tmp_path)
    assert files_of(path) == [path, tmp_path / "weights.bin"]
    images = np.random.default_rng(1).normal(size=(2, 3, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(run(load_graph(path), images), run(classifier(), images))


@pytest.mark.parametrize(
    "location", ["../weights.bin", "/etc/passwd", "sub/../../weights.bin", "..\\weights.bin", "C:\\weights.bin"]
)
def test_external_data_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = external(folder)
    (folder / "weights.bin").rename(tmp_path / "weights.bin")
    point_at(path, location)
    with pytest.raises(BadInput, match="outside the model's folder"):
        load_graph(path)
    with pytest.raises(BadInput, match="outside the model's folder"):
        files_of(path)


def test_a_symlink_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = external(folder)
    (folder / "weights.bin").rename(tmp_path / "secret.bin")
    (folder / "weights.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(BadInput, match="outside the model's folder"):
        load_graph(path)


def test_a_model_in_a_symlinked_folder_is_fine(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    external(real)
    (tmp_path / "link").symlink_to(real)
    assert load_graph(tmp_path / "link" / "model.onnx").graph.initializer[0].raw_data


def test_missing_external_data_are_named(tmp_path: Path) -> None:
    path = external(tmp_path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(BadInput, match=r"weights\.bin, which does not exist"):
        load_graph(path)


def test_short_external_data(tmp_path: Path) -> None:
    path = external(tmp_path)
    os.truncate(tmp_path / "weights.bin", 8)
    with pytest.raises(BadInput, match="cut short"):
        load_graph(path)


def test_more_than_one_file_can_hold_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = external(tmp_path)
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "length":
            entry.value = str(3 * 2**30)
    path.write_bytes(model.SerializeToString())
    os.truncate(tmp_path / "weights.bin", 4 * 2**30)  # sparse
    with pytest.raises(BadInput, match="less than 2 GiB"):
        load_graph(path)


# --- graphs that are no float classifier ------------------------------------------------------------------------------


def two_inputs() -> onnx.ModelProto:
    model = classifier()
    model.graph.input.append(info("mask", ["batch", 1]))
    return model


def no_output() -> onnx.ModelProto:
    model = classifier()
    del model.graph.output[:]
    return model


def two_outputs() -> onnx.ModelProto:
    model = classifier()
    model.graph.output.append(info("flat", ["batch", 3]))
    return model


def image_of(kind: int) -> onnx.ModelProto:
    model = classifier()
    model.graph.input[0].type.tensor_type.elem_type = kind
    return model


def with_weight(value: float) -> onnx.ModelProto:
    model = classifier()
    broken = numpy_helper.to_array(model.graph.initializer[0]).copy()
    broken[1, 2] = value
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(broken, "w"))
    return model


def feature_map() -> onnx.ModelProto:
    return build([helper.make_node("Relu", ["image"], ["scores"])], {}, scores=("batch", 3, 8, 8))


def custom() -> onnx.ModelProto:
    model = classifier()
    model.graph.node[0].op_type, model.graph.node[0].domain = "FusedPool", "com.acme"
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    return model


def quantized() -> onnx.ModelProto:
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["dq"]),
        helper.make_node("ReduceMean", ["dq", "axes"], ["scores"], keepdims=0),
    ]
    weights = {"s": np.float32(0.1), "z": np.uint8(0), "axes": np.array([2, 3])}
    return build(nodes, {name: np.asarray(value) for name, value in weights.items()}, scores=("batch", 3))


def training() -> onnx.ModelProto:
    model = classifier()
    model.graph.node[2].input[0] = "dropped"
    model.graph.node.insert(2, helper.make_node("Dropout", ["flat", "ratio", "train"], ["dropped"], "drop"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "ratio"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "train"))
    return model


def unknown_operator() -> onnx.ModelProto:
    model = classifier()
    model.graph.node[0].op_type = "GlobalMedianPool"
    return model


REFUSED: list[tuple[Callable[[], onnx.ModelProto], str]] = [
    (two_inputs, r"2 inputs \(image, mask\), expected one image"),
    (no_output, r"0 outputs \(none\)"),
    (two_outputs, r"2 outputs \(scores, flat\)"),
    (lambda: image_of(TensorProto.UINT8), r"'image' uint8 \[batch, 3, 8, 8\], expected float numbers"),
    (lambda: classifier(image=("batch", 192)), r"\[batch, 192\], expected images \[N, C, H, W\]"),
    (lambda: classifier(image=(3, 8, 8)), r"\[3, 8, 8\] has no batch axis"),
    (
        lambda: classifier(image=("batch", 3, "h", "w")),
        "free, and --preprocess does not fix them; give --input-size 8x8",
    ),
    (lambda: with_weight(np.nan), r"1 of the 12 values of 'w' are NaN or infinite"),
    (lambda: with_weight(-np.inf), r"1 of the 12 values of 'w' are NaN or infinite"),
    (feature_map, r"\[batch, 3, 8, 8\], expected class scores"),
    (custom, r"com\.acme\.FusedPool"),
    (
        quantized,
        r"already quantized \(it has DequantizeLinear, QuantizeLinear\); lowbit starts from float.*"
        "`lowbit inspect`.*`lowbit diff`",
    ),
    (training, r"Dropout 'drop' is in training mode"),
    (unknown_operator, "GlobalMedianPool"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_a_graph_that_is_no_float_classifier(tmp_path: Path, make: Callable[[], onnx.ModelProto], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        clean(adapt(load_graph(saved(make(), tmp_path)), "m", (3, 8, 8)).model)
    assert ";" in str(caught.value) or ":" in str(caught.value), "an error says what to do"


def test_initializers_listed_among_the_inputs_do_not_count(tmp_path: Path) -> None:
    model = classifier(ir_version=3, opset=13)
    model.graph.input.extend([info("w", [3, 4]), info("b", [4])])
    cleaned = clean(load_graph(saved(model, tmp_path)))
    assert [value.name for value in cleaned.graph.input] == ["image"]


# --- cleaning ---------------------------------------------------------------------------------------------------------


def images(count: int = 3, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=(count, 3, 8, 8)).astype(np.float32)


def assert_same(model: onnx.ModelProto, cleaned: onnx.ModelProto, *, one_by_one: bool = False) -> None:
    x = images()
    expected = np.concatenate([run(model, x[i : i + 1]) for i in range(3)]) if one_by_one else run(model, x)
    np.testing.assert_allclose(run(cleaned, x), expected, rtol=1e-4, atol=1e-4)


def normalized(norm: dict[str, npt.NDArray[Any]], before: onnx.NodeProto, weights: dict[str, Any]) -> onnx.ModelProto:
    """`before` → BatchNormalization → Dropout → Identity → average → scores."""
    nodes = [
        before,
        helper.make_node("BatchNormalization", ["y", "gamma", "beta", "mean", "var"], ["n"], epsilon=1e-3),
        helper.make_node("Dropout", ["n"], ["d"]),
        helper.make_node("Identity", ["d"], ["i"]),
        helper.make_node("ReduceMean", ["i", "axes"], ["scores"], keepdims=0),
    ]
    return build(nodes, {**weights, **norm, "axes": np.array([2, 3])})


def norm_of(channels: int, rng: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    values = {
        "gamma": rng.normal(size=channels),
        "beta": rng.normal(size=channels),
        "mean": rng.normal(size=channels),
        "var": rng.uniform(0.1, 2, channels),
    }
    return {name: value.astype(np.float32) for name, value in values.items()}


@settings(max_examples=20, deadline=None)
@given(
    kind=st.sampled_from(["Conv", "ConvTranspose"]),
    groups=st.sampled_from([1, 2]),
    bias=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_batchnorm_folds_into_the_convolution(kind: str, groups: int, bias: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = helper.make_node("Conv", ["image", "w0"], ["x"], kernel_shape=[1, 1])  # 3 → 4 channels, so that groups fit
    shape = (4, 4 // groups, 3, 3)  # four in, four out: the same for both kinds
    weights = {"w0": rng.normal(size=(4, 3, 1, 1)), "w": rng.normal(size=shape), "b": rng.normal(size=4)}
    inputs = ["x", "w", "b"] if bias else ["x", "w"]
    before = helper.make_node(kind, inputs, ["y"], kernel_shape=[3, 3], group=groups)
    model = normalized(norm_of(4, rng), before, {name: value.astype(np.float32) for name, value in weights.items()})
    model.graph.node.insert(0, first)
    cleaned = clean(model)
    assert ops(cleaned) == ["Conv", kind, "ReduceMean"]
    assert_same(model, cleaned)


@pytest.mark.parametrize("transposed", [0, 1])
def test_batchnorm_folds_into_a_gemm_with_alpha_and_beta(transposed: int) -> None:
    rng = np.random.default_rng(2)
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["y"], alpha=0.5, beta=2.0, transB=transposed),
        helper.make_node("BatchNormalization", ["y", "gamma", "beta", "mean", "var"], ["scores"]),
    ]
    w, b = rng.normal(size=(4, 3) if transposed else (3, 4)), rng.normal(size=(1, 4))
    model = build(nodes, {"w": w.astype(np.float32), "b": b.astype(np.float32), **norm_of(4, rng)})
    cleaned = clean(model)
    assert ops(cleaned) == ["GlobalAveragePool", "Flatten", "Gemm"]
    assert [value.name for value in cleaned.graph.output] == ["scores"]
    assert_same(model, cleaned)


def test_batchnorm_stays_where_the_convolution_feeds_something_else() -> None:
    rng = np.random.default_rng(3)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["y"], kernel_shape=[3, 3]),
        helper.make_node("BatchNormalization", ["y", "gamma", "beta", "mean", "var"], ["n"]),
        helper.make_node("Add", ["y", "n"], ["a"]),
        helper.make_node("ReduceMean", ["a", "axes"], ["scores"], keepdims=0),
    ]
    w = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    model = build(nodes, {"w": w, "axes": np.array([2, 3]), **norm_of(4, rng)})
    cleaned = clean(model)
    assert "BatchNormalization" in ops(cleaned)
    assert_same(model, cleaned)


def test_a_weight_that_two_convolutions_share_is_scaled_for_one_only() -> None:
    rng = np.random.default_rng(4)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["y"], kernel_shape=[3, 3]),
        helper.make_node("BatchNormalization", ["y", "gamma", "beta", "mean", "var"], ["n"]),
        helper.make_node("Conv", ["image", "w"], ["z"], kernel_shape=[3, 3]),
        helper.make_node("Add", ["n", "z"], ["a"]),
        helper.make_node("ReduceMean", ["a", "axes"], ["scores"], keepdims=0),
    ]
    w = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    model = build(nodes, {"w": w, "axes": np.array([2, 3]), **norm_of(4, rng)})
    cleaned = clean(model)
    assert "BatchNormalization" not in ops(cleaned)
    assert_same(model, cleaned)


def test_a_fixed_batch_of_one_becomes_free() -> None:
    rng = np.random.default_rng(5)
    nodes = [
        helper.make_node("Reshape", ["image", "windows"], ["r"]),  # [1, 3, 8, 8] → [12, 16]: batch in the first axis
        helper.make_node("Relu", ["r"], ["a"]),
        helper.make_node("Reshape", ["a", "rows"], ["f"]),  # → [1, 192]
        helper.make_node("Gemm", ["f", "w"], ["scores"]),
    ]
    weights = {
        "windows": np.array([12, 16]),
        "rows": np.array([1, -1]),
        "w": rng.normal(size=(192, 4)).astype(np.float32),
    }
    model = onnx.shape_inference.infer_shapes(build(nodes, weights, image=(1, 3, 8, 8), scores=(1, 4)))
    cleaned = clean(model)
    assert dims(cleaned.graph.input[0]) == ["batch", 3, 8, 8]
    assert dims(cleaned.graph.output[0]) == ["batch", 4]
    assert_same(model, cleaned, one_by_one=True)


def test_a_batch_of_one_that_is_built_in_is_refused() -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["p"]),
        helper.make_node("Transpose", ["p"], ["t"], perm=[1, 0, 2, 3]),  # the batch goes second: [3, 1, 1, 1]
        helper.make_node("Reshape", ["t", "row"], ["scores"]),  # mixes images when there are two
    ]
    model = build(nodes, {"row": np.array([1, 3])}, image=(1, 3, 8, 8), scores=(1, 3))
    with pytest.raises(BadInput, match=r"a batch size of 1 is built into it.*dynamic batch axis"):
        clean(onnx.shape_inference.infer_shapes(model))


def test_a_free_batch_that_is_only_declared_is_refused() -> None:
    nodes = [
        helper.make_node("Reshape", ["image", "row"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["scores"]),
    ]
    w = np.random.default_rng(6).normal(size=(192, 4)).astype(np.float32)
    with pytest.raises(BadInput, match="a batch size of 1 is built into it"):
        clean(build(nodes, {"row": np.array([1, 192]), "w": w}))


def test_constants_fold() -> None:
    """A chain of Range, Where and ScatterND, as Swin's exports have, leaves one initializer."""
    nodes = [
        helper.make_node("Range", ["zero", "four", "one"], ["r"]),
        helper.make_node("Greater", ["r", "one"], ["large"]),
        helper.make_node("Where", ["large", "r", "zero"], ["chosen"]),
        helper.make_node("ScatterND", ["chosen", "where", "update"], ["bias"]),
        helper.make_node("ReduceMean", ["image", "axes"], ["m"], keepdims=0),
        helper.make_node("Gemm", ["m", "w"], ["g"]),
        helper.make_node("Add", ["g", "bias"], ["scores"]),
    ]
    weights: dict[str, npt.NDArray[Any]] = {
        "zero": np.array(0, np.float32),
        "one": np.array(1, np.float32),
        "four": np.array(4, np.float32),
        "where": np.array([[1]]),
        "update": np.array([7], np.float32),
        "axes": np.array([2, 3]),
        "w": np.eye(3, 4, dtype=np.float32),
    }
    model = build(nodes, weights)
    cleaned = clean(model)
    assert ops(cleaned) == ["ReduceMean", "Gemm", "Add"]
    bias = next(tensor for tensor in cleaned.graph.initializer if tensor.name == cleaned.graph.node[2].input[1])
    np.testing.assert_array_equal(numpy_helper.to_array(bias), [0, 7, 2, 3])
    assert_same(model, cleaned)


def test_an_old_operator_set_is_raised(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["m"], axes=[2, 3], keepdims=0),
        helper.make_node("Squeeze", ["r"], ["s"], axes=[1]),
        helper.make_node("Gemm", ["s", "w"], ["scores"]),
    ]
    nodes.insert(1, helper.make_node("Unsqueeze", ["m"], ["r"], axes=[1]))
    model = build(nodes, {"w": np.eye(3, 4, dtype=np.float32)}, opset=11, ir_version=6)
    cleaned = clean(load_graph(saved(model, tmp_path)))
    assert cleaned.opset_import[0].version == 13
    assert_same(model, cleaned)


def test_names_are_short_unique_and_the_interface_keeps_its_own() -> None:
    model = classifier()
    for number, node in enumerate(model.graph.node):
        node.name = "a/very/long/path/that/the/exporter/wrote" * 3 + str(number)
    model.graph.initializer[0].name = model.graph.node[2].input[1] = "Flatten_1"  # a name that cleaning would give
    cleaned = clean(model)
    assert [node.name for node in cleaned.graph.node] == ["GlobalAveragePool_0", "Flatten_1", "Gemm_2"]
    values = [name for node in cleaned.graph.node for name in node.output]
    values += [tensor.name for tensor in cleaned.graph.initializer]
    assert len(set(values)) == len(values)
    assert (cleaned.graph.input[0].name, cleaned.graph.output[0].name) == ("image", "scores")
    assert_same(model, cleaned)


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    model = classifier()
    model.graph.node[0].op_type, model.graph.node[0].domain = "Average", "my.module"
    body = [helper.make_node("GlobalAveragePool", ["x"], ["y"])]
    model.functions.append(
        helper.make_function("my.module", "Average", ["x"], ["y"], body, [helper.make_opsetid("", 20)])
    )
    model.opset_import.append(helper.make_opsetid("my.module", 1))
    cleaned = clean(load_graph(saved(model, tmp_path)))
    assert ops(cleaned) == ["GlobalAveragePool", "Flatten", "Gemm"]
    assert [entry.domain for entry in cleaned.opset_import] == [""]


def test_cleaning_is_deterministic_and_leaves_its_input_alone(tiny_model: FloatModel) -> None:
    model = load_graph(tiny_model.path)
    before = model.SerializeToString(deterministic=True)
    first = clean(model).SerializeToString(deterministic=True)
    assert model.SerializeToString(deterministic=True) == before
    assert clean(load_graph(tiny_model.path)).SerializeToString(deterministic=True) == first
    again = clean(onnx.load_from_string(first)).SerializeToString(deterministic=True)
    assert again == first, "what is clean stays as it is"


@pytest.mark.parametrize(("name", "kind"), [("cifar10-resnet20", "logits"), ("imagenet-mobilenetv2", "softmax")])
def test_shared_models_score_as_before(shared: Path, name: str, kind: str) -> None:
    path = shared / "models" / f"{name}.onnx"
    cleaned = clean(load_graph(path))
    side = 32 if "cifar" in name else 224
    x = np.random.default_rng(0).normal(size=(4, 3, side, side)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    cpu = ["CPUExecutionProvider"]
    expected = onnxruntime.InferenceSession(str(path), options, providers=cpu).run(None, {"input": x})[0]
    scores = onnxruntime.InferenceSession(cleaned.SerializeToString(), options, providers=cpu).run(None, {"input": x})[
        0
    ]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4)
    assert kind_of_scores(cleaned) == kind
