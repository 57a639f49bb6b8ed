"""The ONNX Runtime adapters beyond their contracts: what the files hold, and what executed precision sees."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from lowbit.core.adapter import BuildRequest, OpPrecision, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.codec import from_plain
from lowbit.core.errors import UnsupportedError
from lowbit.core.model import FloatModel
from lowbit.core.preprocess import Preprocess
from lowbit.core.samples import Samples
from lowbit.runtimes import onnxruntime as runtime
from lowbit.toolchains import onnxruntime as toolchain

PREPROCESS = Preprocess("imagenet", resize=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def build(recipe: str, model: FloatModel, samples: Samples, out: Path) -> onnx.ModelProto:
    chosen = next(r for r in toolchain.INFO.recipes if r.name == recipe)
    built = toolchain.build(BuildRequest(model, chosen, samples, PREPROCESS, out, out, 1, threads=1, seed=0))
    return onnx.load(built.main)


def artifact(path: Path, shape: tuple[int, int, int], outputs: int) -> Artifact:
    return Artifact(path, "onnx", "", shape, outputs)


def one_layer(path: Path, node: onnx.NodeProto, weight: tuple[int, ...], x: tuple[int, ...]) -> Path:
    """A model of one operator with weight `w`; its batch is free."""
    graph = helper.make_graph(
        [node],
        "one layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *x])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones(weight, np.float32), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def multiplying(path: Path, shape: tuple[int, int, int], outputs: int) -> list[OpPrecision]:
    with runtime.open_session(artifact(path, shape, outputs), SessionOptions(batch_size=4)) as session:
        return [operator for operator in session.executed_precision() if operator.macs]


def test_preprocessing_travels_in_the_file(tiny_model: FloatModel, tiny_samples: Samples, tmp_path: Path) -> None:
    for recipe in toolchain.INFO.recipes:
        props = {p.key: p.value for p in build(recipe.name, tiny_model, tiny_samples, tmp_path).metadata_props}
        assert from_plain(Preprocess, json.loads(props["lowbit.preprocess"])) == PREPROCESS


def test_every_file_is_valid_onnx(tiny_model: FloatModel, tiny_samples: Samples, tmp_path: Path) -> None:
    for recipe in toolchain.INFO.recipes:
        model = build(recipe.name, tiny_model, tiny_samples, tmp_path)
        onnx.checker.check_model(model, full_check=recipe.name != "int8-dynamic")  # it has operators of Microsoft's
        assert [model.graph.input[0].name, model.graph.output[0].name] == ["input", "logits"]
        assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param


def test_static_weights_are_int8_per_channel(tiny_model: FloatModel, tiny_samples: Samples, tmp_path: Path) -> None:
    graph = build("int8-static", tiny_model, tiny_samples, tmp_path).graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    pairs = [
        (constants[node.input[0]], constants[node.input[1]])
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in constants
    ]
    weights = {values.shape: (values.dtype.name, scales.shape) for values, scales in pairs if values.ndim > 1}
    assert weights == {
        (8, 3, 3, 3): ("int8", (8,)),
        (8, 8, 3, 3): ("int8", (8,)),
        (4, 8): ("int8", (4,)),
    }
    assert not any(values.ndim > 1 and values.dtype == np.float32 for values in constants.values())


def test_operators_keep_their_names(tiny_model: FloatModel, tiny_samples: Samples, tmp_path: Path) -> None:
    names = {node.name for node in build("int8-static", tiny_model, tiny_samples, tmp_path).graph.node}
    assert {"conv1", "conv2", "add1", "fc"} <= names


def test_stated_shapes_of_weights_do_no_harm(tiny_model: FloatModel, tiny_samples: Samples, tmp_path: Path) -> None:
    """Exporters list weights in value_info; dynamic quantization transposes Gemm's and would trip over it."""
    model = onnx.load(tiny_model.path)
    model.graph.value_info.append(helper.make_tensor_value_info("w3", TensorProto.FLOAT, [4, 8]))
    source = tmp_path / "listed.onnx"
    onnx.save(model, source)
    listed = FloatModel(source, "", "listed", "", "", "input", "logits", (3, 8, 8), 4, probabilities=False)
    assert build("int8-dynamic", listed, tiny_samples, tmp_path)


@pytest.mark.parametrize("recipe", ["fp32", "int8-dynamic", "int8-static", "int16x8"])
def test_the_profiled_session_has_the_kernels_of_the_measured_one(
    recipe: str, tiny_model: FloatModel, tiny_samples: Samples, tmp_path: Path
) -> None:
    """Executed precision leaves out the layout step: it may move data, but not change what is computed on integers."""
    build(recipe, tiny_model, tiny_samples, tmp_path)
    seen = Counter(o.integer for o in multiplying(tmp_path / "model.onnx", (3, 8, 8), 4))
    options = runtime._session_options(SessionOptions())
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    ort.InferenceSession(str(tmp_path / "model.onnx"), options, providers=["CPUExecutionProvider"])
    executed = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert seen == Counter(op in runtime._INTEGER for op in executed if op in runtime._OPERANDS)


