"""Operators along axes: reductions, places of extremes, running sums, the k largest entries, Einsum, Det and DFT."""

import operator
from collections.abc import Callable

import torch
from torch import fx

from lowbit.torchgraph.builder import Builder, Handler
from lowbit.torchgraph.values import ImportedOp, Value

Reduce = Callable[[Builder, fx.Node, list[int], bool], fx.Node]


def _reduction(function: Reduce, nothing_to_reduce: Callable[[Builder, fx.Node], fx.Node] | None = None) -> Handler:
    """The rule for a reduction over the axes that an input or an attribute gives.

    Without axes, all are reduced; or none, where the attribute noop_with_empty_axes is set.

    - function: reduces the axes of a tensor, and keeps them with size 1 or removes them
    - nothing_to_reduce: what each entry becomes where no axis is reduced; None: it stays as it is
    """

    def handle(b: Builder, op: ImportedOp) -> Value:
        x, axes = op.tensor(0), op.ints(1, "axes")
        if not axes:
            if op.attribute("noop_with_empty_axes", 0):
                return nothing_to_reduce(b, x) if nothing_to_reduce else x
            axes = list(range(b.rank(x)))
        return function(b, x, axes, bool(op.attribute("keepdims", 1)))

    return handle


def _sum(b: Builder, x: fx.Node, axes: list[int], keep: bool) -> fx.Node:
    return b.call(torch.sum, x, axes, keepdim=keep)


def _square(b: Builder, x: fx.Node) -> fx.Node:
    return b.call(torch.mul, x, x)


def _l1(b: Builder, x: fx.Node, axes: list[int], keep: bool) -> fx.Node:
    return _sum(b, b.call(torch.abs, x), axes, keep)


def _l2(b: Builder, x: fx.Node, axes: list[int], keep: bool) -> fx.Node:
    return b.call(torch.sqrt, _sum(b, _square(b, x), axes, keep))


def _product(b: Builder, x: fx.Node, axes: list[int], keep: bool) -> fx.Node:
    for axis in sorted((axis % b.rank(x) for axis in axes), reverse=True):
        x = b.call(torch.prod, x, axis, keep)
    return x


def _extreme_place(largest: bool) -> Handler:
    """The rule for ArgMax or ArgMin: the index of the first extreme along an axis.

    With select_last_index it is the last one: the first of the flipped tensor.
    """

    def handle(b: Builder, op: ImportedOp) -> Value:
        x, axis, keep = op.tensor(0), op.attribute("axis", 0), bool(op.attribute("keepdims", 1))
        function = torch.argmax if largest else torch.argmin
        if not op.attribute("select_last_index", 0):
            return b.call(function, x, axis, keep)
        length = b.shape(x)[axis % b.rank(x)]
        from_behind = b.call(function, b.call(torch.flip, x, (axis,)), axis, keep)
        return b.call(operator.sub, b.call(operator.sub, length, 1), from_behind)

    return handle


def cumsum(b: Builder, op: ImportedOp) -> Value:
    """CumSum: running sums along one axis, from its beginning or its end, with or without the entry itself."""
    axis, exclusive = int(op.constant(1).array.reshape(-1)[0]), bool(op.attribute("exclusive", 0))
    if not exclusive and not op.attribute("reverse", 0):
        return b.call(torch.cumsum, op.tensor(0), axis)
    return b.call(running_sum, op.tensor(0), axis, exclusive, bool(op.attribute("reverse", 0)))


def running_sum(x: torch.Tensor, axis: int, exclusive: bool, reverse: bool) -> torch.Tensor:
    """The sum of the entries up to each one along `axis`.

    - exclusive: whether the entry itself is left out
    - reverse: whether sums start at the axis's end
    """
    x = x.flip(axis) if reverse else x
    y = x.cumsum(axis)
    if exclusive:
        zeros = torch.zeros_like(y.narrow(axis, 0, 1))
        y = torch.cat([zeros, y.narrow(axis, 0, y.shape[axis] - 1)], axis)
    return y.flip(axis) if reverse else y


