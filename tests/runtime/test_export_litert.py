"""The LiteRT exporter: our codes on LiteRT's integer kernels, and the same result as the ONNX file."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from lowbit.core.adapter import Floats, OpPrecision, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.errors import BadInput, UnsupportedError
from lowbit.formats.onnx.write import export_onnx, layer_file
from lowbit.quant.formats import Format, QParams, qparams_of_range
from lowbit.quant.model import QTensor, QuantizedModel
from lowbit.quant.plan.placement import make_plan
from lowbit.quant.plan.plan import LayerPlan, QuantPlan
from lowbit.quant.plan.scheme import Scheme, widths
from lowbit.quant.prepare import prepare
from lowbit.runtimes import litert as runtime
from tests.quantized import (
    CLASSES,
    INPUT_SHAPE,
    REDUCED,
    quantize_layer,
    random_images,
    small_model,
    weight_format,
)

pytest.importorskip("litert_torch")

from lowbit.formats.litert.write import export_layer_litert, export_litert
from lowbit.quant.ranges.observe import Images

SLOW = pytest.mark.slow  # a conversion takes two seconds
IMAGES = random_images(24, seed=7)


@pytest.fixture(scope="module")
def model() -> QuantizedModel:
    return small_model()


def in_litert(path: Path, images: Floats, batch_size: int = 1) -> tuple[Floats, list[OpPrecision]]:
    artifact = Artifact(path, "tflite", "", INPUT_SHAPE, CLASSES, batch_size)
    with runtime.open_session(artifact, SessionOptions(threads=1, batch_size=batch_size)) as session:
        parts = [session.predict(images[i : i + batch_size]) for i in range(0, len(images), batch_size)]
        return np.concatenate(parts), session.executed_precision()


def in_onnxruntime(proto: onnx.ModelProto | Path, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    source = str(proto) if isinstance(proto, Path) else proto.SerializeToString()
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])


def layer_in_litert(path: Path) -> Callable[[npt.NDArray[np.int8]], npt.NDArray[Any]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(codes: npt.NDArray[np.int8]) -> npt.NDArray[Any]:
        results = []
        for one in codes:
            interpreter.set_tensor(source["index"], one[None])
            interpreter.invoke()
            results.append(interpreter.get_tensor(target["index"]).copy())
        return np.concatenate(results)

    return run


def steps(found: Floats, expected: npt.NDArray[Any]) -> Floats:
    """How far apart scores are, in 255ths of their range: output codes."""
    return np.asarray(np.abs(found - expected) / (np.ptp(expected) / 255), np.float32)


@pytest.mark.parametrize("bits", [(8, 8), (2, 8), pytest.param((6, 8), marks=SLOW), pytest.param((4, 8), marks=SLOW)])
def test_it_gives_what_the_onnx_file_gives(bits: tuple[int, int], tmp_path: Path) -> None:
    model = small_model(weight_bits=bits[0], activation_bits=bits[1], asymmetric=bits[0] < 4)
    export_litert(model, tmp_path / "m.tflite", packed=False)
    export_onnx(model, tmp_path / "m.onnx")
    found, precision = in_litert(tmp_path / "m.tflite", IMAGES)
    assert steps(found, in_onnxruntime(tmp_path / "m.onnx", IMAGES)).max() <= 2
    products = [op for op in precision if op.macs]
    assert [op.op_type for op in products] == ["CONV_2D", "DEPTHWISE_CONV_2D", "BATCH_MATMUL"]
    assert all(op.integer and not op.hybrid for op in products)


@SLOW
@pytest.mark.parametrize("bits", [4, 3])
def test_activations_below_eight_bits(bits: int, tmp_path: Path) -> None:
    """Where kernels round apart, one code of such an activation is many of the scores; it is rare."""
    model = small_model(weight_bits=bits, activation_bits=bits, asymmetric=bits < 4)
    export_litert(model, tmp_path / "m.tflite", packed=False)
    export_onnx(model, tmp_path / "m.onnx")
    found, _ = in_litert(tmp_path / "m.tflite", IMAGES)
    assert (steps(found, in_onnxruntime(tmp_path / "m.onnx", IMAGES)) <= 2).mean() > 0.9


def test_four_bits_are_a_smaller_file_with_the_same_result(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    layer = one_layer("Conv", (64, 32, 3, 3), bits=4)
    results, sizes = [], []
    for packed in (True, False):
        path = tmp_path / f"{packed}.tflite"
        export_litert(layer, path, packed=packed)
        kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES  # one family of kernels for both: no rounding apart
        interpreter = Interpreter(model_path=str(path), experimental_op_resolver_type=kernels, num_threads=1)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images_of(layer, 1))
        interpreter.invoke()
        results.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
        sizes.append(path.stat().st_size)
    np.testing.assert_array_equal(*results)
    assert sizes[1] - sizes[0] == pytest.approx(64 * 32 * 9 / 2, abs=64)


def test_equal_models_give_equal_bytes_whatever_the_batch(model: QuantizedModel, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert export_litert(model, tmp_path / name, metadata={"lowbit": "é"}) == ()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert "é".encode() in (tmp_path / "a").read_bytes()
    export_litert(model, tmp_path / "4", batch_size=4)
    one, _ = in_litert(tmp_path / "a", IMAGES)
    np.testing.assert_array_equal(in_litert(tmp_path / "4", IMAGES, 4)[0], one)


@pytest.mark.parametrize(
    ("op_type", "shape", "attributes", "bits"),
    [
        ("Conv", (8, 6, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}, 8),
        pytest.param("Conv", (12, 6, 1, 1), {}, 4, marks=SLOW),
        pytest.param("Conv", (12, 2, 3, 3), {"group": 3, "dilations": [2, 2]}, 5, marks=SLOW),
        pytest.param("Conv", (12, 1, 3, 3), {"group": 6, "pads": [0, 0, 1, 1]}, 8, marks=SLOW),
        pytest.param("ConvTranspose", (6, 5, 2, 2), {"strides": [2, 2]}, 8, marks=SLOW),
        pytest.param("Gemm", (7, 6), {"transB": 1}, 4, marks=SLOW),
    ],
)
def test_a_layer_alone_takes_and_gives_codes(
    op_type: str, shape: tuple[int, ...], attributes: dict[str, Any], bits: int, tmp_path: Path
) -> None:
    layer = one_layer(op_type, shape, bits=bits, **attributes)
    compare_layer(layer, "layer", tmp_path)


@SLOW
@pytest.mark.parametrize("bits", [8, 4])
def test_layers_inside_a_model(bits: int, tmp_path: Path) -> None:
    model = small_model(weight_bits=bits, activation_bits=bits)
    for node in ("conv1", "dwconv"):
        compare_layer(model, node, tmp_path)


def test_an_int4_convolution_is_off_by_one_code_at_most(tmp_path: Path) -> None:
    """LiteRT's own kernel rounds twice; XNNPACK, which rounds once, has no int4 convolution."""
    compare_layer(small_model(weight_bits=4), "conv1", tmp_path, packed=True, equal=0.95)


