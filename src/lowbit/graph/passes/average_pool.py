"""An average that counts its padding becomes a Pad and an average without padding.

OpenVINO averages in zeros that are not x's. Requires: nodes are named. Ensures: no AveragePool with count_include_pad
has pads, where its output size is not rounded up.
"""

import numpy as np
import onnx_ir as ir

from lowbit.graph.edit import initializer


def pad_average_pool(model: ir.Model) -> None:
    """AveragePool with count_include_pad: the same over a padded x."""
    for node in list(model.graph):
        if node.op_type == "AveragePool":
            _rewrite(model.graph, node)


def _rewrite(graph: ir.Graph, node: ir.Node) -> None:
    pads = list(node.attributes["pads"].as_ints()) if "pads" in node.attributes else []
    rounds_up = node.attributes.get_int("ceil_mode", 0)
    if not node.attributes.get_int("count_include_pad", 0) or not any(pads) or rounds_up:
        return
    spatial = len(pads) // 2
    amounts = np.array([0, 0, *pads[:spatial], 0, 0, *pads[spatial:]], np.int64)
    pad = ir.node("Pad", [node.inputs[0], initializer(graph, f"{node.name}_pads", amounts)], name=f"{node.name}_pad")
    graph.insert_before(node, [pad])
    node.replace_input_with(0, pad.outputs[0])
    for name in ("pads", "count_include_pad"):
        node.attributes.pop(name)
