"""OpenVINO files that we export: integer kernels, exact sizes, and the outputs of the plain int8 ONNX file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime as ort
import openvino as ov
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from lowbit.core.errors import BadInput
from lowbit.formats.onnx.write import export_onnx, layer_file
from lowbit.formats.openvino.write import export_layer_openvino, export_openvino, packed_bytes
from lowbit.graph.values import constant
from lowbit.quant.finish import absorbed_nodes
from lowbit.quant.formats import Format, QParams, qparams_of_range
from lowbit.quant.model import QTensor, QuantizedLayer, QuantizedModel
from lowbit.quant.plan.placement import make_plan
from lowbit.quant.plan.plan import LayerPlan, QuantPlan
from lowbit.quant.plan.scheme import Scheme
from lowbit.quant.prepare import prepare
from tests.quantized import REDUCED, quantize_layer, random_images, small_model, weight_format

Compiled = Any  # ov.CompiledModel
PRODUCTS = {"Convolution", "GroupConvolution", "Deconvolution", "FullyConnected", "MatMul"}
WIDTHS = range(2, 9)


def compiled(path: Path, shape: tuple[int, ...]) -> Compiled:
    core = ov.Core()
    model = core.read_model(path)
    model.reshape(list(shape))
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    return core.compile_model(model, "CPU", options)


def primitives(model: Compiled) -> list[str]:
    """The kernels of the layers with weights."""
    facts = [op.get_rt_info() for op in model.get_runtime_model().get_ordered_ops()]
    return [f["primitiveType"].astype(str) for f in facts if f["layerType"].astype(str) in PRODUCTS]


def codes_size(model: QuantizedModel) -> int:
    """Bytes of all codes at exactly n bits, each field in whole bytes (u3 and u6: in whole groups of three)."""
    total = 0
    for layer in model.layers.values():
        count, bits = layer.weight.codes.size, layer.weight.qparams.format.bits
        for width in {5: (4, 1), 7: (6, 1)}.get(bits, (bits,)):
            total += -(-count * width // 24) * 3 if width in (3, 6) else -(-count * width // 8)
    return total


@given(st.sampled_from([1, 2, 3, 4, 6]), st.integers(1, 60), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_packed_bytes_are_what_openvino_reads(bits: int, count: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 1 << bits, count)
    tensor = ov.Tensor(packed_bytes(codes, bits), ov.Shape([count]), getattr(ov.Type, f"u{bits}"))
    assert list(ov.op.Constant(tensor).get_vector()) == list(codes)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("asymmetric", [False, True])
def test_every_width_is_exact_integer_and_equal_to_the_int8_file(bits: int, asymmetric: bool, tmp_path: Path) -> None:
    images = random_images(4)
    for activation_bits in (8, bits):
        model = small_model(weight_bits=bits, activation_bits=activation_bits, asymmetric=asymmetric)
        export_onnx(model, tmp_path / "m.onnx", packed=False)
        export_openvino(model, tmp_path / "m.xml")
        plain, packed = (compiled(tmp_path / name, images.shape) for name in ("m.onnx", "m.xml"))
        kernels = primitives(packed)
        assert len(kernels) == 3
        assert all(kernel.endswith("_I8") for kernel in kernels)
        np.testing.assert_array_equal(packed(images)[0], plain(images)[0])
        channels = sum(layer.weight.codes.shape[0] for layer in model.layers.values())
        assert (tmp_path / "m.bin").stat().st_size <= codes_size(model) + 16 * channels


def test_equal_models_give_equal_bytes_and_metadata_is_kept(tmp_path: Path) -> None:
    model = small_model(weight_bits=5, activation_bits=4, asymmetric=True)
    for name in ("a", "b"):
        export_openvino(model, tmp_path / f"{name}.xml", metadata={"lowbit.recipe": "w5a4", "lowbit.a": "1"})
    for suffix in (".xml", ".bin"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert ov.Core().read_model(tmp_path / "a.xml").get_rt_info(["lowbit", "recipe"]).astype(str) == "w5a4"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin", "a.xml", "b.bin", "b.xml"]


def test_a_name_that_is_not_xml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"\.xml"):
        export_openvino(small_model(), tmp_path / "m.onnx")


def one_layer(
    op_type: str, weight: tuple[int, ...], x: tuple[int, ...], bits: int, *, asymmetric: bool = False, **attributes: Any
) -> QuantizedModel:
    """A model of one layer `op`: x, 8 bits, zero point 0 for ConvTranspose → Relu → y, 8 bits."""
    rng = np.random.default_rng(bits)
    axis = 1 if op_type == "ConvTranspose" else 0
    values = rng.normal(0, (np.prod(weight) / weight[axis]) ** -0.5, weight).astype(np.float32)
    bias = rng.normal(0, 0.3, weight[axis]).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node(op_type, ["x", "op.w", "op.b"], ["s"], "op", **attributes),
            helper.make_node("Relu", ["s"], ["y"], "relu"),
        ],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, "op.w"), numpy_helper.from_array(bias, "op.b")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    reads = qparams_of_range(Format(8), 0 if op_type == "ConvTranspose" else -3, 3)
    kind = weight_format(bits, asymmetric=asymmetric)
    layer = quantize_layer("op", values, bias, reads, kind, axis=axis)
    plan = QuantPlan("", "", (LayerPlan("op", op_type, "op.w", kind, 8, "nearest"),), (), ())
    main = {"x": reads, "y": qparams_of_range(Format(8), 0, 2)}
    graph_ir = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    return QuantizedModel(graph_ir, plan, {"op": layer}, main, {}, {}, frozenset({"relu"}))


LAYERS: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "conv": ("Conv", (7, 5, 3, 3), (2, 5, 9, 9), {"pads": [1] * 4, "strides": [2, 2]}),
    "conv-1x1": ("Conv", (3, 5, 1, 1), (2, 5, 6, 6), {}),
    "conv-1d": ("Conv", (6, 3, 5), (2, 3, 17), {"pads": [2, 2]}),
    "grouped": ("Conv", (12, 4, 3, 3), (2, 12, 8, 8), {"group": 3, "pads": [1] * 4}),
    "depthwise": ("Conv", (9, 1, 3, 3), (2, 9, 8, 8), {"group": 9, "pads": [1] * 4}),
    "depthwise-1d": ("Conv", (5, 1, 3), (2, 5, 16), {"group": 5, "pads": [1, 1]}),
    "transposed": ("ConvTranspose", (5, 7, 3, 3), (2, 5, 6, 6), {"strides": [2, 2], "pads": [1] * 4}),
    "gemm": ("Gemm", (11, 13), (3, 13), {"transB": 1}),
}


@pytest.mark.parametrize("bits", [2, 3, 5, 8])
@pytest.mark.parametrize("layer", LAYERS)
def test_layer_files_take_and_give_codes_on_integer_kernels(layer: str, bits: int, tmp_path: Path) -> None:
    """Against ONNX Runtime without optimization, on the same layer's ONNX file: no more than one code apart."""
    op_type, weight, shape, attributes = LAYERS[layer]
    model = one_layer(op_type, weight, shape, bits, asymmetric=bits == 2, **attributes)
    export_layer_openvino(model, "op", tmp_path / "layer.xml")
    made = compiled(tmp_path / "layer.xml", shape)
    assert made.input(0).get_element_type() == ov.Type.u8
    assert made.output(0).get_element_type() == ov.Type.u8
    assert [kernel[-3:] for kernel in primitives(made)] == ["_I8"]
    codes = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(layer_file(model, "op").SerializeToString(), options)
    wanted: npt.NDArray[np.uint8] = session.run(None, {"x": codes})[0]
    difference = np.abs(made(codes)[0].astype(int) - wanted.astype(int))
    assert wanted.std() > 5
    assert difference.max() <= 1
    assert (difference == 0).mean() >= 0.99


