"""Operators that pick entries by their places, or put entries at places: Gather, Scatter, OneHot."""

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
    """Gather: one constant index selects, a list of them picks; indices of any rank replace the axis by theirs."""
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
    """Constant indices along an axis of x; negative ones, which count from its end, made positive."""
    indices = indices.astype(np.int64)
    return np.where(indices < 0, indices + b.fixed_shape(x, axis)[0], indices) if (indices < 0).any() else indices


def _wrapped(b: Builder, indices: fx.Node, x: fx.Node, axis: int) -> fx.Node:
    """The same for computed indices."""
    indices = b.method("to", indices, torch.int64)
    from_end = b.call(torch.add, indices, b.shape(x)[axis])
    return b.call(torch.where, b.call(torch.lt, indices, 0), from_end, indices)


def _places(b: Builder, op: ImportedOp, x: fx.Node, axis: int) -> fx.Node:
    indices = op.get(1)
    if isinstance(indices, Constant):
        return b.buffer("indices", _from_the_start(b, indices.array, x, axis))
    return _wrapped(b, b.tensor(indices), x, axis)


def gather_elements(b: Builder, op: ImportedOp) -> Value:
    """GatherElements."""
    x = b.tensor(op.get(0))
    axis = op.attribute("axis", 0) % b.rank(x)
    return b.call(torch.gather, x, axis, _places(b, op, x, axis))


def gather_nd(b: Builder, op: ImportedOp) -> Value:
    """GatherND by indices [..., k] into the first k axes behind `batch_dims`.

    Constant indices of rows that do not depend on the batch pick along one axis (adaptive pooling is exported so).
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
    """GatherND: x [*batch, …], indices [*batch, …, k] into the axes of x behind them."""
    between = indices.ndim - 1
    rows = [
        torch.arange(x.shape[axis], device=x.device).reshape([-1 if i == axis else 1 for i in range(between)])
        for axis in range(batch)
    ]
    return x[(*rows, *indices.unbind(-1))]


def scatter_elements(b: Builder, op: ImportedOp) -> Value:
    """ScatterElements: entries are put at places along one axis, or added, multiplied, … there."""
    x, updates = b.tensor(op.get(0)), b.tensor(op.get(2))
    axis = op.attribute("axis", 0) % b.rank(x)
    places, reduction = _places(b, op, x, axis), op.attribute("reduction", "none")
    if reduction == "none":
        return b.call(torch.scatter, x, axis, places, updates)
    return b.call(torch.scatter_reduce, x, axis, places, updates, _REDUCTIONS[reduction])


def scatter_nd(b: Builder, op: ImportedOp) -> Value:
    """ScatterND: slices are put at places of the first axes, or added, multiplied, … there."""
    x, indices, updates = (b.tensor(op.get(i)) for i in range(3))
    reduction = op.attribute("reduction", "none")
    if reduction in ("none", "add"):
        return b.call(put_nd, x, indices, updates, reduction == "add")
    return b.call(reduced_nd, x, indices, updates, _REDUCTIONS[reduction])


def put_nd(x: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, add: bool) -> torch.Tensor:
    """x with `updates` at (or added to) its slices at indices [..., k] of its first k axes."""
    return torch.index_put(x, indices.to(torch.int64).unbind(-1), updates, add)


def reduced_nd(x: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, how: str) -> torch.Tensor:
    """x with `updates` multiplied into, … its slices at indices [..., k] of its first k axes."""
    k = indices.shape[-1]
    row = torch.zeros_like(indices[..., 0])
    for axis in range(k):
        place, size = indices[..., axis], x.shape[axis]
        row = row * size + torch.where(place < 0, place + size, place)
    flat = x.reshape(math.prod(x.shape[:k]), -1)
    rows = row.reshape(-1, 1).expand(-1, flat.shape[1])
    return flat.scatter_reduce(0, rows, updates.reshape(-1, flat.shape[1]), how).reshape(x.shape)


def one_hot(b: Builder, op: ImportedOp) -> Value:
    """OneHot: `values` [off, on] along a new axis of constant depth; indices may count from its end."""
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
