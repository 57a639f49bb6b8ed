"""Operators that move elements about: reshape, slice, pad, gather, concatenate."""

import math
import operator
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.nn import functional

from lowbit.torchgraph.builder import Builder, Handler
from lowbit.torchgraph.padding import pad as constant_pad
from lowbit.torchgraph.values import Constant, ImportedOp, Value

_NO_END = 2**63 - 1  # how exporters write "to the end"


def identity(_: Builder, op: ImportedOp) -> Value:
    """Identity, and Dropout, which does nothing once a network is trained."""
    value = op.inputs[0]
    assert value is not None
    return value


def reshape(b: Builder, op: ImportedOp) -> Value:
    """Reshape: 0 copies the input's size (unless allowzero), -1 is what is left."""
    x = b.tensor(op.get(0))
    target = op.sizes(1)
    if not op.attribute("allowzero", 0):
        sizes = b.shape(x)
        target = [sizes[i] if _is(entry, 0) else entry for i, entry in enumerate(target)]
    return b.call(torch.reshape, x, tuple(target))


def _is(entry: Any, number: int) -> bool:
    return not isinstance(entry, fx.Node) and entry == number


def flatten(b: Builder, op: ImportedOp) -> Value:
    """Flatten to a matrix: the axes before `axis` are its rows, the rest its columns."""
    x = op.tensor(0)
    rank = b.rank(x)
    axis = op.attribute("axis", 1)
    axis = axis + rank if axis < 0 else axis
    if axis == 0:
        return b.call(torch.reshape, x, (1, -1))
    if axis == 1:
        return b.call(torch.flatten, x, 1)
    columns = math.prod(b.fixed_shape(x, axis))
    return b.call(torch.reshape, x, (-1, columns))


def transpose(b: Builder, op: ImportedOp) -> Value:
    """Transpose; the axes are reversed when no order is given."""
    x = op.tensor(0)
    return b.call(torch.permute, x, tuple(op.attribute("perm", list(reversed(range(b.rank(x)))))))


def squeeze(b: Builder, op: ImportedOp) -> Value:
    """Squeeze the named axes, or all of fixed size 1."""
    x, axes = op.tensor(0), op.ints(1, "axes")
    if axes is None:
        axes = [i for i, size in enumerate(b.shape(x)) if _is(size, 1)]
    for axis in sorted((axis % b.rank(x) for axis in axes), reverse=True):
        x = b.call(torch.squeeze, x, axis)
    return x


def unsqueeze(b: Builder, op: ImportedOp) -> Value:
    """Unsqueeze: axes count in the result."""
    x, axes = op.tensor(0), op.ints(1, "axes") or []
    rank = b.rank(x) + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = b.call(torch.unsqueeze, x, axis)
    return x


def expand(b: Builder, op: ImportedOp) -> Value:
    """Expand: both sides broadcast, so a 1 in the target leaves the input's size."""
    x = b.tensor(op.get(0))
    sizes, target = b.shape(x), op.sizes(1)
    target = [1] * (len(sizes) - len(target)) + target
    new = len(target) - len(sizes)
    keep = [i >= new and (_is(entry, 1) or isinstance(sizes[i - new], fx.Node)) for i, entry in enumerate(target)]
    return b.method("expand", x, tuple(-1 if kept else entry for kept, entry in zip(keep, target, strict=True)))


def tile(b: Builder, op: ImportedOp) -> Value:
    """Tile."""
    return b.method("repeat", b.tensor(op.get(0)), tuple(op.sizes(1)))


def concat(b: Builder, op: ImportedOp) -> Value:
    """Concat."""
    return b.call(torch.cat, [b.tensor(value) for value in op.inputs], dim=op.attribute("axis", 0))


