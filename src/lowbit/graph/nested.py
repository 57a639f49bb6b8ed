"""Graphs within graphs: the branches of If, the bodies of Loop and Scan."""

from collections.abc import Iterator

import onnx


def with_nested(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """`graph` itself, and all graphs in its nodes' attributes, at any depth."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for nested in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from with_nested(nested)
