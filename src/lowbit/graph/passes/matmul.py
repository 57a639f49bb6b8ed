"""A product with a constant matrix becomes a Gemm, with the bias that is added behind it.

Requires: shapes are inferred, nodes are named. Ensures: a MatMul of x [..., K] and a constant [K, O] is a Gemm with
weight [O, K] and bias [O], between two Reshapes where x has more than two axes; other products are left alone.
"""

import numpy as np
import onnx_ir as ir

from lowbit.graph.edit import initializer, only_reader, replace
from lowbit.graph.values import constant, shape_of


def matmul_to_gemm(model: ir.Model) -> None:
    """x [..., K] times a constant [K, O], and the Add of a constant [O] that is all that becomes of it."""
    for node in list(model.graph):
        if node.op_type == "MatMul":
            _rewrite(model.graph, node)


def _rewrite(graph: ir.Graph, node: ir.Node) -> None:
    x, weight = node.inputs
    array, sizes = constant(weight), shape_of(x)
    if x is None or array is None or constant(x) is not None or array.ndim != 2 or sizes is None or len(sizes) < 2:
        return
    if sizes[:-1].count(None) > 1:  # only one size can be left open when the rows are put back in order
        return
    bias, last = np.zeros(array.shape[1], np.float32), node
    add = only_reader(node.outputs[0])
    if add is not None and add.op_type == "Add":
        other = next(value for value in add.inputs if value is not node.outputs[0])
        addend = constant(other)
        if addend is not None and (addend.size == 1 or addend.size == addend.shape[-1] == len(bias)):
            bias, last = np.broadcast_to(addend.reshape(-1), bias.shape).astype(np.float32), add
    inputs = [
        x,
        initializer(graph, f"{node.name}_weight", np.ascontiguousarray(array.T)),
        initializer(graph, f"{node.name}_bias", bias),
    ]
    nodes = []
    if len(sizes) > 2:
        flat = initializer(graph, f"{node.name}_rows", np.array([-1, array.shape[0]], np.int64))
        nodes.append(ir.node("Reshape", [x, flat], name=f"{node.name}_flat"))
        inputs[0] = nodes[-1].outputs[0]
    gemm = ir.node("Gemm", inputs, {"transB": 1}, name=node.name)
    nodes.append(gemm)
    if len(sizes) > 2:
        free = sizes.index(None) if None in sizes else 0
        back = np.array([-1 if axis == free else size for axis, size in enumerate(sizes)], np.int64)
        back[-1] = array.shape[1]
        shape = initializer(graph, f"{node.name}_shape", back)
        nodes.append(ir.node("Reshape", [gemm.outputs[0], shape], name=f"{node.name}_back"))
    replace(graph, last, *nodes)
    if last is not node:
        graph.remove(node, safe=True)
