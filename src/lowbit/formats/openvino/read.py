"""What an OpenVINO IR says of itself: shapes, metadata, and what its layers' weights take. Needs no OpenVINO."""

import xml.etree.ElementTree as ET
from math import prod
from pathlib import Path

from lowbit.core.errors import UnsupportedError
from lowbit.core.refusal import vendor_call
from lowbit.formats.facts import FileFacts


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
    )


def _attribute(layer: ET.Element, part: str, name: str) -> str:
    found = layer.find(part)
    return "" if found is None else found.get(name) or ""


def _size(text: str) -> int:
    """0 for a size that is free: "?", "-1" or a range."""
    return int(text) if text.strip().isdigit() else 0
