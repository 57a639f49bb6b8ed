"""A BatchNormalization with no layer before it becomes a depthwise 1 × 1 convolution, which is exact at 8 bits.

Requires: shapes are inferred, nodes are named; `fold_batchnorm` has run. Ensures: no BatchNormalization of constants
over [N, C, L] or [N, C, H, W] is left.
"""

import numpy as np
import onnx_ir as ir

from lowbit.graph.edit import initializer, replace
from lowbit.graph.values import constant, shape_of


def batchnorm_to_depthwise(model: ir.Model) -> None:
    """BatchNormalization of x [N, C, …] → Conv with one weight a channel."""
    for node in list(model.graph):
        if node.op_type == "BatchNormalization":
            _rewrite(model.graph, node)


def _rewrite(graph: ir.Graph, node: ir.Node) -> None:
    parameters = [constant(value) for value in node.inputs[1:5]]
    sizes = shape_of(node.inputs[0])
    if any(p is None for p in parameters) or sizes is None or len(sizes) not in (3, 4):
        return
    gamma, beta, mean, variance = (p.astype(np.float64) for p in parameters if p is not None)
    scale = gamma / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    spatial = len(sizes) - 2
    weight = initializer(graph, f"{node.name}_weight", scale.astype(np.float32).reshape(-1, 1, *[1] * spatial))
    bias = initializer(graph, f"{node.name}_bias", (beta - scale * mean).astype(np.float32))
    attributes: dict[str, int | list[int]] = {"group": len(scale), "kernel_shape": [1] * spatial}
    replace(graph, node, ir.node("Conv", [node.inputs[0], weight, bias], attributes, name=node.name))
