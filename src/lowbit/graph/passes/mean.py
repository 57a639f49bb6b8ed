"""A mean over height and width becomes a GlobalAveragePool, however it is written.

A pooling of one window may give its result a grid of its own only where a runtime knows that it is a mean: LiteRT's
average over windows keeps the grid of what it reads.

Requires: shapes are inferred, nodes are named. Ensures: no ReduceMean of x [N, C, H, W] over exactly its last two axes
is left, nor an AveragePool of one window that is as large as x; where axes go, a Reshape does so behind the pooling.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from lowbit.graph.edit import initializer, replace
from lowbit.graph.values import constant, shape_of


def mean_to_pool(model: ir.Model) -> None:
    """ReduceMean of x [N, C, H, W] over the last two axes, or AveragePool of all of it → GlobalAveragePool."""
    for node in list(model.graph):
        if node.op_type == "ReduceMean":
            _rewrite(model.graph, node)
        elif node.op_type == "AveragePool" and _covers_all(node):
            replace(model.graph, node, ir.node("GlobalAveragePool", [node.inputs[0]], name=node.name))


def _covers_all(node: ir.Node) -> bool:
    """Whether the one window of a pooling is its whole input, without padding."""
    sizes = shape_of(node.inputs[0])
    kernel = list(node.attributes.get_ints("kernel_shape", ()))
    if sizes is None or kernel != sizes[2:] or any(node.attributes.get_ints("pads", ())):
        return False
    plain = node.attributes.get_string("auto_pad", "NOTSET") in ("NOTSET", "VALID")
    return plain and all(step == 1 for step in node.attributes.get_ints("dilations", ()))


def _rewrite(graph: ir.Graph, node: ir.Node) -> None:
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
        replace(graph, node, pool)
        return
    shape = initializer(graph, f"{node.name}_shape", np.array([-1, sizes[1]], np.int64))
    replace(graph, node, pool, ir.node("Reshape", [pool.outputs[0], shape], name=f"{node.name}_flat"))
