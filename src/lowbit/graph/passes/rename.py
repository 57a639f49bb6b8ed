"""Short names: exporters write paths that make a quantized file a quarter larger.

Requires: nothing.
Ensures: operators are named by kind and number ("Conv_12"), those of a nested graph after the operator that holds it
("If_3_Conv_0"); so are the values they give. No name is used twice, not even in different nested graphs. Inputs,
outputs and initializers of the main graph keep their names.
"""

from collections.abc import Iterator

import onnx_ir as ir


def rename(model: ir.Model) -> None:
    """Rename operators and their values, in place."""
    graph = model.graph
    taken = {value.name for value in (*graph.inputs, *graph.outputs)} | set(graph.initializers)
    kept = set(graph.outputs)
    _rename_nodes(graph, "", taken, kept)
    for number, node in enumerate(graph):
        _rename_nested(node, f"{node.op_type}_{number}", taken)


def _rename_nodes(graph: ir.Graph, prefix: str, taken: set[str | None], kept: set[ir.Value]) -> None:
    for number, node in enumerate(graph):
        node.name = f"{prefix}{node.op_type}_{number}"
        for index, value in enumerate(node.outputs):
            if value.name and value not in kept:
                value.name = _free(node.name if index == 0 else f"{node.name}_{index}", taken)


def _rename_nested(node: ir.Node, name: str, taken: set[str | None]) -> None:
    """Everything in the graphs that `node` holds: a name of theirs hides the same name outside."""
    for graph in _nested(node):
        for number, value in enumerate((*graph.inputs, *graph.initializers.values())):
            value.name = _free(f"{name}_value_{number}", taken)
        _rename_nodes(graph, f"{name}_", taken, set())
        for number, inner in enumerate(graph):
            _rename_nested(inner, f"{name}_{inner.op_type}_{number}", taken)


def _nested(node: ir.Node) -> Iterator[ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def _free(name: str, taken: set[str | None]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
