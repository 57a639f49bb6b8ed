"""Operators that read or write entries at given indices: Gather, Scatter and OneHot."""

import math
import operator
from typing import Any

import numpy as np
import torch
from torch import fx

from lowbit.torchgraph.builder import Builder, Handler
from lowbit.torchgraph.values import Constant, ImportedOp, Value

_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def gather(b: Builder, op: ImportedOp) -> Value:
    """Gather: the entries of x at `indices` along one axis.

    The axes of `indices` take the place of that axis, so that an index of rank 0 removes it.
    """
    x = b.tensor(op.get(0))
    axis = op.attribute("axis", 0) % b.rank(x)
    indices = op.get(1)
    if isinstance(indices, Constant) and indices.array.ndim == 0:
        return b.call(torch.select, x, axis, int(indices.array))
    if isinstance(indices, Constant):
        flat = b.buffer("indices", _from_the_start(b, indices.array, x, axis).reshape(-1))
        shape: list[Any] = list(indices.array.shape)
    else:
        flat = b.call(torch.reshape, _wrapped(b, b.tensor(indices), x, axis), (-1,))
        shape = b.shape(b.tensor(indices))
    picked = b.call(torch.index_select, x, axis, flat)
    if len(shape) == 1:
        return picked
    sizes = b.shape(x)
    return b.call(torch.reshape, picked, (*sizes[:axis], *shape, *sizes[axis + 1 :]))


def _from_the_start(b: Builder, indices: Any, x: fx.Node, axis: int) -> Any:
    """Constant indices along an axis of x, where negative ones, which count from its end, are made positive."""
    indices = indices.astype(np.int64)
    return np.where(indices < 0, indices + b.fixed_shape(x, axis)[0], indices) if (indices < 0).any() else indices


def _wrapped(b: Builder, indices: fx.Node, x: fx.Node, axis: int) -> fx.Node:
    """Computed indices along an axis of x, where negative ones, which count from its end, are made positive."""
    indices = b.method("to", indices, torch.int64)
    from_end = b.call(torch.add, indices, b.shape(x)[axis])
    return b.call(torch.where, b.call(torch.lt, indices, 0), from_end, indices)


def _places(b: Builder, op: ImportedOp, x: fx.Node, axis: int) -> fx.Node:
    """The indices that are the node's second input, along an axis of x, without negative ones."""
    indices = op.get(1)
    if isinstance(indices, Constant):
        return b.buffer("indices", _from_the_start(b, indices.array, x, axis))
    return _wrapped(b, b.tensor(indices), x, axis)


def gather_elements(b: Builder, op: ImportedOp) -> Value:
    """GatherElements: for each entry of `indices`, which have x's rank, the entry of x there along one axis."""
    x = b.tensor(op.get(0))
    axis = op.attribute("axis", 0) % b.rank(x)
    return b.call(torch.gather, x, axis, _places(b, op, x, axis))


def gather_nd(b: Builder, op: ImportedOp) -> Value:
    """GatherND: the slices of x at `indices` [..., k], which count along the k axes behind the first `batch_dims` ones.

    Where the indices are constant and the k axes have fixed sizes, x is reshaped so that these axes become one, and
    slices are picked along it. Adaptive pooling is exported in this form.
    """
    x, indices, batch = b.tensor(op.get(0)), op.get(1), op.attribute("batch_dims", 0)
    sizes = b.shape(x)
    if isinstance(indices, Constant) and not batch:
        k = indices.array.shape[-1]
        if not any(isinstance(size, fx.Node) for size in sizes[:k]):
            places = tuple(indices.array[..., axis] % sizes[axis] for axis in range(k))
            rows = np.ravel_multi_index(places, sizes[:k])
            x = b.call(torch.reshape, x, (math.prod(sizes[:k]), *sizes[k:]))
            picked = b.call(torch.index_select, x, 0, b.buffer("indices", rows.reshape(-1)))
            return b.call(torch.reshape, picked, (*rows.shape, *sizes[k:]))
    return b.call(picked_nd, x, b.tensor(indices), batch)


