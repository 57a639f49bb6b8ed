"""The ONNX exporter, as ONNX Runtime and OpenVINO see its files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from lowbit.core.adapter import SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.errors import BadInput, UnsupportedError
from lowbit.formats.onnx.write import export_onnx, layer_file, weight_names
from lowbit.quant.formats import Format, QParams, qparams_of_range
from lowbit.quant.model import QTensor, QuantizedLayer, QuantizedModel
from lowbit.quant.plan.plan import LayerPlan, QuantPlan
from lowbit.quant.prepare import prepare
from lowbit.runtimes import openvino
from tests.quantized import by_hand, quantize_weight, random_images, small_model
from tests.runtime.exported import network, run_ort, run_ov

torch.set_num_threads(1)


def every_kind() -> onnx.ModelProto:
    """A strided, a grouped, a depthwise and a 1-D convolution and a Gemm; no count of weights is a multiple of 8."""
    return network(
        [
            helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "first", pads=[1] * 4, strides=[2, 2]),
            helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
            helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "grouped", pads=[1] * 4, group=3),
            helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
            helper.make_node("Conv", ["r2", "w3", "b3"], ["c3"], "depthwise", pads=[1] * 4, group=9),
            helper.make_node("Reshape", ["c3", "shape"], ["flat"], "reshape"),
            helper.make_node("Conv", ["flat", "w4", "b4"], ["c4"], "line", pads=[1, 1]),
            helper.make_node("Relu", ["c4"], ["r4"], "relu4"),
            helper.make_node("Flatten", ["r4"], ["f"], "flatten"),
            helper.make_node("Gemm", ["f", "w5", "b5"], ["y"], "matrix", transB=1),
        ],
        {
            "w1": (6, 3, 3, 3), "b1": (6,), "w2": (9, 2, 3, 3), "b2": (9,), "w3": (9, 1, 3, 3), "b3": (9,),
            "shape": (), "w4": (5, 9, 3), "b4": (5,), "w5": (7, 125), "b5": (7,),
        },
        x=(3, 9, 9),
    )  # fmt: skip


@pytest.mark.parametrize("asymmetric", [False, True], ids=["symmetric", "asymmetric"])
@pytest.mark.parametrize("bits", range(2, 9))
def test_every_width_unpacks_at_load_to_the_integer_kernels_of_the_plain_file(
    bits: int, asymmetric: bool, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    model = by_hand(
        every_kind(),
        rng.normal(size=(8, 3, 9, 9)).astype(np.float32),
        weight_bits=bits,
        activation_bits=4 if bits == 4 else 8,
        asymmetric=asymmetric,
    )
    packed, plain, optimized = tmp_path / "packed.onnx", tmp_path / "plain.onnx", tmp_path / "optimized.onnx"
    export_onnx(model, packed)
    export_onnx(model, plain, packed=False)
    onnx.checker.check_model(str(packed), full_check=True)
    x = rng.normal(size=(3, 3, 9, 9)).astype(np.float32)

    seen = run_ort(packed, x, optimized)
    assert np.array_equal(seen, run_ort(plain, x))
    found = [node.op_type for node in onnx.load(optimized).graph.node]
    assert found.count("QLinearConv") == 4
    assert found.count("QGemm") == 1
    assert not {"Cast", "Gather", "Slice", "Add", "Conv", "Gemm"} & set(found)

    primitives: dict[str, str] = {}
    assert np.array_equal(run_ov(packed, x, primitives), by_ov := run_ov(plain, x))
    assert len(primitives) == 5
    assert all(primitive.endswith("_I8") for primitive in primitives.values()), primitives
    assert np.abs(by_ov - seen).max() < (0.2 if bits == 4 else 0.05) * np.abs(seen).max()  # codes may differ by one


@pytest.mark.parametrize("bits", [2, 3, 5, 7])
def test_codes_take_exactly_their_bits(bits: int, tmp_path: Path) -> None:
    model = by_hand(every_kind(), np.ones((1, 3, 9, 9), np.float32), weight_bits=bits)
    export_onnx(model, tmp_path / "m.onnx")
    stored = {tensor.name: len(tensor.raw_data) for tensor in onnx.load(tmp_path / "m.onnx").graph.initializer}
    for name, layer in model.layers.items():
        taken = [size for stem, size in stored.items() if stem.startswith(f"{name}:w")]
        assert bits * layer.weight.codes.size <= 8 * sum(taken) < bits * layer.weight.codes.size + 8 * len(taken)


@pytest.mark.parametrize("runtime", [run_ort, run_ov])
@pytest.mark.parametrize(("node", "bits"), [("first", 8), ("grouped", 4), ("depthwise", 3), ("line", 2), ("matrix", 5)])
def test_a_layer_alone_computes_on_codes_what_exact_arithmetic_says(node: str, bits: int, runtime: Any) -> None:
    images = np.random.default_rng(0).normal(size=(8, 3, 9, 9)).astype(np.float32)
    model = by_hand(every_kind(), images, weight_bits=bits, activation_bits=4, asymmetric=bits < 4)
    found = next(other for other in model.graph.graph if other.name == node)
    x, behind = found.inputs[0], found.outputs[0]
    assert x is not None and x.shape is not None
    reads = model.read_as(found, x)
    assert reads is not None
    sizes = [int(size) for size in x.shape[1:] if isinstance(size, int)]
    codes = np.random.default_rng(1).integers(0, reads.format.highest + 1, (50, *sizes)).astype(np.uint8)

    layer = model.layers[node]
    weight = layer.weight.codes - layer.weight.qparams.zero_point.reshape(-1, *[1] * (layer.weight.codes.ndim - 1))
    assert layer.bias is not None and layer.bias_scale is not None
    a, w, b = (torch.from_numpy(a.astype(np.float64)) for a in (codes - reads.zero_point, weight, layer.bias))
    if node == "matrix":
        sums = torch.nn.functional.linear(a, w, b).numpy()
    else:
        convolve = torch.nn.functional.conv1d if node == "line" else torch.nn.functional.conv2d
        stride, groups = 2 if node == "first" else 1, found.attributes.get_int("group", 1)
        sums = convolve(a, w, b, padding=1, stride=stride, groups=groups).numpy()
    real = sums * layer.bias_scale.reshape(-1, *[1] * (sums.ndim - 2))
    relu = next(iter(behind.uses())).node if behind.uses() else None
    result = relu.outputs[0] if relu is not None and relu.op_type == "Relu" else behind

    seen = runtime(layer_file(model, node), codes)
    if runtime is run_ov:
        primitives: dict[str, str] = {}
        run_ov(layer_file(model, node), codes, primitives)
        assert all(primitive.endswith("_I8") for primitive in primitives.values()), primitives
    if node == "matrix":
        assert seen.dtype == np.float32
        np.testing.assert_allclose(seen, real, rtol=1e-5, atol=1e-5 * np.abs(real).max())
    else:
        expected = model.main[str(result.name)].quantize(real)
        assert seen.dtype == np.uint8
        assert np.abs(seen.astype(int) - expected).max() <= 1
        assert (seen == expected).mean() >= 0.999


@pytest.mark.parametrize("node", ["relu1", "nowhere"])
def test_a_layer_file_of_what_is_no_layer_is_refused(node: str) -> None:
    with pytest.raises(BadInput, match="computes nothing on codes that could run alone: expected one of conv1"):
        layer_file(small_model(), node)


def test_at_8_bits_the_file_says_what_the_float_model_says(tmp_path: Path) -> None:
    model = small_model()
    export_onnx(model, tmp_path / "m.onnx")
    x = random_images(16, seed=5)
    expected = run_ort(ir.to_proto(model.graph), x)
    for runtime in (run_ort, run_ov):
        assert np.abs(runtime(tmp_path / "m.onnx", x) - expected).max() < 0.05 * np.abs(expected).max()


def test_each_quantizer_is_written_once_and_clips_only_where_codes_could_exceed_it(tmp_path: Path) -> None:
    model = small_model(activation_bits=4)
    export_onnx(model, tmp_path / "m.onnx")
    found = [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node]
    assert found.count("QuantizeLinear") == len(model.main) + len(model.product) == 7
    assert found.count("Min") == 2  # r1's narrow copy, and the pool's result; Flatten hands that on
    assert "Relu" not in found


def test_clips_stay_on_the_integer_side(tmp_path: Path) -> None:
    """The kernels around a value below 8 bits stay integer ones, and no code leaves its range."""
    model = small_model(weight_bits=4, activation_bits=3)
    export_onnx(model, tmp_path / "m.onnx")
    run_ort(tmp_path / "m.onnx", random_images(2), tmp_path / "optimized.onnx")
    optimized = onnx.load(tmp_path / "optimized.onnx")
    found = [node.op_type for node in optimized.graph.node]
    assert (found.count("QLinearConv"), found.count("QGemm"), found.count("QLinearAdd")) == (2, 1, 1)
    primitives: dict[str, str] = {}
    run_ov(tmp_path / "m.onnx", random_images(2), primitives)
    assert len(primitives) == 3
    assert all(primitive.endswith("_I8") for primitive in primitives.values())


@pytest.mark.parametrize("clamp", ["Relu", "Clip"])
def test_a_clamp_that_its_quantizer_does_not_do_is_done_on_codes(clamp: str, tmp_path: Path) -> None:
    """r shares its range with a tensor that reaches below zero, as behind a Concat: saturation does not cut at zero."""
    limits = ["low", "high"] if clamp == "Clip" else []
    graph = network(
        [
            helper.make_node("Conv", ["x", "w1", "b1"], ["a"], "one"),
            helper.make_node(clamp, ["a", *limits], ["r"], "clamp"),
            helper.make_node("Conv", ["x", "w2", "b2"], ["c"], "two"),
            helper.make_node("Concat", ["r", "c"], ["both"], "concat", axis=1),
            helper.make_node("Flatten", ["both"], ["y"], "flatten"),
        ],
        {"w1": (4, 3, 3, 3), "b1": (4,), "w2": (4, 3, 3, 3), "b2": (4,)}, x=(3, 9, 9),
    )  # fmt: skip
    for name, value in zip(limits, (0.0, 0.5), strict=False):
        graph.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    x = np.random.default_rng(0).normal(size=(8, 3, 9, 9)).astype(np.float32)
    made = by_hand(graph, x)
    for tensor in graph.graph.initializer:
        layer = next((made.layers[p.node] for p in made.plan.layers if p.weight == tensor.name), None)
        if layer is not None:  # the weights' own rounding is not in question
            rounded = layer.weight.qparams.dequantize(layer.weight.codes)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    expected = run_ort(graph, x)
    shared = qparams_of_range(Format(8), float(expected.min()), float(expected.max()))
    main = {name: shared if name in ("r", "c", "both") else q for name, q in made.main.items() if name != "a"}
    model = replace(made, main=main, absorbed=frozenset())
    export_onnx(model, tmp_path / "m.onnx")
    first = expected.shape[1] // 2  # of r; then come those of c
    for runtime in (run_ort, run_ov):
        seen = runtime(tmp_path / "m.onnx", x)
        assert np.abs(seen - expected).max() <= 1.5 * float(shared.scale)
        assert seen[:, :first].min() == 0 > seen[:, first:].min()
        if clamp == "Clip":
            assert seen[:, :first].max() <= 0.5 + float(shared.scale) / 2
    run_ort(tmp_path / "m.onnx", x, tmp_path / "optimized.onnx")
    found = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert found.count("QLinearConv") == 2
    assert clamp not in found
    codes = np.random.default_rng(1).integers(0, 256, (50, 3, 9, 9)).astype(np.uint8)
    alone = run_ort(layer_file(model, "one"), codes)
    assert alone.min() == int(shared.zero_point)


def test_openvino_keeps_integers_where_a_convolution_and_a_gemm_have_zero_points_of_equal_shape(tmp_path: Path) -> None:
    """2026.4 leaves both in float if they share the initializer and the input's shape is set."""
    graph = network(
        [
            helper.make_node("Conv", ["x", "w1", "b1"], ["c"], "conv"),
            helper.make_node("Relu", ["c"], ["r"], "relu1"),
            helper.make_node("Flatten", ["r"], ["f"], "flatten"),
            helper.make_node("Gemm", ["f", "w2", "b2"], ["g"], "up", transB=1),
            helper.make_node("Relu", ["g"], ["s"], "relu2"),
            helper.make_node("Gemm", ["s", "w3", "b3"], ["y"], "down", transB=1),
        ],
        {"w1": (8, 3, 9, 9), "b1": (8,), "w2": (16, 8), "b2": (16,), "w3": (8, 16), "b3": (8,)},
        x=(3, 9, 9),
    )
    x = np.random.default_rng(0).normal(size=(8, 3, 9, 9)).astype(np.float32)
    export_onnx(by_hand(graph, x), tmp_path / "m.onnx")
    artifact = Artifact(tmp_path / "m.onnx", "onnx", "", (3, 9, 9), 8)
    with openvino.open_session(artifact, SessionOptions()) as session:  # it sets the input's shape
        executed = [op for op in session.executed_precision() if op.macs]
    assert executed  # the convolution; OpenVINO may have the two Gemms in one kernel of its own
    assert all(op.integer for op in executed), executed


