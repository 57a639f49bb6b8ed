"""The float graph as the engine wants it: the same function, written with fewer kinds of operators.

| found                                                        | becomes                                            |
|--------------------------------------------------------------|----------------------------------------------------|
| a scale or shift a channel of [N, C, H, W] (Mul, Add, …)     | BatchNormalization, folded into the layer before   |
| BatchNormalization with no layer before it                   | Conv, depthwise, 1 × 1: exact at 8 bits            |
| MatMul with a constant matrix, and the Add of a bias behind  | Gemm [O, K], between Reshapes where rank > 2       |
| Gemm with alpha, beta, or a weight [K, O]                    | Gemm [O, K] (transB), alpha = beta = 1             |
| a convolution or Gemm without bias                           | the same with a bias of zeros                      |
| ReduceMean over height and width                             | GlobalAveragePool, and a Reshape where axes go     |
| AveragePool that counts its padding (wrong in OpenVINO)      | Pad, and AveragePool without padding               |
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from lowbit.graph.passes.batchnorm import fold_batchnorm
from lowbit.graph.values import constant, shape_of

WEIGHTED = ("Conv", "ConvTranspose", "Gemm")

Floats = npt.NDArray[np.float32]


def prepare(path: Path) -> ir.Model:
    """The graph of the clean float model at `path`, rewritten by the table above; every node and value has a name."""
    model = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True))
    _name(model)
    for node in list(model.graph):
        _scale_or_shift(model.graph, node)
    fold_batchnorm(model)
    for node in list(model.graph):
        if node.op_type == "BatchNormalization":
            _depthwise(model.graph, node)
        elif node.op_type == "MatMul":
            _to_gemm(model.graph, node)
        elif node.op_type == "ReduceMean":
            _to_average_pool(model.graph, node)
        elif node.op_type == "AveragePool":
            _pad_apart(model.graph, node)
    for node in list(model.graph):
        if node.op_type == "Gemm":
            _plain_gemm(model.graph, node)
        if node.op_type in WEIGHTED:
            _with_bias(model.graph, node)
    common.RemoveUnusedNodesPass()(model)
    _name(model)
    common.ShapeInferencePass()(model)
    return model


def _name(model: ir.Model) -> None:
    """Every node and value gets a name of its own where it has none, or one that is taken."""
    graph = model.graph
    nodes: set[str | None] = set()
    values = {value.name for value in (*graph.inputs, *graph.outputs)} | set(graph.initializers)
    for number, node in enumerate(graph):
        node.name = _free(node.name or f"{node.op_type}_{number}", nodes)
        for value in node.outputs:
            if not value.is_graph_output():
                value.name = _free(value.name or f"{node.name}_out", values)


def _free(name: str, taken: set[str | None]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _scale_or_shift(graph: ir.Graph, node: ir.Node) -> None:
    """Mul, Div, Add, Sub of x [N, C, H, W] and a constant [C, 1, 1] → BatchNormalization with mean 0 and variance 1."""
    if node.op_type not in ("Mul", "Div", "Add", "Sub"):
        return
    x, other = node.inputs
    if constant(x) is not None and node.op_type in ("Mul", "Add"):
        x, other = other, x
    array, sizes = constant(other), shape_of(x)
    if array is None or x is None or sizes is None or len(sizes) != 4 or sizes[1] is None or sizes[1] < 2:
        return
    if array.size != sizes[1] or array.ndim < 3 or array.shape[-3] != sizes[1]:
        return
    numbers = array.reshape(-1).astype(np.float64)
    if node.op_type == "Div" and not numbers.all():
        return
    ones, zeros = np.ones_like(numbers), np.zeros_like(numbers)
    scale = {"Mul": numbers, "Div": 1 / numbers if node.op_type == "Div" else ones}.get(node.op_type, ones)
    shift = {"Add": numbers, "Sub": -numbers}.get(node.op_type, zeros)
    inputs = [
        _initializer(graph, f"{node.name}_{part}", values.astype(np.float32))
        for part, values in (("scale", scale), ("shift", shift), ("mean", zeros), ("variance", ones))
    ]
    attributes = {"epsilon": 0.0}
    _replace(graph, node, ir.node("BatchNormalization", [x, *inputs], attributes, name=node.name))


def _depthwise(graph: ir.Graph, node: ir.Node) -> None:
    """BatchNormalization of x [N, C, …] → Conv with one weight a channel."""
    parameters = [constant(value) for value in node.inputs[1:5]]
    sizes = shape_of(node.inputs[0])
    if any(p is None for p in parameters) or sizes is None or len(sizes) not in (3, 4):
        return
    gamma, beta, mean, variance = (p.astype(np.float64) for p in parameters if p is not None)
    scale = gamma / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    spatial = len(sizes) - 2
    weight = _initializer(graph, f"{node.name}_weight", scale.astype(np.float32).reshape(-1, 1, *[1] * spatial))
    bias = _initializer(graph, f"{node.name}_bias", (beta - scale * mean).astype(np.float32))
    attributes: dict[str, int | list[int]] = {"group": len(scale), "kernel_shape": [1] * spatial}
    _replace(graph, node, ir.node("Conv", [node.inputs[0], weight, bias], attributes, name=node.name))


def _to_gemm(graph: ir.Graph, node: ir.Node) -> None:
    """x [..., K] times a constant [K, O], and the Add of a constant [O] that is all that becomes of it."""
    x, weight = node.inputs
    array, sizes = constant(weight), shape_of(x)
    if x is None or array is None or constant(x) is not None or array.ndim != 2 or sizes is None or len(sizes) < 2:
        return
    if sizes[:-1].count(None) > 1:  # only one size can be left open when the rows are put back in order
        return
    bias, last = np.zeros(array.shape[1], np.float32), node
    add = _only_reader(node.outputs[0])
    if add is not None and add.op_type == "Add":
        other = next(value for value in add.inputs if value is not node.outputs[0])
        addend = constant(other)
        if addend is not None and (addend.size == 1 or addend.size == addend.shape[-1] == len(bias)):
            bias, last = np.broadcast_to(addend.reshape(-1), bias.shape).astype(np.float32), add
    inputs = [
        x,
        _initializer(graph, f"{node.name}_weight", np.ascontiguousarray(array.T)),
        _initializer(graph, f"{node.name}_bias", bias),
    ]
    nodes = []
    if len(sizes) > 2:
        flat = _initializer(graph, f"{node.name}_rows", np.array([-1, array.shape[0]], np.int64))
        nodes.append(ir.node("Reshape", [x, flat], name=f"{node.name}_flat"))
        inputs[0] = nodes[-1].outputs[0]
    gemm = ir.node("Gemm", inputs, {"transB": 1}, name=node.name)
    nodes.append(gemm)
    if len(sizes) > 2:
        free = sizes.index(None) if None in sizes else 0
        back = np.array([-1 if axis == free else size for axis, size in enumerate(sizes)], np.int64)
        back[-1] = array.shape[1]
        shape = _initializer(graph, f"{node.name}_shape", back)
        nodes.append(ir.node("Reshape", [gemm.outputs[0], shape], name=f"{node.name}_back"))
    _replace(graph, last, *nodes)
    if last is not node:
        graph.remove(node, safe=True)


def _to_average_pool(graph: ir.Graph, node: ir.Node) -> None:
    """ReduceMean of x [N, C, H, W] over the last two axes."""
    x = node.inputs[0]
    sizes = shape_of(x)
    axes: Sequence[int] | None = node.attributes["axes"].as_ints() if "axes" in node.attributes else None
    if axes is None and len(node.inputs) > 1:
        given = constant(node.inputs[1])
        axes = None if given is None else [int(axis) for axis in given.reshape(-1)]
    if x is None or sizes is None or len(sizes) != 4 or axes is None or sorted(axis % 4 for axis in axes) != [2, 3]:
        return
    keeps = node.attributes.get_int("keepdims", 1)
    if sizes[1] is None and not keeps:
        return
    pool = ir.node("GlobalAveragePool", [x], name=node.name)
    if keeps:
        _replace(graph, node, pool)
        return
    shape = _initializer(graph, f"{node.name}_shape", np.array([-1, sizes[1]], np.int64))
    _replace(graph, node, pool, ir.node("Reshape", [pool.outputs[0], shape], name=f"{node.name}_flat"))


def _pad_apart(graph: ir.Graph, node: ir.Node) -> None:
    """AveragePool with count_include_pad: the same over a padded x. OpenVINO averages in zeros that are not x's."""
    pads = list(node.attributes["pads"].as_ints()) if "pads" in node.attributes else []
    rounds_up = node.attributes.get_int("ceil_mode", 0)
    if not node.attributes.get_int("count_include_pad", 0) or not any(pads) or rounds_up:
        return
    spatial = len(pads) // 2
    amounts = np.array([0, 0, *pads[:spatial], 0, 0, *pads[spatial:]], np.int64)
    pad = ir.node("Pad", [node.inputs[0], _initializer(graph, f"{node.name}_pads", amounts)], name=f"{node.name}_pad")
    graph.insert_before(node, [pad])
    node.replace_input_with(0, pad.outputs[0])
    for name in ("pads", "count_include_pad"):
        node.attributes.pop(name)


