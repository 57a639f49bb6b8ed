"""Entries of our own in a .tflite file that a vendor's converter has written."""

import numpy as np


def with_metadata(content: bytes, entries: dict[str, str]) -> bytes:
    """The same file with `entries` in TFLite's metadata: each a name and a buffer of UTF-8."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    model.metadata = model.metadata or []
    for key, text in entries.items():
        entry, buffer = schema.MetadataT(), schema.BufferT()
        entry.name, entry.buffer = key, len(model.buffers)
        buffer.data = np.frombuffer(text.encode(), np.uint8)
        model.buffers.append(buffer)
        model.metadata.append(entry)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
