"""A .tflite file that TensorFlow's converter wrote: what is in it, and metadata of ours."""

from typing import Any

import numpy as np

from lowbit.core.errors import LowbitError, UnsupportedError
from lowbit.core.recipe import Recipe

_PRODUCTS = frozenset({"CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})
_VARIABLES = frozenset({"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"})


def check_file(content: bytes, recipe: Recipe, weights: int) -> None:
    """Look at what the converter wrote, since it goes wrong without an error: weights that are missing, or their types.

    weights: how many numbers the kernels hold. Raises LowbitError for a file that is too small or keeps variables, and
    UnsupportedError where no layer has the activations that the recipe promises.
    """
    model = _read(content)
    kinds, activations = set(), set()
    for graph in model.subgraphs:
        for operator in graph.operators:
            kind = _kind(model, operator)
            kinds.add(kind)
            if kind in _PRODUCTS:
                place = 2 if kind == "TRANSPOSE_CONV" else 0
                activations.add(_type(graph.tensors[operator.inputs[place]].type))
    if kinds & _VARIABLES:
        raise LowbitError(
            f"TensorFlow's converter left variables in the file ({', '.join(sorted(kinds & _VARIABLES))})"
        )
    least = int(0.9 * weights * (recipe.weight_bits or 8) / 8)
    if len(content) < least:
        raise LowbitError(f"TensorFlow's converter wrote {len(content):,} bytes; the weights alone take {least:,}")
    if recipe.claim != "integer" or not activations:
        return
    promised = f"INT{recipe.activation_bits}"
    if promised not in activations:
        raise UnsupportedError(
            f"TensorFlow's converter left every layer's activations in {', '.join(sorted(activations))}, not {promised}"
        )


def with_metadata(content: bytes, entries: dict[str, str]) -> bytes:
    """The same file with `entries` in TFLite's metadata: each a name and a buffer of UTF-8."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = _read(content)
    model.metadata = model.metadata or []
    for key, text in entries.items():
        entry, buffer = schema.MetadataT(), schema.BufferT()
        entry.name, entry.buffer = key, len(model.buffers)
        buffer.data = np.frombuffer(text.encode(), np.uint8)
        model.buffers.append(buffer)
        model.metadata.append(entry)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _read(content: bytes) -> Any:
    from tensorflow.lite.tools import flatbuffer_utils

    return flatbuffer_utils.read_model_from_bytearray(bytearray(content))


def _kind(model: Any, operator: Any) -> str:
    from tensorflow.lite.tools import flatbuffer_utils

    return str(flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex))


def _type(number: int) -> str:
    from tensorflow.lite.tools import flatbuffer_utils

    return str(flatbuffer_utils.type_to_name(number))
