"""Leave out a Transpose that puts back what another one before it has turned, also across pointwise operators.

Requires: constants as initializers, inferred ranks.
Ensures: in the main graph no Transpose undoes another one with nothing but pointwise operators on one tensor and
constants between them, except where it or one of these gives an output, or somebody else reads what lies between.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from lowbit.graph.edit import initializer
from lowbit.graph.values import constant

_POINTWISE = frozenset(
    {"Abs", "Add", "Cast", "Clip", "Div", "Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mul", "Neg", "PRelu", "Pow"}
    | {"Relu", "Selu", "Sigmoid", "Softplus", "Sqrt", "Sub", "Tanh"}
)


def cancel_transposes(model: ir.Model) -> None:
    """Drop such pairs in place: tf2onnx turns an NHWC input around once it has subtracted its mean."""
    for node in list(model.graph):
        if node.op_type == "Transpose" and not node.outputs[0].is_graph_output():
            _cancel(model.graph, node)


def _cancel(graph: ir.Graph, second: ir.Node) -> None:
    """Let what lies before `second` be computed the other way round, if a Transpose further up is its opposite."""
    order = _order(second)
    between: list[ir.Node] = []
    value = second.inputs[0]
    while value is not None and (producer := value.producer()) is not None and producer.op_type in _POINTWISE:
        given = [each for each in producer.inputs if each is not None and constant(each) is None]
        too_large = any(array.ndim > len(order) for each in producer.inputs if (array := constant(each)) is not None)
        if len(given) != 1 or len(value.uses()) != 1 or value.is_graph_output() or too_large:
            return
        between.append(producer)
        value = given[0]
    first = value.producer() if value is not None else None
    if first is None or value is None or first.op_type != "Transpose":
        return
    turned, source = _order(first), first.inputs[0]
    if source is None or len(turned) != len(order) or [turned[axis] for axis in order] != sorted(turned):
        return
    if between and (len(value.uses()) != 1 or value.is_graph_output()):
        return  # the first one stays, so that nothing is saved
    for node in between:
        _turn_constants(graph, node, order)
        if node.outputs[0].shape is not None:
            node.outputs[0].shape = ir.Shape([node.outputs[0].shape[axis] for axis in order])
    for node in between[-1:]:
        for index, each in enumerate(node.inputs):
            if each is value:
                node.replace_input_with(index, source)
    last = second.inputs[0] if between else source
    assert last is not None  # the walk began there
    ir.convenience.replace_all_uses_with(second.outputs[0], last)
    graph.remove(second, safe=True)


def _order(node: ir.Node) -> list[int]:
    """Which axis goes where; empty where the standard's default, all axes reversed, leaves their number open."""
    return list(node.attributes["perm"].as_ints()) if "perm" in node.attributes else []


def _turn_constants(graph: ir.Graph, node: ir.Node, order: Sequence[int]) -> None:
    for index, value in enumerate(node.inputs):
        array = constant(value)
        if array is None or array.size == 1:
            continue
        whole = array.reshape([1] * (len(order) - array.ndim) + list(array.shape))
        name = f"{node.outputs[0].name}_{index}"
        node.replace_input_with(index, initializer(graph, name, np.ascontiguousarray(whole.transpose(order))))