def test_a_dead_channel_with_a_large_bias_beside_int4(tmp_path: Path) -> None:
    """XNNPACK's int4 kernel sums 16 times the product in 32 bits: a bias of 2³⁰ would overflow there without a word."""
    layer = one_layer("Conv", (16, 8, 1, 1), bits=4)
    given = layer.layers["layer"]
    assert given.bias is not None and given.bias_scale is not None
    codes, bias, scale = given.weight.codes.copy(), given.bias.copy(), given.weight.qparams.scale.copy()
    codes[3], bias[3], scale[3] = 0, 2**30, 1e-9
    bias_scale = (layer.main["x"].scale * scale.reshape(-1)).astype(np.float32)
    weight = QTensor(codes, replace(given.weight.qparams, scale=scale))
    changed = replace(given, weight=weight, bias=bias, bias_scale=bias_scale)
    compare_layer(replace(layer, layers={"layer": changed}), "layer", tmp_path, packed=True)


def test_refusals(model: QuantizedModel, tmp_path: Path) -> None:
    wide = QParams(Format(16), np.array(0.1, np.float32), np.array(0, np.int32))
    with pytest.raises(UnsupportedError, match="16-bit activations"):
        export_litert(replace(model, main={**model.main, "r1": wide}), tmp_path / "m.tflite")
    grouped = model.layers["fc"].weight
    kind = Format(8, signed=True, symmetric=True, granularity="group", group_size=4)
    weight = QTensor(grouped.codes, replace(grouped.qparams, format=kind))
    layers = {**model.layers, "fc": replace(model.layers["fc"], weight=weight)}
    with pytest.raises(UnsupportedError, match="fc"):
        export_litert(replace(model, layers=layers), tmp_path / "m.tflite")
    with pytest.raises(BadInput, match="flatten"):
        export_layer_litert(model, "flatten", tmp_path / "m.tflite")
    assert not list(tmp_path.iterdir())


