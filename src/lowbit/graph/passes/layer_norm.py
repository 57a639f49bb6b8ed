"""A layer normalization that was exported operator by operator becomes one LayerNormalization.

With m and v the mean and the variance of x over its last axis, and s = sqrt(v + ε):

| found                                    | by                                     |
|------------------------------------------|----------------------------------------|
| (x − m) / s, or times 1 / s, then γ and β | torch before operator set 17           |
| x · (γ / s) + (β − m · (γ / s))           | TensorFlow, also without γ              |
| x · (γ / s) + ((−m) · (γ / s) + β)        | Keras 3, also without γ or β            |

Ba, Kiros, Hinton 2016, "Layer Normalization", equations 3 and 4. Quantizers would round the parts, which differ by
orders of magnitude, each by itself; runtimes have one kernel for the whole.

Requires: operator set 17, constants as initializers, known ranks. Ensures: the same function; where γ or β is missing
it is a constant of ones or zeros.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from lowbit.graph.edit import initializer, only_reader, replace
from lowbit.graph.values import constant, shape_of

Array = npt.NDArray[Any]

_OLDEST_OPSET = 17


@dataclass(frozen=True, slots=True, eq=False)
class _Deviation:
    """The square root of a variance over the last axis, and what it is of.

    - node: the Sqrt
    - x, mean: what is normalized, and its mean
    - epsilon: what is added to the variance
    """

    node: ir.Node
    x: ir.Value
    mean: ir.Value
    epsilon: float


def fuse_layer_norm(model: ir.Model) -> None:
    """Rewrite in place."""
    if model.opset_imports.get("", 0) < _OLDEST_OPSET:
        return
    for node in list(model.graph):
        found = _deviation(node) if node.op_type == "Sqrt" else None
        if found is not None:
            _fuse(model.graph, found)


def _deviation(node: ir.Node) -> _Deviation | None:
    shifted = _made_by(node.inputs[0], "Add")
    if shifted is None:
        return None
    variance, epsilon = _computed_and_constant(shifted)
    if variance is None or epsilon is None or epsilon.size != 1:
        return None
    square = _mean_of(variance)
    difference = None if square is None else _squared(square)
    parts = None if difference is None else _made_by(difference, "Sub")
    if parts is None or parts.inputs[0] is None or parts.inputs[1] is None:
        return None
    x, mean = parts.inputs
    assert x is not None
    assert mean is not None
    return _Deviation(node, x, mean, float(epsilon.reshape(-1)[0])) if _mean_of(mean) is x else None


def _squared(value: ir.Value) -> ir.Value | None:
    """What `value` is the square of."""
    node = value.producer()
    if node is None or node.op_type not in ("Mul", "Pow"):
        return None
    exponent = constant(node.inputs[1])
    if node.op_type == "Pow":
        return node.inputs[0] if exponent is not None and exponent.size == 1 and float(exponent.item()) == 2 else None
    return node.inputs[0] if node.inputs[0] is node.inputs[1] else None


def _mean_of(value: ir.Value | None) -> ir.Value | None:
    """What `value` is the mean of over its last axis, which it keeps."""
    node = _made_by(value, "ReduceMean")
    if node is None or node.inputs[0] is None or node.inputs[0].shape is None:
        return None
    if "keepdims" in node.attributes and not node.attributes["keepdims"].as_int():
        return None
    array = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    axes = list(node.attributes["axes"].as_ints()) if "axes" in node.attributes else array
    last = len(node.inputs[0].shape) - 1
    return node.inputs[0] if axes is not None and [int(axis) for axis in axes] in ([-1], [last]) else None


def _fuse(graph: ir.Graph, found: _Deviation) -> None:
    for use in list(found.node.outputs[0].uses()):
        reader = use.node
        if reader.op_type == "Div" and use.idx == 1 and _is_centred(reader.inputs[0], found):
            _replace_scaled(graph, reader, found)
        elif reader.op_type == "Reciprocal" or (reader.op_type == "Div" and _is_one(reader.inputs[0])):
            _fuse_inverse(graph, reader, found)


def _fuse_inverse(graph: ir.Graph, inverse: ir.Node, found: _Deviation) -> None:
    for use in list(inverse.outputs[0].uses()):
        reader = use.node
        if reader.op_type != "Mul":
            continue
        other = reader.inputs[1 - use.idx]
        gamma = constant(other)
        if _is_centred(other, found):
            _replace_scaled(graph, reader, found)
        elif gamma is not None:
            _fuse_factor(graph, reader.outputs[0], gamma, found)
        elif other is found.x:
            _fuse_factor(graph, inverse.outputs[0], None, found)


def _fuse_factor(graph: ir.Graph, factor: ir.Value, gamma: Array | None, found: _Deviation) -> None:
    """x · factor + (β − m · factor)."""
    product = next((use.node for use in factor.uses() if _is_product(use.node, found.x, factor)), None)
    total = None if product is None else only_reader(product.outputs[0])
    if product is None or total is None or total.op_type != "Add":
        return
    rest = total.inputs[1] if total.inputs[0] is product.outputs[0] else total.inputs[0]
    beta = _beta(rest, factor, found)
    if beta is not None:
        _replace(graph, total, found, gamma, beta)


def _beta(rest: ir.Value | None, factor: ir.Value, found: _Deviation) -> Array | None:
    """β where `rest` is β − m · factor, however it is written; zeros where there is no β."""
    node = None if rest is None else rest.producer()
    if node is None:
        return None
    if node.op_type == "Sub":
        moved = None if node.inputs[1] is None else node.inputs[1].producer()
        return constant(node.inputs[0]) if moved is not None and _is_product(moved, found.mean, factor) else None
    if node.op_type == "Add":
        shifted, more = _computed_and_constant(node)
        beta = None if more is None else _beta(shifted, factor, found)
        return None if beta is None or more is None else beta + more
    minus = next((value for value in node.inputs if value is not None and _is_minus(value, found.mean)), None)
    return np.zeros(1, np.float32) if minus is not None and _is_product(node, minus, factor) else None


def _is_minus(value: ir.Value, other: ir.Value) -> bool:
    node = _made_by(value, "Neg")
    return node is not None and node.inputs[0] is other


def _replace_scaled(graph: ir.Graph, last: ir.Node, found: _Deviation) -> None:
    """`last` gives (x − m) / s; what scales and shifts it, and nobody else reads, goes with it."""
    gamma = beta = None
    scale = only_reader(last.outputs[0])
    if scale is not None and scale.op_type == "Mul" and (gamma := _vector(scale, found)) is not None:
        last = scale
    shift = only_reader(last.outputs[0])
    if shift is not None and shift.op_type == "Add" and (beta := _vector(shift, found)) is not None:
        last = shift
    _replace(graph, last, found, gamma, beta)


def _vector(node: ir.Node, found: _Deviation) -> Array | None:
    """The constant operand of `node`, where it has one number an entry of the last axis, or one for all."""
    _, array = _computed_and_constant(node)
    return array if array is not None and _is_along_last(array, found) else None


def _is_along_last(array: Array, found: _Deviation) -> bool:
    """Whether a constant has one number an entry of x's last axis, or one for all, and no more axes than x."""
    shape = shape_of(found.x)
    plain = array.ndim == 0 or array.shape[-1] == array.size
    return shape is not None and array.ndim <= len(shape) and array.size in (1, shape[-1]) and plain


