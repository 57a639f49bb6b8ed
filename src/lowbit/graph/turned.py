"""How an operator is computed on values whose axes stand in another order: one rule a kind of operator.

A value y = Transpose(x, order) has at its axis i what x has at its axis order[i]. A rule says what must change in an
operator that reads y, so that it reads x: attributes and constant operands. Then it gives the result in x's order of
axes or, where it `absorbs` the order, the very result that it gave before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from lowbit.graph.edit import only_reader
from lowbit.graph.values import constant, shape_of

Array = npt.NDArray[Any]
Order = tuple[int, ...]

POINTWISE = frozenset(
    {"Abs", "Add", "And", "Cast", "Ceil", "Clip", "Cos", "Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu"}
    | {"Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max"}
    | {"Mean", "Min", "Mish", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu"}
    | {"Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tanh", "ThresholdedRelu"}
    | {"Where", "Identity"}
)
_BY_AXIS = frozenset({"Concat", "LogSoftmax", "Softmax", "Split"})
_REDUCTIONS = frozenset(
    {"ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"}
    | {"ReduceSumSquare"}
)


@dataclass(frozen=True, slots=True, eq=False)
class Turned:
    """What must change in an operator that gets x instead of y.

    - operands: place of a constant operand → its new numbers
    - attributes: name → new value
    - absorbs: whether its result is what it was before, instead of that with its axes in x's order
    - beyond: another operator that must change with it, the place of its constant operand, and the new numbers
    """

    operands: dict[int, Array] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    absorbs: bool = False
    beyond: tuple[ir.Node, int, Array] | None = None


def turned(node: ir.Node, order: Order) -> Turned | None:
    """How `node` is computed on values in the order from before the Transpose; None where that cannot be said."""
    rule = _RULES.get(node.op_type)
    return None if rule is None or node.domain not in ("", "ai.onnx") else rule(node, order)


def inverse(order: Sequence[int]) -> Order:
    """The order that puts back what `order` has turned."""
    return tuple(int(place) for place in np.argsort(order))


def is_reshape(shape: Sequence[int | None] | None, order: Order) -> bool:
    """Whether a value of this shape, its axes in `order`, has the same numbers in the same sequence."""
    if shape is None or len(shape) != len(order):
        return False
    moved = [axis for axis in order if shape[axis] != 1]
    return moved == sorted(moved)


def _pointwise(node: ir.Node, order: Order) -> Turned | None:
    operands = {}
    for place, value in enumerate(node.inputs):
        array = constant(value)
        if array is None or array.size == 1:
            if array is not None and array.ndim > len(order):
                return None
            continue
        if array.ndim > len(order):
            return None
        whole = array.reshape([1] * (len(order) - array.ndim) + list(array.shape))
        operands[place] = whole.transpose(inverse(order))
    return Turned(operands)


def _by_axis(node: ir.Node, order: Order) -> Turned | None:
    """Concat may have constant parts."""
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0 if node.op_type == "Split" else -1
    operands = {}
    if node.op_type == "Concat":
        for place, value in enumerate(node.inputs):
            array = constant(value)
            if array is not None:
                operands[place] = array.transpose(inverse(order))
    return Turned(operands, {"axis": order[axis]})


def _reduction(node: ir.Node, order: Order) -> Turned | None:
    axes, place = _axes(node, 1)
    if axes is None:
        return None
    gone = {axis % len(order) for axis in axes}
    keeps = "keepdims" not in node.attributes or bool(node.attributes["keepdims"].as_int())
    left = [order[axis] for axis in range(len(order)) if axis not in gone]
    if not keeps and left != sorted(left):
        return None
    return _with_axes(place, [order[axis] for axis in axes], absorbs=not keeps)


def _pad(node: ir.Node, order: Order) -> Turned | None:
    pads = constant(node.inputs[1])
    if pads is None:
        return None
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        axes = constant(node.inputs[3])
        return None if axes is None else Turned({3: np.array([order[axis] for axis in axes], np.int64)})
    ends = pads.reshape(2, -1)
    if ends.shape[1] != len(order):
        return None
    return Turned({1: ends[:, list(inverse(order))].reshape(-1)})


def _slice(node: ir.Node, order: Order) -> Turned | None:
    if len(node.inputs) < 4 or node.inputs[3] is None:
        return None
    axes = constant(node.inputs[3])
    return None if axes is None else Turned({3: np.array([order[axis] for axis in axes], np.int64)})


def _resize(node: ir.Node, order: Order) -> Turned | None:
    """Roi is not given; scales or sizes are for all axes, or for those that an attribute lists."""
    if any(place == 1 and value is not None for place, value in enumerate(node.inputs)):
        return None
    if "axes" in node.attributes:
        return Turned(attributes={"axes": [order[axis] for axis in node.attributes["axes"].as_ints()]})
    operands = {}
    for place, value in enumerate(node.inputs[2:], start=2):
        array = constant(value)
        if value is not None and (array is None or array.size != len(order)):
            return None
        if array is not None:
            operands[place] = array[list(inverse(order))]
    return Turned(operands)


def _per_axis(node: ir.Node, order: Order) -> Turned | None:
    """A constant with one number an axis: how often to repeat, or which size to expand to."""
    array = constant(node.inputs[1])
    return Turned({1: array[list(inverse(order))]}) if array is not None and array.size == len(order) else None


def _gather(node: ir.Node, order: Order) -> Turned | None:
    places = constant(node.inputs[1])
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    return Turned(attributes={"axis": order[axis]}) if places is not None and places.ndim == 1 else None


def _flat(node: ir.Node, order: Order) -> Turned | None:
    """Reshape and Flatten take the numbers in their sequence: it must be the same, or a matrix behind it is turned."""
    shape = shape_of(node.inputs[0])
    if node.op_type == "Reshape":
        target = constant(node.inputs[1])
        if target is None or (target[0 if order[0] else 1 :] == 0).any():
            return None  # a 0 means the size of that very axis
    elif order[0] or node.attributes.get_int("axis", 1) != 1:
        return None  # its two sides are products of the axes before and behind
    back = inverse(order)
    turned_shape = None if shape is None or len(shape) != len(order) else [shape[axis] for axis in back]
    if is_reshape(turned_shape, order):
        return Turned(absorbs=True)
    made, matrix = shape_of(node.outputs[0]), only_reader(node.outputs[0])
    if matrix is None or shape is None or order[0] != 0 or made is None or len(made) != 2 or made[1] is None:
        return None
    sides = [side for side in shape[1:] if side is not None]
    if len(sides) != len(order) - 1 or int(np.prod(sides)) != made[1]:
        return None
    turned_matrix = _matrix(matrix, node.outputs[0], sides, back)
    return None if turned_matrix is None else Turned(absorbs=True, beyond=(matrix, 1, turned_matrix))


def _matrix(node: ir.Node, value: ir.Value, sides: list[int], back: Order) -> Array | None:
    """The constant matrix that `value` is multiplied by, for numbers in the sequence that x has."""
    if node.op_type not in ("Gemm", "MatMul") or node.inputs[0] is not value:
        return None
    weight = constant(node.inputs[1])
    if weight is None or weight.ndim != 2 or ("transA" in node.attributes and node.attributes["transA"].as_int()):
        return None
    by_rows = "transB" in node.attributes and bool(node.attributes["transB"].as_int())
    columns = weight.T if by_rows else weight
    order = [axis - 1 for axis in back[1:]]
    moved = columns.reshape(*sides, -1).transpose(*order, len(sides)).reshape(columns.shape)
    return np.ascontiguousarray(moved.T if by_rows else moved)


def _axes(node: ir.Node, place: int) -> tuple[list[int] | None, int | None]:
    """Axes of a reduction: an operand since operator set 18 (13 for a sum), an attribute before."""
    if "axes" in node.attributes:
        return list(node.attributes["axes"].as_ints()), None
    array = constant(node.inputs[place]) if len(node.inputs) > place else None
    return (None if array is None else [int(axis) for axis in array]), place


def _with_axes(place: int | None, axes: list[int], *, absorbs: bool) -> Turned:
    if place is None:
        return Turned(attributes={"axes": axes}, absorbs=absorbs)
    return Turned({place: np.array(axes, np.int64)}, absorbs=absorbs)


_RULES: dict[str, Callable[[ir.Node, Order], Turned | None]] = {
    **dict.fromkeys(POINTWISE, _pointwise),
    **dict.fromkeys(_BY_AXIS, _by_axis),
    **dict.fromkeys(_REDUCTIONS, _reduction),
    "Expand": _per_axis,
    "Flatten": _flat,
    "Gather": _gather,
    "Pad": _pad,
    "Reshape": _flat,
    "Resize": _resize,
    "Slice": _slice,
    "Tile": _per_axis,
}
