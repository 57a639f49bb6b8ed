"""Names for everything.

Requires: nothing. Ensures: every node has a name of its own, and so has every value; the graph's inputs, outputs and
initializers keep theirs.
"""

import onnx_ir as ir


def name_all(model: ir.Model) -> None:
    """Name what has no name, or one that is taken."""
    graph = model.graph
    nodes: set[str | None] = set()
    values = {value.name for value in (*graph.inputs, *graph.outputs)} | set(graph.initializers)
    for number, node in enumerate(graph):
        node.name = _free(node.name or f"{node.op_type}_{number}", nodes)
        for value in node.outputs:
            if not value.is_graph_output():
                value.name = _free(value.name or f"{node.name}_out", values)


def _free(name: str, taken: set[str | None]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