def test_a_real_network_runs_on_integers(shared: Path, tmp_path: Path) -> None:
    """ResNet-20 with its Slice and Pad shortcuts: a stem, three stages of six convolutions, and a classifier."""
    stages = [
        16 * 3 * 9 * 32**2 + 6 * 16 * 16 * 9 * 32**2,
        32 * 9 * 16**2 * (16 + 5 * 32),
        64 * 9 * 8**2 * (32 + 5 * 64),
    ]
    pictures = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    samples = Samples(tmp_path, "calibration", "", ("a",), pictures, np.zeros(4, np.int64))
    path = shared / "models/cifar10-resnet20.onnx"
    model = FloatModel(path, "", "resnet20", "", "", "input", "logits", (3, 32, 32), 10, probabilities=False)
    for recipe, integer in (("int8-static", True), ("int8-dynamic", True), ("int16x8", False)):
        build(recipe, model, samples, tmp_path)
        operators = multiplying(tmp_path / "model.onnx", (3, 32, 32), 10)
        assert sum(o.macs for o in operators) == sum(stages) + 64 * 10
        assert {o.integer for o in operators} == {integer}
    weights = sum(np.prod(i.dims) for i in onnx.load(path).graph.initializer)
    build("int8-static", model, samples, tmp_path)
    assert (tmp_path / "model.onnx").stat().st_size < 1.1 * weights  # a byte a weight, and little else


def test_macs_of_every_kind_of_layer(tmp_path: Path) -> None:
    """Counted by hand: outputs times the products that each of them sums."""
    make = helper.make_node
    depthwise = make("Conv", ["x", "w"], ["y"], group=6, strides=[2, 2], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    grouped = make("Conv", ["x", "w"], ["y"], group=2, kernel_shape=[1, 1])
    transposed = make("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], kernel_shape=[2, 2])
    cases = [
        (depthwise, (6, 1, 3, 3), 6 * 4 * 4 * 9),
        (grouped, (10, 3, 1, 1), 10 * 8 * 8 * 3),
        (transposed, (6, 5, 2, 2), 6 * 8 * 8 * 5 * 4),
        (make("MatMul", ["x", "w"], ["y"]), (8, 7), 6 * 8 * 7 * 8),
        (make("MatMul", ["x", "w"], ["y"]), (6, 8, 7), 6 * 8 * 7 * 8),
    ]
    for node, weight, macs in cases:
        path = one_layer(tmp_path / "layer.onnx", node, weight, (6, 8, 8))
        assert [o.macs for o in multiplying(path, (6, 8, 8), 7)] == [macs], (node.op_type, weight)


def test_a_float_operator_says_who_feeds_it(tiny_model: FloatModel, tiny_samples: Samples, tmp_path: Path) -> None:
    reasons = {o.name: o.reason for o in multiplying(tiny_model.path, (3, 8, 8), 4)}
    assert reasons["conv1"] == "runs on f32 inputs from the model's input"
    assert reasons["fc"] == "runs on f32 inputs from Flatten"
    build("int16x8", tiny_model, tiny_samples, tmp_path)
    operators = multiplying(tmp_path / "model.onnx", (3, 8, 8), 4)
    assert {o.name for o in operators} == {"conv1", "conv2", "fc"}
    assert all("dequantized first" in o.reason for o in operators)


def test_the_one_operator_model_is_what_its_comment_says() -> None:
    shape = [1, 8, 8, 8]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "one operator",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.ones((8, 8, 1, 1), np.float32), "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert onnx.load_from_string(runtime._ONE_CONVOLUTION) == made
    onnx.checker.check_model(made, full_check=True)


def test_warming_up_imports_no_tool() -> None:
    """What it imports is charged to ONNX Runtime."""
    code = (
        "import sys; from lowbit.core.adapter import SessionOptions;"
        "from lowbit.runtimes import onnxruntime as runtime;"
        "runtime.warm_up(SessionOptions()); print('onnxruntime' in sys.modules, 'onnx' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_refusals_keep_the_vendors_words(tmp_path: Path) -> None:
    node = helper.make_node("NoSuchOperator", ["x", "w"], ["y"])
    path = one_layer(tmp_path / "odd.onnx", node, (1,), (3, 8, 8))
    session = runtime.open_session(artifact(path, (3, 8, 8), 4), SessionOptions())
    with pytest.raises(UnsupportedError, match="NoSuchOperator") as caught, session:
        pass
    assert caught.value.__cause__ is not None