@SLOW
def test_float_operators_stand_between_integer_ones(tmp_path: Path) -> None:
    """Max and average pooling, Concat, Sigmoid, a product of two tensors, HardSwish, Gelu, Softmax."""
    engine = pytest.importorskip("lowbit.quant.engine")
    onnx.save(branches(), tmp_path / "float.onnx")
    graph = prepare(tmp_path / "float.onnx")
    plan = make_plan(graph, "", Scheme(8, 8, rounding="nearest", reduce_range=REDUCED))
    images = random_images(32, seed=3)
    model = engine.quantize(graph, plan, Images(len(images), lambda _: iter([images])))
    notes = export_litert(model, tmp_path / "m.tflite")
    export_onnx(model, tmp_path / "m.onnx")
    found, precision = in_litert(tmp_path / "m.tflite", IMAGES)
    assert steps(found, in_onnxruntime(tmp_path / "m.onnx", IMAGES)).mean() <= 0.5  # pooling rounds halves elsewhere
    assert all(op.integer for op in precision if op.macs)
    assert any("SOFTMAX" in note for note in notes)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["w8a8", "w4a8"])
def test_resnet20(recipe: str, shared: Path, tmp_path: Path) -> None:
    engine = pytest.importorskip("lowbit.quant.engine")
    graph = prepare(shared / "models" / "cifar10-resnet20.onnx")
    plan = make_plan(graph, "", Scheme(*widths(recipe), rounding="nearest", reduce_range=REDUCED))
    images = np.random.default_rng(0).normal(0, 1, (64, 3, 32, 32)).astype(np.float32)
    model = engine.quantize(graph, plan, Images(len(images), lambda _: iter([images])))
    export_litert(model, tmp_path / "m.tflite")
    export_onnx(model, tmp_path / "m.onnx")
    artifact = Artifact(tmp_path / "m.tflite", "tflite", "", (3, 32, 32), 10, 1)
    with runtime.open_session(artifact, SessionOptions(threads=1, batch_size=1)) as session:
        found = np.concatenate([session.predict(images[i : i + 1]) for i in range(len(images))])
        products = [op for op in session.executed_precision() if op.macs]
    assert len(products) == 20
    assert all(op.integer and not op.hybrid for op in products)
    assert np.median(steps(found, in_onnxruntime(tmp_path / "m.onnx", images))) <= 1


def compare_layer(
    model: QuantizedModel, node: str, folder: Path, *, packed: bool = False, equal: float = 0.999
) -> None:
    """The layer alone in LiteRT and in ONNX Runtime, on the same random codes: at most one code apart, and rarely."""
    path = folder / f"{node}.tflite"
    export_layer_litert(model, node, path, packed=packed)
    inside = next(other for other in model.graph.graph if other.name == node)
    x = inside.inputs[0]
    assert x is not None and x.shape is not None
    reads = model.read_as(inside, x)
    assert reads is not None
    sizes = [size for size in list(x.shape)[1:] if isinstance(size, int)]
    codes = np.random.default_rng(5).integers(0, reads.format.highest + 1, (32, *sizes)).astype(np.uint8)
    expected = np.asarray(in_onnxruntime(layer_file(model, node), codes), np.int32)
    found = np.asarray(layer_in_litert(path)((codes.astype(np.int32) + 127 - reads.format.highest).astype(np.int8)))
    assert found.dtype == np.int8
    apart = np.abs(found.astype(np.int32) + 128 - expected)
    assert apart.max() <= 1
    assert (apart == 0).mean() >= equal
    assert expected.std() > 3  # codes that say something


