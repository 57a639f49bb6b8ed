"""A Gemm with constant weight and bias is written in one way only.

Requires: nodes are named. Ensures: such a Gemm has a weight [O, K] (transB), a bias [O] if any, alpha = beta = 1 and no
other attribute; one whose bias is computed, or that transposes its left side, is left as it is.
"""

import numpy as np
import onnx_ir as ir

from lowbit.graph.edit import initializer
from lowbit.graph.values import constant


def plain_gemm(model: ir.Model) -> None:
    """Gemm with constant weight and bias → weight [O, K], alpha = beta = 1."""
    for node in list(model.graph):
        if node.op_type == "Gemm":
            _rewrite(model.graph, node)


def _rewrite(graph: ir.Graph, node: ir.Node) -> None:
    weight = constant(node.inputs[1])
    computed = len(node.inputs) > 2 and node.inputs[2] is not None and constant(node.inputs[2]) is None
    if weight is None or computed or node.attributes.get_int("transA", 0) == 1:
        return
    transposed = node.attributes.get_int("transB", 0) == 1
    alpha, beta = (node.attributes.get_float(name, 1.0) for name in ("alpha", "beta"))
    if not transposed or alpha != 1:
        array = weight if transposed else weight.T
        fresh = initializer(
            graph, f"{node.name}_weight", np.ascontiguousarray(array.astype(np.float32) * np.float32(alpha))
        )
        node.replace_input_with(1, fresh)
    outputs = weight.shape[0 if transposed else 1]
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if bias is not None and (beta != 1 or bias.shape != (outputs,)) and bias.size in (1, outputs):
        row = np.broadcast_to(bias.reshape(-1), (outputs,)).astype(np.float32) * np.float32(beta)
        node.replace_input_with(2, initializer(graph, f"{node.name}_bias", row))
    for name in ("alpha", "beta", "transB", "transA"):
        node.attributes.pop(name, None)
    node.attributes["transB"] = ir.AttrInt64("transB", 1)
