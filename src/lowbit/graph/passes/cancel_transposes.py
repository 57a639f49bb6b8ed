"""Leave out a Transpose that puts back what another one before it has turned.

Requires: nothing.
Ensures: no Transpose in the main graph undoes the Transpose that it reads, except where it gives an output. The first
one is left where others read it.
"""

import onnx_ir as ir


def cancel_transposes(model: ir.Model) -> None:
    """Drop them in place: tf2onnx begins every graph with the opposite of what an NHWC input needs."""
    for node in list(model.graph):
        value = node.inputs[0] if node.op_type == "Transpose" else None
        before = value.producer() if value is not None else None
        if before is None or before.op_type != "Transpose" or node.outputs[0].is_graph_output():
            continue
        first, second = _order(before), _order(node)
        source = before.inputs[0]
        if source is not None and first and second and [first[axis] for axis in second] == sorted(first):
            ir.convenience.replace_all_uses_with(node.outputs[0], source)
            model.graph.remove(node, safe=True)


def _order(node: ir.Node) -> list[int]:
    """Which axis goes where; empty where the standard's default, all axes reversed, leaves their number open."""
    return list(node.attributes["perm"].as_ints()) if "perm" in node.attributes else []
