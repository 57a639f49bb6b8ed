"""Values of a graph: numbers of constants, sizes of what is computed, the image that goes in."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir


def constant(value: ir.Value | None) -> npt.NDArray[Any] | None:
    """The numbers of an initializer; None for a value that is computed."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def shape_of(value: ir.Value | None) -> list[int | None] | None:
    """Sizes of a value, None for one that depends on the batch; None for an unknown rank."""
    if value is None or value.shape is None:
        return None
    return [size if isinstance(size, int) else None for size in value.shape]


def real_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that are no weights: old files list their initializers among the inputs."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def image_input(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    """The only real input of a graph that `check_graph` has passed."""
    (only,) = real_inputs(model)
    return only


def dims(value: onnx.ValueInfoProto) -> list[int | str | None] | None:
    """Shape of `value`: an int, a symbol's name or None (unknown; some write 0) an axis; None without even a rank."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [dim.dim_value if dim.dim_value > 0 else (dim.dim_param or None) for dim in tensor.shape.dim]


def described(value: onnx.ValueInfoProto) -> str:
    """How a message calls a value: 'name' float32 [1, 3, ?, ?]."""
    shape = dims(value)
    sides = "of unknown shape" if shape is None else f"[{', '.join(str(side or '?') for side in shape)}]"
    try:
        kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)).name
    except KeyError:
        kind = "of no tensor type"
    return f"{value.name!r} {kind} {sides}"