@pytest.mark.parametrize("bits", [2, 5, 8])
def test_embeddings_and_weights_in_groups_are_packed_too(bits: int, tmp_path: Path) -> None:
    """Row indices (as floats) → Cast → Gather, one scale a table → Gemm, one scale and zero point a group of four."""
    rng = np.random.default_rng(bits)
    table = rng.normal(0, 1, (11, 8)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["i"], "cast", to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "i"], ["e"], "rows"),
            helper.make_node("Gemm", ["e", "w", "b"], ["y"], "fc", transB=1),
        ],
        "rows",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 6])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.zeros((6, 8), np.float32), "w"),
            numpy_helper.from_array(np.zeros(6, np.float32), "b"),
        ],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    rows = qparams_of_range(Format(bits, signed=True, symmetric=True), table.min(), table.max())
    grouped = Format(bits, signed=True, granularity="group", group_size=4)
    ends = (grouped.lowest, grouped.highest + 1)
    pairs = QParams(grouped, np.full((6, 2), 0.1, np.float32), rng.integers(*ends, (6, 2)).astype(np.int32))
    fc = QTensor(rng.integers(*ends, (6, 8)).astype(np.int32), pairs)
    layers = {
        "rows": QuantizedLayer("rows", QTensor(rows.quantize(table), rows), None, None),
        "fc": QuantizedLayer("fc", fc, np.arange(6, dtype=np.int32), np.full(6, 0.01, np.float32)),
    }
    plan = QuantPlan("", "", (), (), ())
    main = {"e": qparams_of_range(Format(8), -3, 3)}
    shaped = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    model = QuantizedModel(shaped, plan, layers, main, {}, {}, frozenset())
    export_openvino(model, tmp_path / "m.xml")
    export_onnx(model, tmp_path / "m.onnx", packed=False)
    x = np.array([1, 5, 10], np.float32)
    wanted = ort.InferenceSession(tmp_path / "m.onnx").run(None, {"x": x})[0]
    np.testing.assert_allclose(compiled(tmp_path / "m.xml", (3,))(x)[0], wanted, rtol=1e-4, atol=1e-4)
    kinds = {op.get_output_element_type(0).get_type_name() for op in ov.Core().read_model(tmp_path / "m.xml").get_ops()}
    assert {2: {"u2"}, 5: {"u4", "u1"}, 8: {"i8"}}[bits] <= kinds


