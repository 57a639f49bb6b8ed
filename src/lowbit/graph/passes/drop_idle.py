"""Leave out operators that do nothing in inference.

Requires: inference mode (`check_graph` refuses a Dropout that trains); constants as initializers.
Ensures: no Dropout whose mask nobody reads, no Pad by nothing (Swin's), no Cast to the type that its input has; no
Identity, except where it alone gives an output: of the main graph from an input or a constant, of a nested graph from
anything that is not the nested graph's own.
"""

import onnx_ir as ir


def drop_idle(model: ir.Model) -> None:
    """Drop them in place, in nested graphs too."""
    for node in list(ir.traversal.RecursiveGraphIterator(model.graph)):
        if _is_idle(node) and not _must_stay(node):
            _drop(node)
        elif _is_idle(node):
            node.op_type = "Identity"
            node.attributes.clear()
            node.resize_inputs(1)
            node.resize_outputs(1)


def _is_idle(node: ir.Node) -> bool:
    if node.domain != "" or not node.inputs or node.inputs[0] is None:
        return False
    if node.op_type == "Dropout":
        return not any(mask.uses() or mask.is_graph_output() for mask in node.outputs[1:])
    if node.op_type == "Pad":
        pads = node.inputs[1].const_value if len(node.inputs) > 1 and node.inputs[1] is not None else None
        return pads is not None and not pads.numpy().any()
    if node.op_type == "Cast":
        return node.inputs[0].dtype is not None and node.inputs[0].dtype == node.attributes.get_int("to", 0)
    return node.op_type == "Identity"


def _must_stay(node: ir.Node) -> bool:
    """Whether the value before it cannot take over the output's place."""
    before, after = node.inputs[0], node.outputs[0]
    if before is None or not after.is_graph_output():
        return False
    given_here = before.producer() is not None and before.graph is node.graph
    return not given_here or before.is_graph_output()


def _drop(node: ir.Node) -> None:
    """All that reads what `node` gives reads what it is given; the name of an output stays."""
    before, after, graph = node.inputs[0], node.outputs[0], node.graph
    if before is None or graph is None:
        return
    before.type, before.shape = before.type or after.type, before.shape or after.shape
    output_name = after.name if after.is_graph_output() else None
    ir.convenience.replace_all_uses_with(after, before, replace_graph_outputs=True)
    if output_name is not None:
        before.name = output_name
    graph.remove(node, safe=True)