def top_k(b: Builder, op: ImportedOp) -> tuple[Value, ...]:
    """TopK: the k largest or smallest entries along an axis in order, and their indices.

    Of equal entries the one with the lower index comes first: a stable sort promises that, torch.topk does not.
    """
    x, k = op.tensor(0), op.sizes(1)[0]
    axis, largest = op.attribute("axis", -1), bool(op.attribute("largest", 1))
    ordered = b.call(torch.sort, x, stable=True, dim=axis, descending=largest)
    return tuple(b.call(torch.narrow, b.call(operator.getitem, ordered, i), axis, 0, k) for i in range(2))


def einsum(b: Builder, op: ImportedOp) -> Value:
    """Einsum: the sum of products that the attribute `equation` describes."""
    return b.call(torch.einsum, op.attribute("equation", ""), *(b.tensor(value) for value in op.inputs))


def determinant(b: Builder, op: ImportedOp) -> Value:
    """Det: the determinant of each matrix in the last two axes."""
    return b.call(torch.linalg.det, op.tensor(0))


def dft(b: Builder, op: ImportedOp) -> Value:
    """DFT of x [..., 1] (real) or [..., 2] (complex) along one axis.

    The axis is an input since opset 20, and an attribute before. Raises UnsupportedError for a one-sided inverse.
    """
    x = op.tensor(0)
    default = -2 if op.opset >= 20 else 1
    axis = op.attribute("axis", default) if op.get(2) is None else int(op.constant(2).array.reshape(-1)[0])
    length = None if op.get(1) is None else op.sizes(1)[0]
    inverse, onesided = bool(op.attribute("inverse", 0)), bool(op.attribute("onesided", 0))
    if inverse and onesided:
        raise op.unsupported("an inverse transform of one side")
    real = b.fixed_shape(x, b.rank(x) - 1)[0] == 1
    return b.call(fourier, x, length, axis % b.rank(x), inverse, onesided, real)


def fourier(x: torch.Tensor, length: int | None, axis: int, inverse: bool, onesided: bool, real: bool) -> torch.Tensor:
    """The discrete Fourier transform of x along `axis`, as [..., 2].

    - x: [..., 1] where `real`, otherwise [..., 2], real and imaginary parts
    - length: to which the axis is cut, or filled with zeros; None: it stays
    - onesided: whether only the first length // 2 + 1 frequencies are kept
    """
    numbers = torch.complex(x[..., 0], torch.zeros_like(x[..., 0]) if real else x[..., 1])
    y = torch.fft.ifft(numbers, length, axis) if inverse else torch.fft.fft(numbers, length, axis)
    y = y.narrow(axis, 0, y.shape[axis] // 2 + 1) if onesided else y
    return torch.view_as_real(y)


OPERATORS: dict[str, Handler] = {
    "ReduceMean": _reduction(lambda b, x, axes, keep: b.call(torch.mean, x, axes, keepdim=keep)),
    "ReduceSum": _reduction(_sum),
    "ReduceMax": _reduction(lambda b, x, axes, keep: b.call(torch.amax, x, axes, keepdim=keep)),
    "ReduceMin": _reduction(lambda b, x, axes, keep: b.call(torch.amin, x, axes, keepdim=keep)),
    "ReduceProd": _reduction(_product),
    "ReduceL1": _reduction(_l1, lambda b, x: b.call(torch.abs, x)),
    "ReduceL2": _reduction(_l2, lambda b, x: b.call(torch.abs, x)),
    "ReduceSumSquare": _reduction(lambda b, x, axes, keep: _sum(b, _square(b, x), axes, keep), _square),
    "ReduceLogSum": _reduction(
        lambda b, x, axes, keep: b.call(torch.log, _sum(b, x, axes, keep)), lambda b, x: b.call(torch.log, x)
    ),
    "ReduceLogSumExp": _reduction(lambda b, x, axes, keep: b.call(torch.logsumexp, x, axes, keep)),
    "ArgMax": _extreme_place(largest=True),
    "ArgMin": _extreme_place(largest=False),
    "CumSum": cumsum,
    "TopK": top_k,
    "Einsum": einsum,
    "Det": determinant,
    "DFT": dft,
}
