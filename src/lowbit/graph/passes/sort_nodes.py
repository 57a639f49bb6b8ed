"""Put operators in the order in which they can run: keras2onnx and hand-written converters list them in any order.

Requires: nothing; not even a valid model.
Ensures: every operator stands behind those whose values it reads, in nested graphs and functions too, where a value
may come from any graph around. A model that is in order comes back as it is.
"""

from collections.abc import Iterable

import onnx
import onnx_ir as ir

from lowbit.core.errors import BadInput


def sort_nodes(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """`model`, or a sorted copy of it; BadInput, naming `where`, when operators read each other in a circle."""
    in_order = _graph_in_order(model.graph, frozenset()) and all(
        _nodes_in_order(function.node, set(function.input)) for function in model.functions
    )
    if in_order:
        return model
    graph = ir.from_proto(model)
    try:
        graph.graph.sort()
        for function in graph.functions.values():
            function.sort()
    except ValueError as error:
        raise BadInput(
            f"{where}: its operators read each other's values in a circle, so that none can run first; export it again"
        ) from error
    return ir.to_proto(graph)


def _graph_in_order(graph: onnx.GraphProto, around: Iterable[str]) -> bool:
    known = {*around, *(value.name for value in graph.input), *(tensor.name for tensor in graph.initializer)}
    known |= {tensor.values.name for tensor in graph.sparse_initializer}
    return _nodes_in_order(graph.node, known)


def _nodes_in_order(nodes: Iterable[onnx.NodeProto], known: set[str]) -> bool:
    """Whether each of `nodes` reads what is `known` already; a value that nobody gives counts as not in order."""
    for node in nodes:
        if not all(name in known for name in node.input if name):
            return False
        for attribute in node.attribute:
            nested = [attribute.g] if attribute.HasField("g") else []
            if not all(_graph_in_order(graph, known) for graph in (*nested, *attribute.graphs)):
                return False
        known |= set(node.output)
    return True
