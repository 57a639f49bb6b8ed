"""Job `inspect`: what a file says of itself, what its layers' weights take, and what a runtime executes of it."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

from lowbit.core.adapter import OpPrecision, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.errors import UnsupportedError
from lowbit.core.refusal import refusal
from lowbit.runtimes import find
from lowbit.worker.jobs import InspectJob

_OPENVINO = "/WithoutBiases"  # what OpenVINO calls a layer whose bias it has taken off, and what it fused behind it


@dataclass(frozen=True, slots=True)
class Inspected:
    """metadata: the file's own entries, key → text; weight_bytes: layer → bytes of its stored weights, where our engine
    named them; operators: what was executed, those with weights under their layer's name.
    """

    metadata: dict[str, str]
    weight_bytes: dict[str, int]
    operators: tuple[OpPrecision, ...]


@dataclass(frozen=True, slots=True)
class _File:
    """What a file's own bytes say. layer_of: an operator's name in the runtime → the layer, where they differ."""

    input_shape: tuple[int, ...]
    outputs: int
    batch_size: int | None
    metadata: dict[str, str]
    weight_bytes: dict[str, int]
    layer_of: dict[str, str] = field(default_factory=dict)


def run(job: InspectJob) -> Inspected:
    """Raises UnsupportedError for a format that does not say its shapes, and where the runtime refuses the file."""
    if job.format not in _READERS:
        raise UnsupportedError(f"a {job.format} file does not say the shape of its input", "look at the study's page")
    try:
        found = _READERS[job.format](job.path)
    except Exception as error:  # parsers of three formats share no base class
        raise refusal(f"it is no {job.format} file that can be read", error, job.path) from error
    if len(found.input_shape) != 3 or not all(found.input_shape):
        raise UnsupportedError(f"its input is {list(found.input_shape)} without the batch; [C, H, W] was expected")
    channels, height, width = found.input_shape
    artifact = Artifact(
        path=job.path,
        format=job.format,
        digest="",
        input_shape=(channels, height, width),
        outputs=found.outputs,
        batch_size=found.batch_size,
        runtime_options=job.runtime_options,
    )
    runtime = find.runtimes((job.runtime,))[job.runtime]
    with runtime.open_session(artifact, SessionOptions(job.threads, found.batch_size or 1)) as session:
        operators = session.executed_precision()
    layers = {*job.layers, *found.weight_bytes}
    named = tuple(_renamed(operator, layers, found.layer_of) for operator in operators)
    return Inspected(found.metadata, found.weight_bytes, named)


def _renamed(operator: OpPrecision, layers: Set[str], layer_of: Mapping[str, str]) -> OpPrecision:
    """Under its layer's name: runtimes append words (Conv_0/WithoutBiases), or name it by what it computes."""
    if not operator.macs:
        return operator
    name = layer_of.get(operator.name, operator.name).partition(_OPENVINO)[0]
    found = [layer for layer in layers if re.match(rf"{re.escape(layer)}(?!\w)", name)]
    return replace(operator, name=max(found, key=len, default=name))


def _onnx(path: Path) -> _File:
    import onnx

    model = onnx.load(path, load_external_data=False)
    initializers = {tensor.name for tensor in model.graph.initializer}
    (image,) = (value for value in model.graph.input if value.name not in initializers)
    shape = [dim.dim_value for dim in image.type.tensor_type.shape.dim]
    scores = [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim]
    bytes_of: dict[str, int] = {}
    for tensor in model.graph.initializer:
        layer, colon, part = tensor.name.rpartition(":w")
        if colon and (not part or part.isdigit()):
            bytes_of[layer] = bytes_of.get(layer, 0) + len(tensor.raw_data)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return _File(tuple(shape[1:]), prod(scores[1:]), shape[0] or None, metadata, bytes_of)


def _openvino(path: Path) -> _File:
    root = ET.parse(path).getroot()
    layers = root.findall("./layers/layer")
    (image,) = (layer for layer in layers if layer.get("type") == "Parameter")
    result = next(layer for layer in layers if layer.get("type") == "Result")
    shape = [_size(text) for text in _attribute(image, "data", "shape").split(",")]
    scores = [_size(dim.text or "") for dim in result.findall("./input/port/dim")]
    bytes_of: dict[str, int] = {}
    for layer in layers:
        name, colon, part = (layer.get("name") or "").rpartition(":codes")
        if layer.get("type") == "Const" and colon and (not part or part.isdigit()):
            bytes_of[name] = bytes_of.get(name, 0) + int(_attribute(layer, "data", "size"))
    metadata = {f"lowbit.{entry.tag}": entry.get("value") or "" for entry in root.findall("./rt_info/lowbit/*")}
    return _File(tuple(shape[1:]), prod(scores[1:]), shape[0] or None, metadata, bytes_of)


def _attribute(layer: ET.Element, part: str, name: str) -> str:
    found = layer.find(part)
    return "" if found is None else found.get(name) or ""


def _size(text: str) -> int:
    """0 for a size that is free: "?", "-1" or a range."""
    return int(text) if text.strip().isdigit() else 0


def _tflite(path: Path) -> _File:
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
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
    return _File(sample, prod(scores[1:]), shape[0], metadata, bytes_of, layer_of)


def _text(data: object) -> str:
    return bytes(bytearray(data)).decode(errors="replace") if data is not None else ""  # type: ignore[call-overload]


_READERS: dict[str, Callable[[Path], _File]] = {"onnx": _onnx, "openvino-ir": _openvino, "tflite": _tflite}
