"""What a .tflite file says of itself: shapes, metadata, and what its layers' weights take."""

from collections.abc import Iterator
from math import prod
from pathlib import Path

from lowbit.core.errors import UnsupportedError
from lowbit.core.refusal import vendor_call
from lowbit.formats.facts import FileFacts
from lowbit.formats.scores import are_probabilities


def read_litert(path: Path) -> FileFacts:
    """Raises UnsupportedError where it is no TFLite file."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    with vendor_call("it is no TFLite file that can be read", path):
        model = flatbuffer_utils.read_model(str(path))
    if not model.subgraphs:
        raise UnsupportedError(f"{path.name} has no graph")
    graph = model.subgraphs[0]  # others are bodies of its operators

    def name(tensor: int) -> str:
        return str((graph.tensors[tensor].name or b"").decode())

    def length(buffer: int) -> int:
        data = model.buffers[buffer].data
        return 0 if data is None else len(data)

    shape = [int(size) for size in graph.tensors[graph.inputs[0]].shape]
    scores = [int(size) for size in graph.tensors[graph.outputs[0]].shape]
    bytes_of, layer_of = {}, {}
    for operator in graph.operators:
        for tensor in operator.inputs:
            layer, slash, part = name(tensor).rpartition("/") if tensor >= 0 else ("", "", "")
            if slash and part == "weight":
                bytes_of[layer] = length(graph.tensors[tensor].buffer)
                layer_of[name(operator.outputs[0])] = layer
    metadata = {entry.name.decode(): _text(model.buffers[entry.buffer].data) for entry in model.metadata or []}
    last = shape[-1] in (1, 3) and shape[1] not in (1, 3)  # channels last, as other converters write
    sample = (shape[-1], *shape[1:-1]) if last else tuple(shape[1:])
    kinds = {number: kind for kind, number in vars(schema.BuiltinOperator).items() if not kind.startswith("_")}
    makers = {int(tensor): operator for operator in graph.operators for tensor in operator.outputs}

    def backwards() -> Iterator[str]:
        """Kinds of the operators before the first output, along the first inputs."""
        operator = makers.pop(int(graph.outputs[0]), None)
        while operator is not None:
            code = model.operatorCodes[operator.opcodeIndex]
            yield kinds.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")
            operator = makers.pop(int(operator.inputs[0]), None) if len(operator.inputs) else None

    return FileFacts(
        input_shape=sample,
        outputs=prod(scores[1:]),
        batch_size=shape[0],
        metadata=metadata,
        weight_bytes=bytes_of,
        layer_of=layer_of,
        results=len(graph.outputs),
        probabilities=are_probabilities(backwards()),
    )


def _text(data: object) -> str:
    return bytes(bytearray(data)).decode(errors="replace") if data is not None else ""  # type: ignore[call-overload]
