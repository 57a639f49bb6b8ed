"""Rewrites each kind of .tflite operator for int8, one rule per family; an operator without a rule stays float."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lowbit.formats.litert import layers
from lowbit.formats.litert.file import TFLiteFile
from lowbit.formats.litert.forms import Forms, IntegerGrid
from lowbit.quant.model import QuantizedModel

_MOVES = {  # what they write are numbers that they read (or a fill): the same grid on both sides
    "BROADCAST_TO",
    "EXPAND_DIMS",
    "GATHER",
    "MAX_POOL_2D",
    "PAD",
    "PADV2",
    "REDUCE_MAX",
    "RESHAPE",
    "RESIZE_NEAREST_NEIGHBOR",
    "SLICE",
    "SPACE_TO_DEPTH",
    "DEPTH_TO_SPACE",
    "SPLIT",
    "SQUEEZE",
    "STRIDED_SLICE",
    "TRANSPOSE",
}
_SAME_GRID = {"AVERAGE_POOL_2D", "RESIZE_BILINEAR"}  # between numbers that they read, on the same grid
_CUTS = {"RELU", "RELU6", "RELU_0_TO_1"}
_ELEMENTWISE = {"ADD", "SUB", "MUL"}
_ANY_GRIDS = {"MEAN", "HARD_SWISH", "LEAKY_RELU", "GELU"}  # one input, a grid of its own on each side
_SPLITS = {"SPLIT": 1}  # the place of the activation, where it is not the first input


@dataclass(frozen=True, slots=True)
class Rewriting:
    """What the rules work on. names: tensor → ONNX values. notes: what stays float and why, filled on the way."""

    forms: Forms
    model: QuantizedModel
    names: dict[int, tuple[str, ...]]
    packed: bool
    done: set[str] = field(default_factory=set)  # layers that were found
    notes: list[str] = field(default_factory=list)
    floats: list[str] = field(default_factory=list)  # kinds of operators that are left in float

    @property
    def file(self) -> TFLiteFile:
        """The file that is rewritten."""
        return self.forms.file


def plan_backwards(file: TFLiteFile, planned: dict[int, IntegerGrid]) -> None:
    """Give a tensor without a grid the grid of its readers.

    This is done where all readers only move or cut numbers, and all have the same grid.
    """
    readers: dict[int, list[tuple[str, Any]]] = {}
    for kind, operator in file.old:
        for tensor in operator.inputs:
            readers.setdefault(int(tensor), []).append((kind, operator))
    outputs = set(map(int, file.graph.outputs))
    for kind, operator in reversed(file.old):
        for tensor in map(int, operator.outputs):
            after = readers.get(tensor, [])
            if tensor in planned or tensor in outputs or not after or not file.is_float(tensor):
                continue
            grids = {planned.get(int(op.outputs[0])) for kind, op in after if kind in _MOVES | _CUTS}
            only = grids.pop() if len(grids) == 1 and all(kind in _MOVES | _CUTS for kind, _ in after) else None
            if only is not None:
                planned[tensor] = only


def rewrite(work: Rewriting) -> None:
    """Append every old operator to the new graph, in integers where a rule can."""
    for kind, operator in work.file.old:
        if kind in layers.WEIGHTED:
            integer = _layer(work, kind, operator)
        elif kind in _MOVES | _SAME_GRID | _CUTS:
            integer = _unary(work, kind, operator)
        elif kind in _ANY_GRIDS:
            integer = _unary(work, kind, operator) if work.forms.planned.get(int(operator.outputs[0])) else False
        elif kind in _ELEMENTWISE or kind == "BATCH_MATMUL":
            integer = _binary(work, kind, operator)
        elif kind == "CONCATENATION":
            integer = _concatenation(work, kind, operator)
        else:
            integer = False
        if not integer:
            work.floats.append(kind)
            _float(work, operator)


def _layer(work: Rewriting, kind: str, operator: Any) -> bool:
    forms, target = work.forms, int(operator.outputs[0])
    found = layers.find_layer(work.file, kind, operator, work.names.get(target, ()), work.model)
    if found is None:
        return False
    name = str(found.node.name)
    work.done.add(name)
    value = found.node.inputs[0]
    assert value is not None
    qparams = work.model.read_as(found.node, value)
    writes = forms.planned.get(target)
    if qparams is not None and writes is not None:
        reads, bits = IntegerGrid.of(qparams), found.layer.weight.qparams.format.bits
        stored = layers.write_integer(forms, kind, operator, found, reads, writes, packed=work.packed)
        if stored != f"int{bits}":
            work.notes.append(
                f"{name}: its {bits}-bit weights are stored as {stored}, the next width of LiteRT's kernels"
            )
    elif qparams is not None and kind == "FULLY_CONNECTED":
        layers.write_accumulators(forms, operator, found, IntegerGrid.of(qparams))
    else:
        side = "what it reads" if qparams is None else "what it writes"
        work.notes.append(f"{name}: computed in float, since the plan leaves {side} in float and LiteRT wants int8")
        layers.write_float(forms, kind, operator, found)
    return True


def _unary(work: Rewriting, kind: str, operator: Any) -> bool:
    forms, place, target = work.forms, _SPLITS.get(kind, 0), int(operator.outputs[0])
    source = int(operator.inputs[place])
    reads = forms.grid(source)
    if reads is None or work.file.constant(source) is not None:
        return False
    writes = reads
    if kind in _CUTS | _ANY_GRIDS:
        writes = forms.planned.get(target, reads)
    elif kind in _SAME_GRID and target not in forms.planned:
        return False
    inputs = [int(index) for index in operator.inputs]
    inputs[place] = forms.integers(source, reads)
    if kind == "PADV2":
        fill = work.file.constant(inputs[2])
        if fill is None:
            return False
        inputs[2] = _constant(work, inputs[2], reads)
    operator.inputs = inputs
    floor = 0.0 if kind in _CUTS else reads.floor if kind != "HARD_SWISH" else -np.inf
    forms.write(kind, operator, writes, floor)
    return True


def _binary(work: Rewriting, kind: str, operator: Any) -> bool:
    """Two operands, each on a grid of its own; a constant one on the grid that the plan gives it."""
    forms, target = work.forms, int(operator.outputs[0])
    writes = forms.planned.get(target)
    grids = [_operand(work, int(tensor), target) for tensor in operator.inputs]
    if writes is None or any(grid is None for grid in grids):
        return False
    pairs = [(int(tensor), grid) for tensor, grid in zip(operator.inputs, grids, strict=True) if grid is not None]
    operator.inputs = [
        forms.integers(tensor, grid) if work.file.constant(tensor) is None else _constant(work, tensor, grid)
        for tensor, grid in pairs
    ]
    floor = -np.inf
    if kind == "ADD":
        floor = sum(grid.floor for _, grid in pairs)
        if operator.builtinOptions.fusedActivationFunction:
            floor = max(floor, 0.0)
    forms.write(kind, operator, writes, floor)
    return True


def _operand(work: Rewriting, tensor: int, target: int) -> IntegerGrid | None:
    if work.file.constant(tensor) is None:
        return work.forms.grid(tensor)
    names = set(work.names.get(target, ()))
    for node in work.model.graph.graph:
        if names & {str(node.outputs[0].name), *(str(use.node.outputs[0].name) for use in node.outputs[0].uses())}:
            for value in node.inputs:
                if value is not None and value.name in work.model.constants:
                    return IntegerGrid.of(work.model.constants[str(value.name)].qparams)
    return None


def _constant(work: Rewriting, tensor: int, grid: IntegerGrid) -> int:
    """A constant operand on `grid`."""
    file = work.file
    numbers = file.constant(tensor)
    assert numbers is not None
    index = file.add(f"{file.name(tensor)}/codes", numbers.shape, file.types.INT8, grid.encode(numbers))
    file.set_type(index, file.types.INT8, np.array(grid.scale, np.float32), grid.zero_point)
    return index


def _concatenation(work: Rewriting, kind: str, operator: Any) -> bool:
    """Requantize every operand to the result's grid, because LiteRT copies the bytes unchanged."""
    forms = work.forms
    writes = forms.planned.get(int(operator.outputs[0]))
    sources = [int(tensor) for tensor in operator.inputs]
    if writes is None or any(forms.grid(tensor) is None for tensor in sources):
        return False
    operator.inputs = [forms.integers(tensor, writes) for tensor in sources]
    forms.write(kind, operator, writes, writes.floor)
    return True


def _float(work: Rewriting, operator: Any) -> None:
    operator.inputs = [
        int(tensor) if tensor < 0 or work.file.constant(int(tensor)) is not None else work.forms.floats(int(tensor))
        for tensor in operator.inputs
    ]
    work.file.append_float(operator)
