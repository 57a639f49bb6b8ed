"""What an OpenVINO IR says of itself: shapes, metadata, and what its layers' weights take. Needs no OpenVINO."""

import xml.etree.ElementTree as ET
from math import prod
from pathlib import Path

from lowbit.formats.facts import FileFacts


def read_openvino(path: Path) -> FileFacts:
    """Of the .xml file; the .bin beside it is not read. Raises what the parser raises where it is no IR."""
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
    return FileFacts(tuple(shape[1:]), prod(scores[1:]), shape[0] or None, metadata, bytes_of)


def _attribute(layer: ET.Element, part: str, name: str) -> str:
    found = layer.find(part)
    return "" if found is None else found.get(name) or ""


def _size(text: str) -> int:
    """0 for a size that is free: "?", "-1" or a range."""
    return int(text) if text.strip().isdigit() else 0