def one_layer(op_type: str, shape: tuple[int, ...], *, bits: int, **attributes: Any) -> QuantizedModel:
    """x → layer → y, both u8, with random weights of `shape`."""
    rng = np.random.default_rng(1)
    axis = 1 if op_type == "ConvTranspose" else 0
    channels = shape[1] * attributes.get("group", 1) if axis == 0 else shape[0]
    weight = rng.normal(0, 1, shape).astype(np.float32)
    bias = rng.normal(0, 1, shape[axis]).astype(np.float32)
    if op_type != "Gemm":
        attributes["kernel_shape"] = list(shape[2:])
    size = [channels] if op_type == "Gemm" else [channels, 9, 9]
    node = helper.make_node(op_type, ["x", "w", "b"], ["y"], "layer", **attributes)
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    proto = onnx.shape_inference.infer_shapes(proto)
    reads = qparams_of_range(Format(8), -2.0, 3.0)
    spread = 8.0 * (weight.size / shape[axis]) ** 0.5
    main = {"x": reads, "y": qparams_of_range(Format(8), -spread, spread)}
    layer = quantize_layer("layer", weight, bias, reads, weight_format(bits), axis=axis)
    plan = QuantPlan("", "", (LayerPlan("layer", op_type, "w", layer.weight.qparams.format, 8, "nearest"),), (), ())
    return QuantizedModel(ir.from_proto(proto), plan, {"layer": layer}, main, {}, {}, frozenset())


def images_of(model: QuantizedModel, count: int) -> Floats:
    shape = model.graph.graph.inputs[0].shape
    assert shape is not None
    sizes = [size for size in list(shape)[1:] if isinstance(size, int)]
    return np.random.default_rng(2).normal(0, 1, (count, *sizes)).astype(np.float32)


def branches() -> onnx.ModelProto:
    rng = np.random.default_rng(4)

    def initializer(name: str, *shape: int) -> onnx.TensorProto:
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 25
        return numpy_helper.from_array(rng.normal(0, 1.4 * fan_in**-0.5, shape).astype(np.float32), name)

    same: dict[str, Any] = {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "conv1", **same),
        helper.make_node("HardSwish", ["c1"], ["h1"], "hardswish"),
        helper.make_node("MaxPool", ["h1"], ["m1"], "maxpool", pads=[1, 1, 1, 1], kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node("AveragePool", ["h1"], ["p1"], "avgpool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Concat", ["m1", "p1"], ["k1"], "concat", axis=1),
        helper.make_node("Conv", ["k1", "w2", "b2"], ["c2"], "conv2", **same),
        helper.make_node("Sigmoid", ["c2"], ["s2"], "sigmoid"),
        helper.make_node("Mul", ["c2", "s2"], ["a2"], "silu"),
        helper.make_node("Mul", ["a2", "k1"], ["g2"], "gate"),
        helper.make_node("Relu", ["g2"], ["r2"], "relu"),
        helper.make_node("GlobalAveragePool", ["r2"], ["q2"], "pool"),
        helper.make_node("Flatten", ["q2"], ["f2"], "flatten"),
        helper.make_node("Gemm", ["f2", "w3", "b3"], ["l3"], "fc1", transB=1),
        helper.make_node("Gelu", ["l3"], ["e3"], "gelu"),
        helper.make_node("Gemm", ["e3", "w4", "b4"], ["l4"], "fc2", transB=1),
        helper.make_node("Softmax", ["l4"], ["y"], "softmax", axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "branches",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *INPUT_SHAPE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", CLASSES])],
        [
            *(initializer("w1", 8, 3, 3, 3), initializer("b1", 8)),
            *(initializer("w2", 16, 16, 3, 3), initializer("b2", 16)),
            *(initializer("w3", 12, 16), initializer("b3", 12)),
            *(initializer("w4", CLASSES, 12), initializer("b4", CLASSES)),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model
