"""Write the bias of a Gemm as [O], one number an output: CNTK and Keras write [1, O], on which quantizers trip.

Requires: weights as initializers.
Ensures: a Gemm's constant bias has the shape [O] where its weight is constant too.
"""

import numpy as np
import onnx_ir as ir

from lowbit.graph.edit import initializer
from lowbit.graph.values import constant


def flat_gemm_bias(model: ir.Model) -> None:
    """Rewrite in place; a bias that others read stays for them."""
    for node in model.graph:
        bias = constant(node.inputs[2]) if node.op_type == "Gemm" and len(node.inputs) > 2 else None
        weight = constant(node.inputs[1]) if bias is not None else None
        if bias is None or weight is None:
            continue
        outputs = weight.shape[0 if node.attributes.get_int("transB", 0) == 1 else 1]
        one_row = bias.size == 1 or bias.size == bias.shape[-1] == outputs
        if bias.shape == (outputs,) or not one_row:
            continue
        old, row = node.inputs[2], np.ascontiguousarray(np.broadcast_to(bias.reshape(-1), (outputs,)))
        new = initializer(model.graph, f"{node.outputs[0].name}_bias", row)
        node.replace_input_with(2, new)
        if old is not None and not old.uses():
            name = str(old.name)
            model.graph.initializers.pop(name)
            new.name = name
