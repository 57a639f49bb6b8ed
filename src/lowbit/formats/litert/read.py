"""What a .tflite file says of itself: shapes, metadata, what it stores, and what its layers' weights take."""

from collections.abc import Iterator
from math import prod
from pathlib import Path

from lowbit.core.stored import StoredGraph, StoredOperator, StoredTensor
from lowbit.formats.facts import FileFacts
from lowbit.formats.litert.reading.content import LiteRTGraph, read_content
from lowbit.formats.scores import are_probabilities


def read_litert(path: Path) -> FileFacts:
    """Raises UnsupportedError where it is no TFLite file."""
    content = read_content(path)
    graph = content.graphs[0]  # others are bodies of its operators
    shape, scores = graph.tensors[graph.inputs[0]].shape, graph.tensors[graph.outputs[0]].shape
    bytes_of, layer_of = {}, {}
    for operator in graph.operators:
        for tensor in operator.inputs:
            layer, slash, part = graph.tensors[tensor].name.rpartition("/") if tensor >= 0 else ("", "", "")
            if slash and part == "weight":
                bytes_of[layer] = graph.tensors[tensor].stored_bytes
                layer_of[graph.tensors[operator.outputs[0]].name] = layer
    last = shape[-1] in (1, 3) and shape[1] not in (1, 3)  # channels last, as other converters write
    return FileFacts(
        input_shape=(shape[-1], *shape[1:-1]) if last else shape[1:],
        outputs=prod(scores[1:]),
        batch_size=shape[0],
        metadata=content.metadata,
        weight_bytes=bytes_of,
        layer_of=layer_of,
        results=len(graph.outputs),
        probabilities=are_probabilities(_backwards(graph)),
    )


def stored_litert(path: Path) -> StoredGraph:
    """Tensors and operators of the file's graph. Raises UnsupportedError where it is no TFLite file."""
    graph = read_content(path).graphs[0]
    names = _own_names(graph)
    tensors = [
        StoredTensor(
            name=names[index],
            kind=tensor.kind.lower(),
            shape=tensor.shape,
            bits=tensor.bits,
            stored_bytes=tensor.stored_bytes,
            scales=tensor.scales if tensor.is_quantized else (),
            zero_points=tensor.zero_points if tensor.is_quantized else (),
            axis=tensor.axis if tensor.is_quantized and len(tensor.scales) > 1 else None,
        )
        for index, tensor in enumerate(graph.tensors)
    ]
    operators = [
        StoredOperator(
            name=names[operator.outputs[0]] if operator.outputs else str(number),
            kind=operator.custom or operator.kind,
            inputs=tuple(names[tensor] for tensor in operator.inputs if tensor >= 0),
            outputs=tuple(names[tensor] for tensor in operator.outputs),
        )
        for number, operator in enumerate(graph.operators)
    ]
    return StoredGraph(tuple(tensors), tuple(operators))


def _own_names(graph: LiteRTGraph) -> list[str]:
    """Every tensor's name, with its number where another tensor has the same or it has none."""
    taken: set[str] = set()
    names = []
    for index, tensor in enumerate(graph.tensors):
        name = tensor.name if tensor.name and tensor.name not in taken else f"{tensor.name}#{index}"
        taken.add(name)
        names.append(name)
    return names


def _backwards(graph: LiteRTGraph) -> Iterator[str]:
    """Kinds of the operators before the first output, along the first inputs."""
    makers = {tensor: operator for operator in graph.operators for tensor in operator.outputs}
    operator = makers.pop(graph.outputs[0], None)
    while operator is not None:
        yield operator.kind
        operator = makers.pop(operator.inputs[0], None) if operator.inputs else None
