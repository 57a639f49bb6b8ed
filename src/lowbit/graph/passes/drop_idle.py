"""Operators that do nothing in inference become Identity.

Requires: inference mode (`check_graph` refuses a Dropout that trains); constants as initializers.
Ensures: no Dropout whose mask nobody reads, and no Pad by nothing (Swin's).
"""

import onnx_ir as ir


def drop_idle(model: ir.Model) -> None:
    """Make them Identity, in place."""
    for node in list(model.graph):
        pads = node.inputs[1].const_value if node.op_type == "Pad" and node.inputs[1] is not None else None
        idle = node.op_type == "Dropout" and not any(mask.uses() for mask in node.outputs[1:])
        if idle or (pads is not None and not pads.numpy().any()):
            node.op_type = "Identity"
            node.attributes.clear()
            node.resize_inputs(1)
            node.resize_outputs(1)
