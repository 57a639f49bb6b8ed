"""Finds Gelu where an exporter wrote it as arithmetic around Erf, so that it becomes one operator of TFLite.

x · (1 + erf(x / √2)) / 2, with the factor 1/2 at any place:

| exporter's form | |
| --- | --- |
| (x · (1 + erf)) · 0.5 | torch's exporter |
| (x · 0.5) · (1 + erf) | torch, traced |
| x · ((1 + erf) · 0.5) | tf2onnx |
"""

import math

import numpy as np
import onnx_ir as ir

from lowbit.graph.values import constant


def find_gelu(graph: ir.Graph) -> None:
    """Replace such arithmetic by one node Gelu, in place. What others read is left as it is."""
    for node in list(graph):
        if node.op_type == "Erf" and (found := _around(node)) is not None:
            x, last = found
            gelu = ir.node("Gelu", [x], name=last.name)
            result = last.outputs[0]
            new = gelu.outputs[0]
            new.name, new.type, new.shape = result.name, result.type, result.shape
            graph.insert_before(last, [gelu])
            ir.convenience.replace_all_uses_with(result, new, replace_graph_outputs=True)
            graph.remove(last, safe=True)


def _around(erf: ir.Node) -> tuple[ir.Value, ir.Node] | None:
    """What Gelu reads, and the last node of its arithmetic; None where it is something else."""
    x = _divided_by_root(erf.inputs[0])
    add = _only_reader(erf)
    if x is None or add is None or add.op_type != "Add" or not _is(_other(add, erf), 1.0):
        return None
    times = _only_reader(add)
    if times is None or times.op_type != "Mul":
        return None
    other = _other(times, add)
    if _is(other, 0.5):
        last = _only_reader(times)
        return (x, last) if last is not None and last.op_type == "Mul" and _other(last, times) is x else None
    if other is x:
        last = _only_reader(times)
        return (x, last) if last is not None and _halves(last, times) else None
    half = other.producer() if other is not None else None
    if half is not None and half.op_type == "Mul" and x in half.inputs and _is(_other(half, x.producer(), x), 0.5):
        return x, times
    return None


def _divided_by_root(value: ir.Value | None) -> ir.Value | None:
    """x of x / √2, whether it is written as a quotient or as a product."""
    node = value.producer() if value is not None else None
    if node is None or value is None or len(value.uses()) != 1 or node.op_type not in ("Div", "Mul"):
        return None
    left, right = node.inputs
    if node.op_type == "Div":
        return left if _is(right, math.sqrt(2)) else None
    return left if _is(right, math.sqrt(0.5)) else right if _is(left, math.sqrt(0.5)) else None


def _halves(node: ir.Node, source: ir.Node) -> bool:
    if node.op_type == "Mul":
        return _is(_other(node, source), 0.5)
    return node.op_type == "Div" and node.inputs[0] is source.outputs[0] and _is(node.inputs[1], 2.0)


def _only_reader(node: ir.Node) -> ir.Node | None:
    """The one node that reads what `node` gives; None where there are more, or where it is an output."""
    value = node.outputs[0]
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def _other(node: ir.Node, source: ir.Node | None, value: ir.Value | None = None) -> ir.Value | None:
    """The other input of a node that reads `source`'s output, or `value`."""
    known = value if value is not None else source.outputs[0] if source is not None else None
    left, right = node.inputs
    return right if left is known else left


def _is(value: ir.Value | None, number: float) -> bool:
    """Whether it is a constant of one entry that equals `number` in single precision."""
    array = constant(value)
    return array is not None and array.size == 1 and bool(np.isclose(float(array.reshape(-1)[0]), number, rtol=1e-5))