def split(b: Builder, op: ImportedOp) -> tuple[Value, ...]:
    """Split into the given sizes, or evenly with a smaller last part."""
    x, sizes = op.tensor(0), op.ints(1, "split")
    axis = op.attribute("axis", 0) % b.rank(x)
    if sizes is None:
        length = b.fixed_shape(x, axis)[0]
        part = -(-length // op.n_outputs)
        sizes = [min(part, length - i * part) for i in range(op.n_outputs)]
    parts = b.call(torch.split, x, sizes, axis)
    return tuple(b.call(operator.getitem, parts, i) for i in range(op.n_outputs))


def slice_(b: Builder, op: ImportedOp) -> Value:
    """Slice; Python cuts starts and ends to the axis as ONNX does. Torch has no negative step: those are gathered."""
    x = b.tensor(op.get(0))
    starts, ends = op.sizes(1), op.sizes(2)
    axes = op.ints(3, "axes") or list(range(len(starts)))
    steps = op.ints(4, "steps") or [1] * len(starts)
    index: list[slice] = [slice(None)] * b.rank(x)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = axis % len(index)
        if step > 0:
            index[axis] = slice(start or None, None if _is(end, _NO_END) else end, None if step == 1 else step)
        else:
            x = _reverse(b, op, x, start, end, axis, step)
    if all(part == slice(None) for part in index):
        return x
    return b.call(operator.getitem, x, tuple(index))


def _reverse(b: Builder, op: ImportedOp, x: fx.Node, start: Any, end: Any, axis: int, step: int) -> fx.Node:
    if isinstance(start, fx.Node) or isinstance(end, fx.Node):
        raise op.unsupported("a negative step from or to a place that depends on the batch")
    length = b.shape(x)[axis]
    if isinstance(length, fx.Node):
        raise op.unsupported("a negative step along the batch")
    first = min(max(start + length if start < 0 else start, 0), length - 1)
    stop = min(max(end + length if end < 0 else end, -1), length - 1)
    indices = np.arange(first, stop, step)
    return b.call(torch.index_select, x, axis, b.buffer("indices", indices))


def gather(b: Builder, op: ImportedOp) -> Value:
    """Gather: one constant index selects, a list of them picks; indices of any rank replace the axis by theirs."""
    x, axis = b.tensor(op.get(0)), op.attribute("axis", 0) % b.rank(b.tensor(op.get(0)))
    indices = op.get(1)
    if not isinstance(indices, Constant):
        picked = b.call(torch.index_select, x, axis, b.call(torch.reshape, b.tensor(indices), (-1,)))
        shape = b.shape(b.tensor(indices))
    else:
        if indices.array.ndim == 0:
            return b.call(torch.select, x, axis, int(indices.array))
        flat = indices.array.reshape(-1).astype(np.int64)
        flat = np.where(flat < 0, flat + b.fixed_shape(x, axis)[0], flat) if (flat < 0).any() else flat
        picked = b.call(torch.index_select, x, axis, b.buffer("indices", flat))
        shape = list(indices.array.shape)
    if len(shape) == 1:
        return picked
    sizes = b.shape(x)
    return b.call(torch.reshape, picked, (*sizes[:axis], *shape, *sizes[axis + 1 :]))


def gather_elements(b: Builder, op: ImportedOp) -> Value:
    """GatherElements."""
    return b.call(torch.gather, b.tensor(op.get(0)), op.attribute("axis", 0), b.tensor(op.get(1)))


def gather_nd(b: Builder, op: ImportedOp) -> Value:
    """GatherND by constant indices [..., k] into the first k axes, which become one: adaptive pooling."""
    x, indices = op.tensor(0), op.constant(1).array
    if op.attribute("batch_dims", 0):
        raise op.unsupported("batch_dims")
    k, sizes = indices.shape[-1], b.shape(x)
    if any(isinstance(size, fx.Node) for size in sizes[:k]):
        raise op.unsupported("it picks along the batch")
    places = tuple(indices[..., axis] % sizes[axis] for axis in range(k))
    rows = np.ravel_multi_index(places, sizes[:k])
    x = b.call(torch.reshape, x, (math.prod(sizes[:k]), *sizes[k:]))
    picked = b.call(torch.index_select, x, 0, b.buffer("indices", rows.reshape(-1)))
    return b.call(torch.reshape, picked, (*rows.shape, *sizes[k:]))


def pad(b: Builder, op: ImportedOp) -> Value:
    """Pad: constant, reflect, edge or wrap; `axes` since opset 18. Negative amounts cut."""
    x = op.tensor(0)
    amounts = op.ints(1, "pads") or []
    axes = op.ints(3, "axes") or list(range(b.rank(x)))
    pairs = [(0, 0)] * b.rank(x)
    for i, axis in enumerate(axes):
        pairs[axis % b.rank(x)] = (amounts[i], amounts[i + len(axes)])
    mode = op.attribute("mode", "constant")
    if all(pair == (0, 0) for pair in pairs):
        return x
    if mode == "constant":
        return constant_pad(b, x, _trailing(pairs), op.scalar(2, "value", 0.0) or 0.0)
    torch_mode = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}[mode]
    if any(pair != (0, 0) for pair in pairs[:2]):
        raise op.unsupported(f"mode {mode} on the batch or channel axis")
    if min(amounts) < 0:
        cut = tuple(slice(max(0, -begin), end if end < 0 else None) for begin, end in pairs)
        x = b.call(operator.getitem, x, cut)
    flat = [max(0, amount) for pair in reversed(pairs[2:]) for amount in pair]
    return b.call(functional.pad, x, flat, mode=torch_mode) if any(flat) else x


def _trailing(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The pairs from the first axis on that is padded."""
    first = next(i for i, pair in enumerate(pairs) if pair != (0, 0))
    return pairs[first:]


def constant_of_shape(b: Builder, op: ImportedOp) -> Value:
    """ConstantOfShape whose shape follows the batch."""
    value = op.attribute("value", None)
    fill = 0.0 if value is None else value.numpy().reshape(-1)[0].item()
    dtype = torch.float32 if value is None else torch.from_numpy(np.array(value.numpy())).dtype
    return b.call(torch.full, tuple(op.sizes(0)), fill, dtype=dtype)


def range_(b: Builder, op: ImportedOp) -> Value:
    """Range up to a limit that follows the batch (torch's exporter counts rows that way when it undoes strides)."""
    start, limit, step = (op.sizes(i)[0] for i in range(3))
    return b.call(torch.arange, start, limit, step)


OPERATORS: dict[str, Handler] = {
    "Identity": identity,
    "Dropout": identity,
    "Reshape": reshape,
    "Flatten": flatten,
    "Transpose": transpose,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Expand": expand,
    "Tile": tile,
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "Pad": pad,
    "ConstantOfShape": constant_of_shape,
    "Range": range_,
}