def outline(path: Path, scheme: Scheme, *, lowest: float = 0) -> QuantizedModel:
    """The float model at `path`, weights rounded to nearest, all quantizers from `lowest` to 3: no scores to expect."""
    graph = prepare(path)
    plan = make_plan(graph, "", scheme)
    main, product = (
        {t.tensor: qparams_of_range(t.format, lowest, 3) for t in plan.tensors if t.role == role}
        for role in ("main", "product")
    )
    draft = QuantizedModel(graph, plan, {}, main, product, {}, frozenset())
    nodes = {str(node.name): node for node in graph.graph}
    layers: dict[str, QuantizedLayer] = {}
    for layer in plan.layers:
        x, weight, bias = nodes[layer.node].inputs[:3]
        reads, values, shift = draft.read_as(nodes[layer.node], x), constant(weight), constant(bias)  # type: ignore[arg-type]
        assert reads is not None
        assert values is not None
        assert shift is not None
        assert layer.format is not None
        layers[layer.node] = quantize_layer(layer.node, values, shift, reads, layer.format)
    draft = replace(draft, layers=layers)
    return replace(draft, absorbed=absorbed_nodes(draft))


@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(8, 8), (5, 5), (2, 4)])
def test_resnet20_is_as_small_as_its_bits(weight_bits: int, activation_bits: int, shared: Path, tmp_path: Path) -> None:
    model = outline(shared / "models/cifar10-resnet20.onnx", Scheme(weight_bits, activation_bits))
    export_openvino(model, tmp_path / "m.xml")
    channels = sum(layer.weight.codes.shape[0] for layer in model.layers.values())
    assert (tmp_path / "m.bin").stat().st_size <= codes_size(model) + 16 * channels
    assert (tmp_path / "m.xml").stat().st_size <= 200_000
    kernels = primitives(compiled(tmp_path / "m.xml", (1, 3, 32, 32)))
    assert len(kernels) == 20
    assert all(kernel.endswith("_I8") for kernel in kernels)


def test_zero_points_survive_shortcuts_by_slice_and_pad(shared: Path, tmp_path: Path) -> None:
    """OpenVINO cannot compile such a network where activations share the constant of their zero point."""
    model = outline(shared / "models/cifar10-resnet20.onnx", Scheme(4, 4, reduce_range=REDUCED), lowest=-1)
    export_openvino(model, tmp_path / "m.xml")
    export_onnx(model, tmp_path / "m.onnx")
    images = np.random.default_rng(0).normal(0, 1, (2, 3, 32, 32)).astype(np.float32)
    made = compiled(tmp_path / "m.xml", images.shape)
    assert all(kernel.endswith("_I8") for kernel in primitives(made))
    session = ort.InferenceSession(tmp_path / "m.onnx")
    wanted = session.run(None, {session.get_inputs()[0].name: images})[0]
    assert np.abs(made(images)[0] - wanted).max() <= 0.02 * np.ptp(wanted)
