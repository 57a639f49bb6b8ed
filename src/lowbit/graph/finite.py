"""Weights must be numbers: NaN and infinities in them are what a training run leaves that diverged.

A constant that is no weight may be infinite on purpose: the mask of causal attention, the bound of a Clip, the padding
of a maximum. So what a constant is used for decides; NaN is never meant.
"""

import numpy as np
import onnx
from onnx import numpy_helper

from lowbit.core.errors import BadInput
from lowbit.core.text import said
from lowbit.graph.nested import with_nested

_WEIGHTS = {  # operator → inputs that it multiplies by, or adds to a product
    "BatchNormalization": (1, 2, 3, 4),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "DeformConv": (1, 3),
    "Einsum": (0, 1),
    "GRU": (1, 2, 3),
    "Gemm": (0, 1, 2),
    "GroupNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LSTM": (1, 2, 3),
    "LayerNormalization": (1, 2),
    "MatMul": (0, 1),
    "PRelu": (1,),
    "RNN": (1, 2, 3),
}
_MOVERS = {"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}  # they keep a weight's values
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)


def check_finite(model: onnx.ModelProto, where: str) -> None:
    """BadInput, naming `where` and the tensor, for NaN in any constant and for infinite values in a weight."""
    graphs = list(with_nested(model.graph))
    weights = _weight_names([node for graph in graphs for node in graph.node])
    for graph in graphs:
        for tensor in graph.initializer:
            _check(tensor, tensor.name, where, weight=tensor.name in weights)
        for node in graph.node:
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.name == "value":
                    _check(attribute.t, node.output[0], where, weight=node.output[0] in weights)


def _weight_names(nodes: list[onnx.NodeProto]) -> set[str]:
    """Names of all values that are read as weights, and of what they are made from by moving entries."""
    givers = {name: node for node in nodes for name in node.output}
    found: set[str] = set()
    for node in nodes:
        for index in _WEIGHTS.get(node.op_type, ()):
            name = node.input[index] if len(node.input) > index else ""
            while name and name not in found:
                found.add(name)
                giver = givers.get(name)
                name = giver.input[0] if giver is not None and giver.op_type in _MOVERS else ""
    return found


def _check(tensor: onnx.TensorProto, name: str, where: str, *, weight: bool) -> None:
    if tensor.data_type not in _FLOATS:
        return
    try:
        values = numpy_helper.to_array(tensor)
    except ValueError as error:
        raise BadInput(
            f"{where}: the values of {name!r} do not fill its shape {list(tensor.dims)} ({said(error)}); "
            "export it again"
        ) from error
    bad = int(values.size - np.isfinite(values).sum() if weight else np.isnan(values).sum())
    if bad:
        raise BadInput(
            f"{where}: {bad:,} of the {values.size:,} values of {name!r} are NaN or infinite; expected finite weights: "
            "look for where the training diverged"
        )
