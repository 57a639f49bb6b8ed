"""Fold BatchNormalization into the convolution or matrix product before it: the same function with fewer operators.

Requires: weights as initializers, not listed among the inputs; inference mode.
Ensures: no BatchNormalization is left that alone reads a Conv, ConvTranspose or Gemm with constant weights.
"""

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from lowbit.graph.edit import initializer
from lowbit.graph.values import constant

Doubles = npt.NDArray[np.float64]

_EPSILON = 1e-5  # the standard's default


def fold_batchnorm(model: ir.Model) -> int:
    """Fold every BatchNormalization that follows a Conv, ConvTranspose or Gemm, in place; how many were folded.

    With s = gamma / sqrt(var + epsilon) a channel, W' = s W and b' = s (b - mean) + beta (Jacob et al. 2018, section
    3.2). It is left alone where the operator before feeds something else too, or a weight is no constant.
    """
    folded = 0
    for node in list(model.graph):
        if node.op_type == "BatchNormalization" and _fold(model.graph, node):
            folded += 1
    return folded


def _fold(graph: ir.Graph, norm: ir.Node) -> bool:
    source = norm.inputs[0]
    before = source.producer() if source is not None else None
    if before is None or source is None or len(source.uses()) != 1 or source.is_graph_output():
        return False
    if any(output.uses() for output in norm.outputs[1:]):
        return False
    parameters = [_doubles(value) for value in norm.inputs[1:5]]
    weight = _doubles(before.inputs[1]) if len(before.inputs) > 1 else None
    if weight is None or any(parameter is None for parameter in parameters):
        return False
    gamma, beta, mean, variance = (parameter for parameter in parameters if parameter is not None)
    scale = gamma / np.sqrt(variance + norm.attributes.get_float("epsilon", _EPSILON))

    bias = _bias(before, len(scale))
    scaled = _scaled_weight(before, weight, scale)
    if bias is None or scaled is None:
        return False

    name = before.outputs[0].name
    _replace_input(graph, before, 1, scaled, f"{name}_weight")
    _replace_input(graph, before, 2, scale * (bias - mean) + beta, f"{name}_bias")
    if before.op_type == "Gemm":
        before.attributes["beta"] = ir.AttrFloat32("beta", 1.0)  # `_bias` has multiplied by it
    result = norm.outputs[0]
    if result.is_graph_output():
        before.outputs[0].name = result.name
    ir.convenience.replace_all_uses_with(result, before.outputs[0], replace_graph_outputs=True)
    graph.remove(norm, safe=True)
    return True


def _scaled_weight(node: ir.Node, weight: Doubles, scale: Doubles) -> Doubles | None:
    """`weight` with its output channels multiplied by `scale` [O]; None for an operator that has none.

    Conv [O, I/groups, …], ConvTranspose [I, O/groups, …] (groups along I), Gemm [I, O] or, transposed, [O, I].
    """
    if node.op_type == "Conv":
        return weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    if node.op_type == "ConvTranspose":
        groups = node.attributes.get_int("group", 1)
        by_group = weight.reshape(groups, -1, *weight.shape[1:])
        factors = scale.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))
        return (by_group * factors).reshape(weight.shape)
    if node.op_type == "Gemm":
        return weight * (scale[:, None] if node.attributes.get_int("transB", 0) else scale)
    return None


def _bias(node: ir.Node, channels: int) -> Doubles | None:
    """What `node` adds to each output channel [O]; None when that is no constant, or not one value a channel."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None:
        return np.zeros(channels)
    bias = _doubles(value)
    if bias is None or bias.size not in (1, channels) or bias.shape[-1:] not in ((), (1,), (channels,)):
        return None
    return np.broadcast_to(bias.reshape(-1), channels) * node.attributes.get_float("beta", 1.0)


def _doubles(value: ir.Value | None) -> Doubles | None:
    """The value's numbers in double precision, None when they are not known before running."""
    array = constant(value)
    return None if array is None else array.astype(np.float64)


def _replace_input(graph: ir.Graph, node: ir.Node, index: int, values: Doubles, name: str) -> None:
    """Give `node` a float32 initializer of its own: the old one may serve other operators."""
    value = initializer(graph, name, values.astype(np.float32))
    while len(node.inputs) <= index:
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)
