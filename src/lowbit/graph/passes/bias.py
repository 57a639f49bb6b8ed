"""Every layer gets a bias, since rounding its weights corrects the mean of its result there.

Requires: nodes are named; `plain_gemm` has run, so that a Gemm's weight is [O, K]. Ensures: every Conv, ConvTranspose
and Gemm with constant weights has three inputs.
"""

import numpy as np
import onnx_ir as ir

from lowbit.graph.edit import initializer
from lowbit.graph.values import constant

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm")


def add_bias(model: ir.Model) -> None:
    """A convolution or Gemm without bias → the same with a bias of zeros."""
    for node in list(model.graph):
        if node.op_type in _WEIGHTED:
            _rewrite(model.graph, node)


def _rewrite(graph: ir.Graph, node: ir.Node) -> None:
    weight = constant(node.inputs[1])
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    if weight is None or has_bias or node.attributes.get_int("transA", 0) == 1:
        return
    outputs = weight.shape[0]
    if node.op_type == "ConvTranspose":
        outputs = weight.shape[1] * node.attributes.get_int("group", 1)
    node.resize_inputs(3)
    node.replace_input_with(2, initializer(graph, f"{node.name}_bias", np.zeros(outputs, np.float32)))