def _plain_gemm(graph: ir.Graph, node: ir.Node) -> None:
    """Gemm with constant weight and bias: weight [O, K], alpha = beta = 1. Others are left as they are."""
    weight = constant(node.inputs[1])
    computed = len(node.inputs) > 2 and node.inputs[2] is not None and constant(node.inputs[2]) is None
    if weight is None or computed or node.attributes.get_int("transA", 0) == 1:
        return
    transposed = node.attributes.get_int("transB", 0) == 1
    alpha, beta = (node.attributes.get_float(name, 1.0) for name in ("alpha", "beta"))
    if not transposed or alpha != 1:
        array = weight if transposed else weight.T
        fresh = _initializer(
            graph, f"{node.name}_weight", np.ascontiguousarray(array.astype(np.float32) * np.float32(alpha))
        )
        node.replace_input_with(1, fresh)
    outputs = weight.shape[0 if transposed else 1]
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if bias is not None and (beta != 1 or bias.shape != (outputs,)) and bias.size in (1, outputs):
        row = np.broadcast_to(bias.reshape(-1), (outputs,)).astype(np.float32) * np.float32(beta)
        node.replace_input_with(2, _initializer(graph, f"{node.name}_bias", row))
    for name in ("alpha", "beta", "transB", "transA"):
        node.attributes.pop(name, None)
    node.attributes["transB"] = ir.AttrInt64("transB", 1)


def _with_bias(graph: ir.Graph, node: ir.Node) -> None:
    weight = constant(node.inputs[1])
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    if weight is None or has_bias or node.attributes.get_int("transA", 0) == 1:
        return
    outputs = weight.shape[0]
    if node.op_type == "ConvTranspose":
        outputs = weight.shape[1] * node.attributes.get_int("group", 1)
    node.resize_inputs(3)
    node.replace_input_with(2, _initializer(graph, f"{node.name}_bias", np.zeros(outputs, np.float32)))


def _only_reader(value: ir.Value) -> ir.Node | None:
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def _initializer(graph: ir.Graph, name: str, array: npt.NDArray[np.generic]) -> ir.Value:
    while name in graph.initializers:
        name += "_"
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def _replace(graph: ir.Graph, old: ir.Node, *new: ir.Node) -> None:
    """Put `new` in the place of `old`; the last one's first output takes over old's name, type, shape and readers."""
    before, after = old.outputs[0], new[-1].outputs[0]
    after.name, after.type, after.shape = before.name, before.type, before.shape
    graph.insert_before(old, list(new))
    ir.convenience.replace_all_uses_with(before, after, replace_graph_outputs=True)
    graph.remove(old, safe=True)