def test_equal_models_give_equal_bytes_with_their_metadata(tmp_path: Path) -> None:
    for name, metadata in (("a", {"x": "1", "b": "2"}), ("b", {"b": "2", "x": "1"})):
        export_onnx(small_model(weight_bits=3, asymmetric=True), tmp_path / name, metadata=metadata)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert {entry.key: entry.value for entry in onnx.load(tmp_path / "a").metadata_props} == {"b": "2", "x": "1"}


def test_layers_keep_their_names_and_plain_weights_are_found_by_them(tmp_path: Path) -> None:
    model = small_model(weight_bits=3, asymmetric=True)
    export_onnx(model, tmp_path / "m.onnx", packed=False)
    graph = onnx.load(tmp_path / "m.onnx").graph
    assert set(model.layers) <= {node.name for node in graph.node}
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    names = weight_names(model)
    assert names == {"conv1": "conv1:w", "dwconv": "dwconv:w", "fc": "fc:w"}
    for node, layer in model.layers.items():
        zero_point = layer.weight.qparams.zero_point.reshape(-1, *[1] * (layer.weight.codes.ndim - 1))
        assert stored[names[node]].dtype == np.int8
        assert np.array_equal(stored[names[node]], layer.weight.codes - zero_point)


def shared_weights(opset: int = 20) -> QuantizedModel:
    """Two convolutions with the same weights of 3 bits, asymmetric, so that unpacking adds int8."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c1"], "one", pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w", "b"], ["y"], "two", pads=[1] * 4),
    ]
    graph = network(nodes, {"w": (3, 3, 3, 3), "b": (3,)}, x=(3, 5, 5), opset=opset)
    images = np.random.default_rng(0).normal(size=(4, 3, 5, 5)).astype(np.float32)
    return by_hand(graph, images, weight_bits=3, asymmetric=True)


def test_weights_of_several_layers_are_stored_once(tmp_path: Path) -> None:
    model = shared_weights()
    assert weight_names(model) == {"one": "one:w", "two": "one:w"}
    for packed in (True, False):
        export_onnx(model, tmp_path / "m.onnx", packed=packed)
        stored = [tensor.name for tensor in onnx.load(tmp_path / "m.onnx").graph.initializer]
        assert [name for name in stored if ":w" in name] == (["one:w", "one:w1"] if packed else ["one:w"])
    x = np.random.default_rng(1).normal(size=(2, 3, 5, 5)).astype(np.float32)
    primitives: dict[str, str] = {}
    by_ov = run_ov(tmp_path / "m.onnx", x, primitives)
    assert all(primitive.endswith("_I8") for primitive in primitives.values())
    assert np.abs(run_ort(tmp_path / "m.onnx", x) - by_ov).max() < 0.05 * np.abs(by_ov).max()


def test_a_quantized_output_keeps_its_name(tmp_path: Path) -> None:
    model = shared_weights()
    quantizer = QParams(Format(8), np.array(0.05, np.float32), np.array(100, np.int32))
    export_onnx(replace(model, main=model.main | {"y": quantizer}), tmp_path / "m.onnx")
    x = np.random.default_rng(1).normal(size=(2, 3, 5, 5)).astype(np.float32)
    seen = run_ort(tmp_path / "m.onnx", x)
    assert onnx.load(tmp_path / "m.onnx").graph.output[0].name == "y"
    assert np.array_equal(seen, quantizer.dequantize(quantizer.quantize(seen)))


@pytest.mark.parametrize("group", [1, 2])
def test_transposed_convolutions_unpack_along_their_second_axis(group: int, tmp_path: Path) -> None:
    """ONNX Runtime has no integer kernel for them and runs them in float; OpenVINO has one."""
    node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], "up", strides=[2, 2], group=group)
    graph = network([node], {"w": (4, 3, 3, 3), "b": (3 * group,)}, x=(4, 5, 5))
    images = np.random.default_rng(0).normal(size=(4, 4, 5, 5)).astype(np.float32)
    model = by_hand(graph, images, weight_bits=3, asymmetric=True)
    export_onnx(model, tmp_path / "packed.onnx")
    export_onnx(model, tmp_path / "plain.onnx", packed=False)
    weight = model.layers["up"].weight.qparams.dequantize(model.layers["up"].weight.codes)
    x = model.main["x"].dequantize(model.main["x"].quantize(images))
    bias, bias_scale = model.layers["up"].bias, model.layers["up"].bias_scale
    assert bias is not None and bias_scale is not None
    real = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(x),
        torch.from_numpy(weight),
        torch.from_numpy((bias * bias_scale).astype(np.float32)),
        stride=2,
        groups=group,
    ).numpy()
    for runtime in (run_ort, run_ov):
        seen = runtime(tmp_path / "packed.onnx", images)
        assert np.array_equal(seen, runtime(tmp_path / "plain.onnx", images))
        np.testing.assert_allclose(seen, real, atol=1e-4)


def gemm(kind: Format, opset: int = 20) -> QuantizedModel:
    node = helper.make_node("Gemm", ["f", "w", "b"], ["y"], "matrix", transB=1)
    flatten = helper.make_node("Flatten", ["x"], ["f"], "flatten")
    graph = network([flatten, node], {"w": (6, 20), "b": (6,)}, x=(5, 2, 2), opset=opset)
    images = np.random.default_rng(0).normal(size=(8, 5, 2, 2)).astype(np.float32)
    model = by_hand(graph, images)
    if kind.granularity != "group":
        return model
    assert kind.group_size is not None
    codes = np.random.default_rng(1).integers(kind.lowest, kind.highest + 1, (6, 20), dtype=np.int32)
    groups = -(-20 // kind.group_size)
    scale = np.linspace(0.01, 0.1, 6 * groups, dtype=np.float32).reshape(6, groups)
    zero_point = np.zeros((6, groups), np.int32) if kind.symmetric else codes[:, :groups].copy()
    layer = replace(model.layers["matrix"], weight=QTensor(codes, QParams(kind, scale, zero_point)))
    return replace(model, layers={"matrix": layer})


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("size", [4, 10])
@pytest.mark.parametrize("symmetric", [True, False])
def test_groups_have_scales_and_zero_points_of_their_own(
    symmetric: bool, size: int, packed: bool, tmp_path: Path
) -> None:
    model = gemm(Format(4, signed=symmetric, symmetric=symmetric, granularity="group", group_size=size))
    export_onnx(model, tmp_path / "m.onnx", packed=packed)
    layer = model.layers["matrix"]
    scale, zero_point = (np.repeat(a, size, 1) for a in (layer.weight.qparams.scale, layer.weight.qparams.zero_point))
    assert layer.bias is not None and layer.bias_scale is not None
    x = np.random.default_rng(3).normal(size=(5, 5, 2, 2)).astype(np.float32)
    seen_x = model.main["x"].dequantize(model.main["x"].quantize(x)).reshape(5, 20)
    expected = seen_x @ ((layer.weight.codes - zero_point) * scale).T + layer.bias * layer.bias_scale
    for runtime in (run_ort, run_ov):
        np.testing.assert_allclose(runtime(tmp_path / "m.onnx", x), expected, rtol=1e-4, atol=1e-4)


def test_activations_of_16_bits_take_the_operator_set_that_knows_them(tmp_path: Path) -> None:
    model = gemm(Format(8))
    wide = QParams(Format(16), np.array(1e-4, np.float32), np.array(2**15, np.int32))
    layer = model.layers["matrix"]
    scale = (wide.scale * layer.weight.qparams.scale.reshape(-1)).astype(np.float32)
    model = replace(model, main={"x": wide, "f": wide}, layers={"matrix": replace(layer, bias_scale=scale)})
    export_onnx(model, tmp_path / "m.onnx")
    onnx.checker.check_model(str(tmp_path / "m.onnx"), full_check=True)
    x = np.random.default_rng(3).normal(size=(5, 5, 2, 2)).astype(np.float32)
    weight = layer.weight.qparams.dequantize(layer.weight.codes)
    assert layer.bias is not None
    expected = wide.dequantize(wide.quantize(x)).reshape(5, 20) @ weight.T + layer.bias * scale
    np.testing.assert_allclose(run_ort(tmp_path / "m.onnx", x), expected, atol=1e-4)


def test_a_graph_of_operator_set_13_gets_the_first_one_that_adds_int8(tmp_path: Path) -> None:
    graph = shared_weights(opset=13)
    export_onnx(graph, tmp_path / "m.onnx")
    assert [entry.version for entry in onnx.load(tmp_path / "m.onnx").opset_import] == [14]
    x = np.random.default_rng(1).normal(size=(2, 3, 5, 5)).astype(np.float32)
    assert run_ort(tmp_path / "m.onnx", x).shape == run_ov(tmp_path / "m.onnx", x).shape == (2, 3, 5, 5)


def test_an_operator_that_reads_differently_in_a_newer_set_is_named() -> None:
    graph = network([helper.make_node("ReduceMax", ["x"], ["y"], "largest", axes=[1])], {}, x=(5, 2, 2), opset=13)
    wide = QParams(Format(16), np.array(1e-4, np.float32), np.array(2**15, np.int32))
    plan = QuantPlan("", "", (), (), ())
    model = QuantizedModel(ir.from_proto(graph), plan, {}, {"x": wide}, {}, {}, frozenset())
    with pytest.raises(UnsupportedError, match="ReduceMax 'largest' of operator set 13"):
        export_onnx(model, Path("unwritten.onnx"))


def test_embeddings_look_up_integers(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["indices"], "cast", to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "indices"], ["y"], "embedding"),
    ]
    graph = network(nodes, {"table": (11, 5)}, x=(3,))
    kind = Format(3, granularity="tensor")
    table = numpy_helper.to_array(graph.graph.initializer[0]).reshape(1, 11, 5)
    one = quantize_weight(table, kind)  # one "channel": the whole of it
    qparams = QParams(kind, one.qparams.scale.reshape(()), one.qparams.zero_point.reshape(()))
    weight = QTensor(one.codes.reshape(11, 5), qparams)
    plan = QuantPlan("", "", (LayerPlan("embedding", "Gather", "table", kind, 8, "nearest"),), (), ())
    layers = {"embedding": QuantizedLayer("embedding", weight, None, None)}
    model = QuantizedModel(ir.from_proto(graph), plan, layers, {}, {}, {}, frozenset())
    x = np.array([[0, 10, 3], [4, 4, 1]], np.float32)
    for packed in (True, False):
        export_onnx(model, tmp_path / "m.onnx", packed=packed)
        for runtime in (run_ort, run_ov):
            np.testing.assert_allclose(
                runtime(tmp_path / "m.onnx", x), qparams.dequantize(weight.codes)[x.astype(int)], rtol=1e-6
            )


def test_constants_are_quantized_beside_the_tensors_they_meet(tmp_path: Path) -> None:
    graph = network([helper.make_node("Add", ["x", "shift"], ["y"], "add")], {"shift": (3, 4, 4)}, x=(3, 4, 4))
    shift = numpy_helper.to_array(graph.graph.initializer[0])
    quantizer = QParams(Format(8), np.array(0.04, np.float32), np.array(120, np.int32))
    constant = QTensor(quantizer.quantize(shift), quantizer)
    quantizers = {"x": quantizer, "y": QParams(Format(8), np.array(0.08, np.float32), np.array(120, np.int32))}
    plan = QuantPlan("", "", (), (), ())
    model = QuantizedModel(ir.from_proto(graph), plan, {}, quantizers, {}, {"shift": constant}, frozenset())
    export_onnx(model, tmp_path / "m.onnx")
    x = np.random.default_rng(3).normal(size=(2, 3, 4, 4)).astype(np.float32)
    expected = quantizer.dequantize(quantizer.quantize(x)) + quantizer.dequantize(constant.codes)
    seen = run_ort(tmp_path / "m.onnx", x, tmp_path / "optimized.onnx")
    assert "QLinearAdd" in [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert np.abs(seen - expected).max() <= 0.04 + 1e-6
    assert np.abs(run_ov(tmp_path / "m.onnx", x) - expected).max() <= 0.04 + 1e-6


@pytest.mark.parametrize(("bits", "activations"), [(8, 8), (5, 8), (4, 4), (2, 4)])
def test_resnet20_takes_little_beside_its_codes(bits: int, activations: int, shared: Path, tmp_path: Path) -> None:
    proto = ir.to_proto(prepare(shared / "models" / "cifar10-resnet20.onnx"))
    for node in proto.graph.node:
        node.input[:] = ["x" if name == "input" else name for name in node.input]
    proto.graph.input[0].name = "x"
    wide = {"x", *(v for n in proto.graph.node if n.op_type in ("Add", "GlobalAveragePool") for v in n.input)}
    images = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    model = by_hand(
        proto, images, weight_bits=bits, activation_bits=activations, asymmetric=bits < 4, wide=wide
    )  # fmt: skip
    export_onnx(model, tmp_path / "m.onnx")
    weights = [layer.weight.codes for layer in model.layers.values()]
    codes, channels = sum(w.size for w in weights) * bits // 8, sum(len(w) for w in weights)
    stored = onnx.load(tmp_path / "m.onnx")
    data = sum(len(tensor.raw_data) for tensor in stored.graph.initializer if tensor.dims)
    tables = sum(len(tensor.raw_data) for tensor in stored.graph.initializer if 256 in tensor.dims[:1])
    assert data - codes - tables <= 16 * channels
    assert (tmp_path / "m.onnx").stat().st_size - codes <= 16 * channels + 60_000
    wholes = run_ort(tmp_path / "m.onnx", images, tmp_path / "optimized.onnx")
    assert wholes.shape == (2, 10)
    found = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert found.count("QLinearConv") + found.count("QGemm") == len(weights)
    primitives: dict[str, str] = {}
    run_ov(tmp_path / "m.onnx", images, primitives)
    assert len(primitives) == len(weights)
    assert all(primitive.endswith("_I8") for primitive in primitives.values()), primitives