def picked_nd(x: torch.Tensor, indices: torch.Tensor, batch: int) -> torch.Tensor:
    """GatherND of tensors: `batch` axes that x and indices share, then indices [..., k] of the next k axes of x."""
    between = indices.ndim - 1
    rows = [
        torch.arange(x.shape[axis], device=x.device).reshape([-1 if i == axis else 1 for i in range(between)])
        for axis in range(batch)
    ]
    return x[(*rows, *indices.unbind(-1))]


def scatter_elements(b: Builder, op: ImportedOp) -> Value:
    """ScatterElements: x with `updates` written at indices along one axis.

    With a reduction, an update is added to the entry there, multiplied with it, or the larger or smaller one stays.
    """
    x, updates = b.tensor(op.get(0)), b.tensor(op.get(2))
    axis = op.attribute("axis", 0) % b.rank(x)
    places, reduction = _places(b, op, x, axis), op.attribute("reduction", "none")
    if reduction == "none":
        return b.call(torch.scatter, x, axis, places, updates)
    return b.call(torch.scatter_reduce, x, axis, places, updates, _REDUCTIONS[reduction])


def scatter_nd(b: Builder, op: ImportedOp) -> Value:
    """ScatterND: x with slices `updates` written at indices [..., k] of its first k axes.

    With a reduction, an update is added to the slice there, multiplied with it, or the larger or smaller entries stay.
    """
    x, indices, updates = (b.tensor(op.get(i)) for i in range(3))
    reduction = op.attribute("reduction", "none")
    if reduction in ("none", "add"):
        return b.call(put_nd, x, indices, updates, reduction == "add")
    return b.call(reduced_nd, x, indices, updates, _REDUCTIONS[reduction])


def put_nd(x: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, add: bool) -> torch.Tensor:
    """x with `updates` in place of its slices at indices [..., k] of its first k axes, or added to them where `add`."""
    return torch.index_put(x, indices.to(torch.int64).unbind(-1), updates, add)


def reduced_nd(x: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, how: str) -> torch.Tensor:
    """x with `updates` combined with its slices at indices [..., k] of its first k axes.

    how: "prod", "amax" or "amin", as torch.scatter_reduce calls it.
    """
    k = indices.shape[-1]
    row = torch.zeros_like(indices[..., 0])
    for axis in range(k):
        place, size = indices[..., axis], x.shape[axis]
        row = row * size + torch.where(place < 0, place + size, place)
    flat = x.reshape(math.prod(x.shape[:k]), -1)
    rows = row.reshape(-1, 1).expand(-1, flat.shape[1])
    return flat.scatter_reduce(0, rows, updates.reshape(-1, flat.shape[1]), how).reshape(x.shape)


def one_hot(b: Builder, op: ImportedOp) -> Value:
    """OneHot: a new axis of constant depth, with `on` at each index and `off` elsewhere; `values` is [off, on].

    Negative indices count from the end of the new axis.
    """
    indices, depth = b.tensor(op.get(0)), int(op.constant(1).array.reshape(-1)[0])
    off, on = (Constant(f"{op.name}_{name}", op.constant(2).array[i]) for i, name in enumerate(("off", "on")))
    axis = op.attribute("axis", -1) % (b.rank(indices) + 1)
    shape = [-1 if i == axis else 1 for i in range(b.rank(indices) + 1)]
    classes = b.buffer("classes", np.arange(depth).reshape(shape))
    from_start = b.call(torch.where, b.call(torch.lt, indices, 0), b.call(torch.add, indices, depth), indices)
    hits = b.call(operator.eq, b.call(torch.unsqueeze, from_start, axis), classes)
    return b.call(torch.where, hits, b.attribute(on), b.attribute(off))


OPERATORS: dict[str, Handler] = {
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "OneHot": one_hot,
}
