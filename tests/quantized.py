"""A small quantized network built by hand: nearest rounding, min–max ranges seen by ONNX Runtime on random images."""

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from lowbit.measure.host import facts, int8_sums_saturate
from lowbit.quant.formats import Floats, Format, QParams, qparams_of_range
from lowbit.quant.model import QTensor, QuantizedLayer, QuantizedModel
from lowbit.quant.plan import kinds
from lowbit.quant.plan.plan import LayerPlan, QuantPlan, TensorPlan

INPUT_SHAPE = (3, 8, 8)
CLASSES = 5
REDUCED = int8_sums_saturate(facts())
"""Whether weights must keep to 7 bits here, so that ONNX Runtime and OpenVINO compute exactly."""


def small_model(
    *, weight_bits: int = 8, activation_bits: int = 8, asymmetric: bool = False, seed: int = 0
) -> QuantizedModel:
    """x [N, 3, 8, 8] → conv1 → relu1 → dwconv → relu2 → add (of both) → pool → flatten → fc → logits [N, 5], float.

    x, and what the add and the pool read, are 8 bits; r1, which the add reads too, has a product quantizer below 8.
    Asymmetric weights are unsigned codes; at 8 bits they are symmetric all the same.
    """
    return by_hand(
        small_graph(seed),
        random_images(32, seed=seed + 1),
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        asymmetric=asymmetric,
        wide=("x", "r1", "r2", "a1"),
    )


def by_hand(
    graph: onnx.ModelProto,
    images: Floats,
    *,
    weight_bits: int = 8,
    activation_bits: int = 8,
    asymmetric: bool = False,
    wide: Collection[str] = ("x",),
) -> QuantizedModel:
    """Any prepared graph with the input `x`: every Conv, ConvTranspose and Gemm a layer, every Relu absorbed.

    All values are quantized but the inputs of a Relu and the graph's outputs. `wide` ones have 8 bits, and a product
    quantizer below 8 where a layer reads them (the graph's input has none).
    """
    model = ir.from_proto(graph)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    values = _observe(graph, images)
    low, kind = Format(activation_bits), weight_format(weight_bits, asymmetric=asymmetric)
    relus = [node for node in model.graph if node.op_type == "Relu"]
    main = {"x": qparams_of_range(Format(8), *values["x"])}
    product: dict[str, QParams] = {}
    layers: dict[str, QuantizedLayer] = {}
    layer_plans = []
    for node in model.graph:
        result, read = node.outputs[0], str(node.inputs[0].name if node.inputs[0] else "")
        name = str(result.name)
        if node.op_type in ("Conv", "ConvTranspose", "Gemm"):
            if read in wide and read != "x" and activation_bits < 8:
                product[read] = qparams_of_range(low, *values[read])
            axis, groups = (1, node.attributes.get_int("group", 1)) if node.op_type == "ConvTranspose" else (0, 1)
            weight, bias = (str(value.name) for value in node.inputs[1:] if value is not None)
            seen = product.get(read, main[read])
            layers[str(node.name)] = quantize_layer(
                str(node.name), weights[weight], weights[bias], seen, kind, axis=axis, groups=groups
            )
            width = 8 if read == "x" else activation_bits
            layer_plans.append(LayerPlan(str(node.name), node.op_type, weight, kind, width, "nearest"))
        if result.is_graph_output() or any(use.node in relus for use in result.uses()):
            continue
        bits = 8 if name in wide else activation_bits
        main[name] = main[read] if kinds.is_passing(node) else qparams_of_range(Format(bits), *values[name])
    tensors = [TensorPlan(name, q.format, "main", "min-max", name, values[name]) for name, q in main.items()]
    tensors += [TensorPlan(n, q.format, "product", "min-max", f"{n} narrow", values[n]) for n, q in product.items()]
    plan = QuantPlan("", f"w{weight_bits}a{activation_bits}", tuple(layer_plans), tuple(tensors), ())
    absorbed = frozenset(str(node.name) for node in relus)
    return QuantizedModel(model, plan, layers, main, product, {}, absorbed)


def random_images(count: int, *, seed: int = 0) -> Floats:
    """Float images [count, 3, 8, 8], normal."""
    return np.random.default_rng(seed).normal(0, 1, (count, *INPUT_SHAPE)).astype(np.float32)


def weight_format(bits: int, *, asymmetric: bool = False) -> Format:
    """Per channel: signed and symmetric, or unsigned and asymmetric (never at 8 bits, nor at 7 where `REDUCED`)."""
    symmetric = not asymmetric or bits == 8 or (bits == 7 and REDUCED)
    return Format(bits, signed=symmetric, symmetric=symmetric, granularity="channel", reduced=REDUCED and bits == 8)


def quantize_weight(weight: Floats, kind: Format, *, axis: int = 0) -> QTensor:
    """Nearest codes, the range of each channel along `axis` covered exactly."""
    rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
    pairs = [qparams_of_range(kind, row.min(), row.max()) for row in rows]
    scale, zero_point = np.array([pair.scale for pair in pairs]), np.array([pair.zero_point for pair in pairs])
    qparams = QParams.of_channels(kind, scale, zero_point, axis, weight.ndim)
    return QTensor(qparams.quantize(weight), qparams)


def quantize_layer(
    node: str, weight: Floats, bias: Floats, reads: QParams, kind: Format, *, axis: int = 0, groups: int = 1
) -> QuantizedLayer:
    """`weight` by nearest rounding and `bias` [O] in int32 at scale_x · scale_w; `groups` for a ConvTranspose only."""
    quantized = quantize_weight(weight, kind, axis=axis)
    bias_scale = (reads.scale * np.tile(quantized.qparams.scale.reshape(-1), groups)).astype(np.float32)
    return QuantizedLayer(node, quantized, np.rint(bias / bias_scale).astype(np.int32), bias_scale)


def small_graph(seed: int) -> onnx.ModelProto:
    rng = np.random.default_rng(seed)

    def initializer(name: str, *shape: int) -> onnx.TensorProto:
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 25
        return numpy_helper.from_array(rng.normal(0, 1.4 * fan_in**-0.5, shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "conv1.w", "conv1.b"], ["c1"], "conv1", pads=[1] * 4, kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node(
            "Conv", ["r1", "dwconv.w", "dwconv.b"], ["c2"], "dwconv", pads=[1] * 4, kernel_shape=[3, 3], group=8
        ),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("Add", ["r1", "r2"], ["a1"], "add"),
        helper.make_node("GlobalAveragePool", ["a1"], ["p1"], "pool"),
        helper.make_node("Flatten", ["p1"], ["f1"], "flatten"),
        helper.make_node("Gemm", ["f1", "fc.w", "fc.b"], ["logits"], "fc", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *INPUT_SHAPE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        [
            initializer("conv1.w", 8, 3, 3, 3),
            initializer("conv1.b", 8),
            initializer("dwconv.w", 8, 1, 3, 3),
            initializer("dwconv.b", 8),
            initializer("fc.w", CLASSES, 8),
            initializer("fc.b", CLASSES),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return onnx.shape_inference.infer_shapes(model)


def _observe(model: onnx.ModelProto, images: npt.NDArray[np.float32]) -> dict[str, tuple[float, float]]:
    """Smallest and largest entry of every value, the graph's input included."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    inside = [value for value in model.graph.value_info if value.name not in {o.name for o in model.graph.output}]
    exposed.graph.output.extend(inside)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(exposed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = session.run(None, {"x": images})
    names = ["x", *(output.name for output in session.get_outputs())]
    return {name: (float(array.min()), float(array.max())) for name, array in zip(names, [images, *found], strict=True)}
