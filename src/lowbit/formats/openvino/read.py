"""What an OpenVINO IR says of itself: shapes, metadata, and what its layers' weights take. Needs no OpenVINO."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from math import prod
from pathlib import Path

from lowbit.core.errors import UnsupportedError
from lowbit.core.refusal import vendor_call
from lowbit.core.stored import StoredGraph, StoredOperator, StoredTensor
from lowbit.formats.facts import FileFacts
from lowbit.formats.scores import are_probabilities


def read_openvino(path: Path) -> FileFacts:
    """Of the .xml file; the .bin beside it is not read. Raises UnsupportedError where it is no XML."""
    with vendor_call("it is no OpenVINO IR that can be read", path, errors=(ET.ParseError,)):
        root = ET.parse(path).getroot()
    layers = root.findall("./layers/layer")
    images = [layer for layer in layers if layer.get("type") == "Parameter"]
    results = [layer for layer in layers if layer.get("type") == "Result"]
    if len(images) != 1 or not results:
        raise UnsupportedError(
            f"{path.name} has {len(images)} inputs and {len(results)} outputs, "
            "one input and at least one output were expected of an OpenVINO IR"
        )
    (image,), result = images, results[0]
    shape = [_size(text) for text in _attribute(image, "data", "shape").split(",")]
    scores = [_size(dim.text or "") for dim in result.findall("./input/port/dim")]
    bytes_of: dict[str, int] = {}
    for layer in layers:
        name, colon, part = (layer.get("name") or "").rpartition(":codes")
        if layer.get("type") == "Const" and colon and (not part or part.isdigit()):
            bytes_of[name] = bytes_of.get(name, 0) + int(_attribute(layer, "data", "size"))
    metadata = {f"lowbit.{entry.tag}": entry.get("value") or "" for entry in root.findall("./rt_info/lowbit/*")}
    return FileFacts(
        input_shape=tuple(shape[1:]),
        outputs=prod(scores[1:]) if scores else 0,
        batch_size=shape[0] or None,
        metadata=metadata,
        weight_bytes=bytes_of,
        results=len(results),
        probabilities=are_probabilities(_backwards(root, layers, result)),
    )


def stored_openvino(path: Path) -> StoredGraph:
    """Constants and operators of the .xml file, whose grids are operators too, so that no tensor states one.

    Raises UnsupportedError where it is no XML.
    """
    with vendor_call("it is no OpenVINO IR that can be read", path, errors=(ET.ParseError,)):
        root = ET.parse(path).getroot()
    layers = root.findall("./layers/layer")
    names = {(layer.get("id"), port.get("id")): _port_name(layer, port) for layer in layers for port in _outputs(layer)}
    sources = {
        (edge.get("to-layer"), edge.get("to-port")): names.get((edge.get("from-layer"), edge.get("from-port")), "")
        for edge in root.findall("./edges/edge")
    }
    tensors, operators = [], []
    for layer in layers:
        constant = layer.get("type") == "Const"
        for port in _outputs(layer):
            kind = _attribute(layer, "data", "element_type") if constant else (port.get("precision") or "").lower()
            digits = "".join(letter for letter in kind if letter.isdigit())
            tensors.append(
                StoredTensor(
                    name=_port_name(layer, port),
                    kind=kind,
                    shape=tuple(_size(dim.text or "") for dim in port.findall("./dim")),
                    bits=int(digits) if digits else 8 if kind == "boolean" else None,
                    stored_bytes=int(_attribute(layer, "data", "size") or 0) if constant else 0,
                )
            )
        if not constant and layer.get("type") not in ("Parameter", "Result"):
            read = [sources.get((layer.get("id"), port.get("id")), "") for port in layer.findall("./input/port")]
            operators.append(
                StoredOperator(
                    name=layer.get("name") or "",
                    kind=layer.get("type") or "",
                    inputs=tuple(name for name in read if name),
                    outputs=tuple(_port_name(layer, port) for port in _outputs(layer)),
                )
            )
    return StoredGraph(tuple(tensors), tuple(operators))


def _outputs(layer: ET.Element) -> list[ET.Element]:
    return layer.findall("./output/port")


def _port_name(layer: ET.Element, port: ET.Element) -> str:
    """The layer's name; with the port's number where a layer gives several tensors."""
    name = layer.get("name") or f"layer {layer.get('id')}"
    return name if len(_outputs(layer)) == 1 else f"{name}:{port.get('id')}"


def _backwards(root: ET.Element, layers: list[ET.Element], last: ET.Element) -> Iterator[str]:
    """Kinds of the layers before `last`, along the first inputs."""
    by_id = {layer.get("id"): layer for layer in layers}
    makers: dict[str | None, ET.Element | None] = {}
    first: dict[str | None, int] = {}
    for edge in root.findall("./edges/edge"):
        target, port = edge.get("to-layer"), int(edge.get("to-port") or 0)
        if port <= first.get(target, port):
            first[target], makers[target] = port, by_id.get(edge.get("from-layer"))
    layer = makers.pop(last.get("id"), None)
    while layer is not None:
        yield layer.get("type") or ""
        layer = makers.pop(layer.get("id"), None)  # taken out: a broken file may go round in circles


def _attribute(layer: ET.Element, part: str, name: str) -> str:
    found = layer.find(part)
    return "" if found is None else found.get(name) or ""


def _size(text: str) -> int:
    """0 for a size that is free: "?", "-1" or a range."""
    return int(text) if text.strip().isdigit() else 0
