"""Values of a graph: the numbers of constants and the sizes of what is computed."""

from typing import Any

import numpy.typing as npt
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
