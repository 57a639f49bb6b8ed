"""Compute what depends on sizes alone: exporters write `x.view(x.size(0), -1)` as Shape, Gather, Concat, Reshape.

Requires: inferred shapes, where the batch is a symbol; constants as initializers.
Ensures: sizes that are known are initializers. A Reshape to sizes of which one is not known goes to a constant shape:
0 for the size that the same axis had before, -1 for any other.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from lowbit.graph.edit import initializer
from lowbit.graph.values import constant

_KEPT = {"Cast", "Identity", "Squeeze", "Unsqueeze"}  # they change the rank of a list of sizes, or its type, at most

Size = int | str | None  # a number, a symbol, or unknown


def known_sizes(model: ir.Model) -> int:
    """Write them into the main graph, in place; how many operators read a constant now that was computed before."""
    graph = model.graph
    sizes: dict[ir.Value, tuple[Size, ...]] = {}
    changed = 0
    for node in list(graph):
        if len(node.outputs) == 1 and (found := _computed(node, sizes)) is not None:
            sizes[node.outputs[0]] = found
            changed += _as_constant(graph, node.outputs[0], found)
        elif node.op_type == "Reshape" and (target := _target(node, sizes)) is not None:
            name = f"{node.outputs[0].name}_shape"
            node.replace_input_with(1, initializer(graph, name, np.array(target, np.int64)))
            changed += 1
    return changed


def _computed(node: ir.Node, sizes: dict[ir.Value, tuple[Size, ...]]) -> tuple[Size, ...] | None:
    """The numbers of a list of sizes, or of one size; None for what is no such thing."""
    if node.op_type == "Shape":
        return _shape(node)
    if not node.inputs or node.inputs[0] is None:
        return None
    given = _sizes(node.inputs[0], sizes)
    if given is None:
        return None
    if node.op_type in _KEPT and node.outputs[0].dtype in (None, ir.DataType.INT64, ir.DataType.INT32):
        return given
    if node.op_type == "Gather":
        index = constant(node.inputs[1])
        if index is None or index.ndim > 1:
            return None
        return tuple(given[int(i)] for i in index.reshape(-1))
    if node.op_type == "Slice":
        start, end = (constant(value) for value in node.inputs[1:3])
        step = np.ones(1) if len(node.inputs) < 5 or node.inputs[4] is None else constant(node.inputs[4])
        if start is None or end is None or step is None:
            return None
        return given[int(start[0]) : int(end[0]) : int(step[0])]
    if node.op_type == "Concat":
        parts = [_sizes(value, sizes) for value in node.inputs]
        return None if None in parts else tuple(size for part in parts if part is not None for size in part)
    return None


def _shape(node: ir.Node) -> tuple[Size, ...] | None:
    value = node.inputs[0]
    if value is None or value.shape is None:
        return None
    found = [size if isinstance(size, int) else size.value for size in value.shape]
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(found))
    return tuple(found[start:end])


def _sizes(value: ir.Value | None, sizes: dict[ir.Value, tuple[Size, ...]]) -> tuple[Size, ...] | None:
    """Sizes found before, or a constant list of integers."""
    if value in sizes:
        return sizes[value]
    array = constant(value)
    if array is None or array.ndim > 1 or array.dtype.kind != "i":
        return None
    return tuple(int(number) for number in array.reshape(-1))


def _as_constant(graph: ir.Graph, value: ir.Value, found: Sequence[Size]) -> bool:
    """Let an initializer take the value's place where all sizes are known and its rank is."""
    if value.is_graph_output() or not value.uses() or value.shape is None or value.dtype is None:
        return False
    if not all(isinstance(size, int) for size in found):
        return False
    array = np.array(found, value.dtype.numpy()).reshape([1] * len(value.shape) if len(value.shape) != 1 else -1)
    ir.convenience.replace_all_uses_with(value, initializer(graph, f"{value.name}_sizes", array))
    return True


def _target(node: ir.Node, sizes: dict[ir.Value, tuple[Size, ...]]) -> list[int] | None:
    """The constant shape that a Reshape to computed sizes stands for; None where there is none."""
    x, shape = node.inputs[:2]
    found = sizes.get(shape) if shape is not None else None
    if found is None or constant(shape) is not None or node.attributes.get_int("allowzero", 0) == 1 or 0 in found:
        return None
    before = [] if x is None or x.shape is None else [side if isinstance(side, int) else side.value for side in x.shape]
    target: list[int] = []
    for axis, size in enumerate(found):
        same = isinstance(size, str) and axis < len(before) and before[axis] == size
        target.append(size if isinstance(size, int) else 0 if same else -1)
    return target if target.count(-1) <= 1 else None
