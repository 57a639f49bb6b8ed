"""One type of float: half precision and double become float32, the type that every toolchain starts from.

Requires: a checked model.
Ensures: no float16, bfloat16 or float64 anywhere: weights, constants, inputs, outputs, what Cast and random operators
make. Half-precision numbers keep their values; doubles are rounded, and cut at float32's largest number.
"""

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from lowbit.graph.nested import with_nested

OTHERS = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16", TensorProto.DOUBLE: "float64"}

_TYPE_ATTRIBUTES = {"to", "dtype", "stash_type", "output_datatype", "softmax_precision"}  # operators' own names for it


def to_float32(model: onnx.ModelProto) -> list[str]:
    """Rewrite `model` in place; the types that were found besides float32, by name, in a fixed order."""
    found: set[int] = set()
    for graph in with_nested(model.graph):
        for tensor in graph.initializer:
            _convert(tensor, found)
        for node in graph.node:
            for attribute in node.attribute:
                for tensor in ([attribute.t] if attribute.HasField("t") else []) + list(attribute.tensors):
                    _convert(tensor, found)
                if attribute.name in _TYPE_ATTRIBUTES and attribute.i in OTHERS:
                    found.add(attribute.i)
                    attribute.i = TensorProto.FLOAT
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type in OTHERS:
                found.add(value.type.tensor_type.elem_type)
                value.type.tensor_type.elem_type = TensorProto.FLOAT
    return [name for kind, name in OTHERS.items() if kind in found]


def _convert(tensor: onnx.TensorProto, found: set[int]) -> None:
    if tensor.data_type not in OTHERS:
        return
    found.add(tensor.data_type)
    values = numpy_helper.to_array(tensor).astype(np.float64)
    most = np.finfo(np.float32).max
    cut = np.where(np.isfinite(values), values.clip(-most, most), values)
    tensor.CopyFrom(numpy_helper.from_array(cut.astype(np.float32), tensor.name))
