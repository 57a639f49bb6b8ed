"""A global average over one axis is one over two, the second of size 1.

OpenVINO 2026.4 computes the average of [N, C, L] wrongly on integers where there are fewer than 8 channels. Requires:
shapes are inferred, nodes are named. Ensures: no GlobalAveragePool reads three axes.
"""

import numpy as np
import onnx_ir as ir

from lowbit.graph.edit import initializer, replace
from lowbit.graph.values import shape_of


def widen_global_average_pool(model: ir.Model) -> None:
    """GlobalAveragePool of x [N, C, L] → of x [N, C, L, 1], whose last axis goes behind it."""
    for node in list(model.graph):
        if node.op_type == "GlobalAveragePool" and len(shape_of(node.inputs[0]) or []) == 3:
            _rewrite(model.graph, node)


def _rewrite(graph: ir.Graph, node: ir.Node) -> None:
    axis = initializer(graph, f"{node.name}_axis", np.array([3], np.int64))
    wide = ir.node("Unsqueeze", [node.inputs[0], axis], name=f"{node.name}_wide")
    pool = ir.node("GlobalAveragePool", [wide.outputs[0]], name=node.name)
    narrow = ir.node("Squeeze", [pool.outputs[0], axis], name=f"{node.name}_narrow")
    replace(graph, node, wide, pool, narrow)
