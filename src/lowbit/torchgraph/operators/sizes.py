"""Shape arithmetic at import: operators whose inputs are constants or sizes, of which some depend on the batch."""

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import fx

from lowbit.torchgraph.builder import Builder, Handler
from lowbit.torchgraph.values import Constant, ImportedOp, Sizes, Value


def shape(b: Builder, op: ImportedOp) -> Value:
    """Shape: the sizes of x, from the axis `start` to the axis before `end` (opset 15)."""
    sizes = b.shape(op.tensor(0))
    return settle(op, sizes[op.attribute("start", 0) : op.attribute("end", None)])


def size(b: Builder, op: ImportedOp) -> Value:
    """Size: the number of x's entries."""
    product: Any = 1
    for entry in b.shape(op.tensor(0)):
        product = _arithmetic(b, operator.mul)(product, entry)
    return settle(op, product)


def settle(op: ImportedOp, entries: Any) -> Value:
    """`entries` as a Constant where all are numbers, otherwise as Sizes.

    A list gives a vector, a single entry a value of rank 0.
    """
    array = np.empty(len(entries) if isinstance(entries, list) else (), dtype=object)
    array[...] = entries
    return _settled(op, array)


def _settled(op: ImportedOp, array: Any) -> Value:
    array = np.asarray(array, dtype=object)
    if any(isinstance(entry, fx.Node) for entry in array.flat):
        return Sizes(array)
    if any(isinstance(entry, bool) for entry in array.flat):
        return Constant(op.name, array.astype(bool))
    return Constant(op.name, array.astype(np.int64))


def _arrays(op: ImportedOp) -> list[npt.NDArray[Any]]:
    """The inputs as object arrays of Python numbers and fx nodes."""
    return [value.array.astype(object) for value in op.inputs if isinstance(value, Constant | Sizes)]


def _arithmetic(b: Builder, function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """`function` of two sizes: computed at once where both are fixed, otherwise a call in the fx graph."""

    def apply(x: Any, y: Any) -> Any:
        return b.call(function, x, y) if isinstance(x, fx.Node) or isinstance(y, fx.Node) else function(x, y)

    return apply


def _elementwise(function: Callable[[Any, Any], Any]) -> Handler:
    """The rule for an operator that is `function` of two sizes, entry by entry."""

    def handle(b: Builder, op: ImportedOp) -> Value:
        return _settled(op, np.frompyfunc(_arithmetic(b, function), 2, 1)(*_arrays(op)))

    return handle


def _equal(_: Builder, op: ImportedOp) -> Value:
    """Equal. A size that depends on the batch differs from 0 and from every negative number.

    Those are what exporters compare sizes with: the marks of Expand and Reshape. Raises UnsupportedError where such a
    size is compared with a positive number.
    """

    def compare(x: Any, y: Any) -> bool:
        if not isinstance(x, fx.Node) and not isinstance(y, fx.Node):
            return bool(x == y)
        known = y if isinstance(x, fx.Node) else x
        if x is y:
            return True
        if isinstance(known, fx.Node) or known > 0:
            raise op.unsupported("it compares the batch size with a number")
        return False

    return _settled(op, np.frompyfunc(compare, 2, 1)(*_arrays(op)))


def _where(_: Builder, op: ImportedOp) -> Value:
    condition, yes, no = _arrays(op)
    return _settled(op, np.where(condition.astype(bool), yes, no))


def _gather(_: Builder, op: ImportedOp) -> Value:
    data, indices = _arrays(op)
    return _settled(op, np.take(data, indices.astype(np.int64), axis=op.attribute("axis", 0)))


def _concat(_: Builder, op: ImportedOp) -> Value:
    return _settled(op, np.concatenate(_arrays(op), axis=op.attribute("axis", 0)))


def _slice(_: Builder, op: ImportedOp) -> Value:
    starts, ends = op.ints(1, "starts"), op.ints(2, "ends")
    steps = op.ints(4, "steps") or [1]
    return _settled(op, _arrays(op)[0][slice(*(part[0] for part in (starts, ends, steps) if part))])


def _flat_or_scalar(_: Builder, op: ImportedOp) -> Value:
    """Unsqueeze, Squeeze and Reshape of sizes: to rank 0 or to a vector; no other shapes occur."""
    data = _arrays(op)[0]
    to_scalar = op.type == "Squeeze" or (op.type == "Reshape" and op.constant(1).array.size == 0)
    if to_scalar and data.size == 1:
        return _settled(op, data.reshape(()))
    if op.type == "Unsqueeze" and data.ndim > 0:
        raise op.unsupported("sizes of rank 2")
    return _settled(op, data.reshape(-1))


def _same(_: Builder, op: ImportedOp) -> Value:
    return _settled(op, _arrays(op)[0])


def _product(b: Builder, op: ImportedOp) -> Value:
    """ReduceProd of all sizes."""
    entries = list(_arrays(op)[0].flat)
    total: Any = math.prod(entry for entry in entries if not isinstance(entry, fx.Node))
    for entry in entries:
        if isinstance(entry, fx.Node):
            total = b.call(operator.mul, entry, total)
    return settle(op, [total] if op.attribute("keepdims", 1) else total)


OPERATORS: dict[str, Handler] = {
    "Add": _elementwise(operator.add),
    "Sub": _elementwise(operator.sub),
    "Mul": _elementwise(operator.mul),
    "Div": _elementwise(operator.floordiv),  # sizes are positive: rounding down is rounding to zero
    "Mod": _elementwise(operator.mod),
    "Equal": _equal,
    "Where": _where,
    "Gather": _gather,
    "Concat": _concat,
    "Slice": _slice,
    "Unsqueeze": _flat_or_scalar,
    "Squeeze": _flat_or_scalar,
    "Reshape": _flat_or_scalar,
    "Cast": _same,
    "Identity": _same,
    "ReduceProd": _product,
}