def _replace(
    graph: ir.Graph,
    last: ir.Node,
    found: _Deviation,
    gamma: Array | None,
    beta: Array | None,
) -> None:
    width = _width(found)
    if width is None or any(array is not None and not _is_along_last(array, found) for array in (gamma, beta)):
        return
    name = last.outputs[0].name
    ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
    scale = initializer(graph, f"{name}_scale", ones if gamma is None else (ones * gamma.reshape(-1)))
    shift = initializer(graph, f"{name}_shift", zeros if beta is None else (ones * beta.reshape(-1)))
    attributes = {"axis": -1, "epsilon": found.epsilon}
    replace(graph, last, ir.node("LayerNormalization", [found.x, scale, shift], attributes))


def _width(found: _Deviation) -> int | None:
    shape = shape_of(found.x)
    return shape[-1] if shape else None


def _is_centred(value: ir.Value | None, found: _Deviation) -> bool:
    node = _made_by(value, "Sub")
    return node is not None and node.inputs[0] is found.x and _mean_of(node.inputs[1]) is found.x


def _is_product(node: ir.Node, one: ir.Value, other: ir.Value) -> bool:
    return node.op_type == "Mul" and {one, other} == set(node.inputs)


def _is_one(value: ir.Value | None) -> bool:
    array = constant(value)
    return array is not None and bool((array == 1).all())


def _made_by(value: ir.Value | None, kind: str) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == kind else None


def _computed_and_constant(node: ir.Node) -> tuple[ir.Value | None, Array | None]:
    """The operand that is computed, and the numbers of the other one; None for both where that is not so."""
    arrays = [constant(value) for value in node.inputs]
    if len(arrays) != 2 or (arrays[0] is None) == (arrays[1] is None):
        return None, None
    place = 0 if arrays[0] is not None else 1
    return node.inputs[1 - place], arrays[place]
