"""Operators that change a shape or move entries: Reshape, Transpose, Slice, Pad, Concat and their like."""

import math
import operator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx
from torch.nn import functional

from lowbit.torchgraph.builder import Builder, Handler
from lowbit.torchgraph.operators.math import torch_type
from lowbit.torchgraph.padding import pad as constant_pad
from lowbit.torchgraph.values import ImportedOp, Value

_TORCH_MODES = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}
_NO_END = 2**63 - 1  # how exporters write "to the end"


def identity(_: Builder, op: ImportedOp) -> Value:
    """Identity; and Dropout, which changes nothing at inference."""
    value = op.inputs[0]
    assert value is not None
    return value


def reshape(b: Builder, op: ImportedOp) -> Value:
    """Reshape: 0 keeps the size of x on that axis (unless allowzero is set), −1 is inferred from the other sizes."""
    x = b.tensor(op.get(0))
    target = op.sizes(1)
    if not op.attribute("allowzero", 0):
        sizes = b.shape(x)
        target = [sizes[i] if _is(entry, 0) else entry for i, entry in enumerate(target)]
    return b.call(torch.reshape, x, tuple(target))


def _is(entry: Any, number: int) -> bool:
    """Whether a size is fixed and equal to `number`."""
    return not isinstance(entry, fx.Node) and entry == number


def flatten(b: Builder, op: ImportedOp) -> Value:
    """Flatten to a matrix: the axes before `axis` become its rows, the others its columns."""
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
    """Transpose: the axes in the order `perm`, or in reversed order where it is absent."""
    x = op.tensor(0)
    return b.call(torch.permute, x, tuple(op.attribute("perm", list(reversed(range(b.rank(x)))))))


def squeeze(b: Builder, op: ImportedOp) -> Value:
    """Squeeze: removes the given axes, or all that have the fixed size 1 where none is given."""
    x, axes = op.tensor(0), op.ints(1, "axes")
    if axes is None:
        axes = [i for i, size in enumerate(b.shape(x)) if _is(size, 1)]
    for axis in sorted((axis % b.rank(x) for axis in axes), reverse=True):
        x = b.call(torch.squeeze, x, axis)
    return x


def unsqueeze(b: Builder, op: ImportedOp) -> Value:
    """Unsqueeze: inserts axes of size 1; their numbers are those of the result's axes."""
    x, axes = op.tensor(0), op.ints(1, "axes") or []
    rank = b.rank(x) + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = b.call(torch.unsqueeze, x, axis)
    return x


def expand(b: Builder, op: ImportedOp) -> Value:
    """Expand: broadcasts x and the target shape against each other, so that a 1 in the target keeps the size of x."""
    x = b.tensor(op.get(0))
    sizes, target = b.shape(x), op.sizes(1)
    target = [1] * (len(sizes) - len(target)) + target
    new = len(target) - len(sizes)
    keep = [i >= new and (_is(entry, 1) or isinstance(sizes[i - new], fx.Node)) for i, entry in enumerate(target)]
    return b.method("expand", x, tuple(-1 if kept else entry for kept, entry in zip(keep, target, strict=True)))


def tile(b: Builder, op: ImportedOp) -> Value:
    """Tile: repeats x along each axis as often as the input says."""
    return b.method("repeat", b.tensor(op.get(0)), tuple(op.sizes(1)))


def concat(b: Builder, op: ImportedOp) -> Value:
    """Concat: joins tensors along one axis."""
    return b.call(torch.cat, [b.tensor(value) for value in op.inputs], dim=op.attribute("axis", 0))


def split(b: Builder, op: ImportedOp) -> tuple[Value, ...]:
    """Split along one axis: into parts of the given sizes, or into equal parts, of which the last may be smaller."""
    x, sizes = op.tensor(0), op.ints(1, "split")
    axis = op.attribute("axis", 0) % b.rank(x)
    if sizes is None:
        length = b.fixed_shape(x, axis)[0]
        part = -(-length // op.n_outputs)
        sizes = [min(part, length - i * part) for i in range(op.n_outputs)]
    parts = b.call(torch.split, x, sizes, axis)
    return tuple(b.call(operator.getitem, parts, i) for i in range(op.n_outputs))


def slice_(b: Builder, op: ImportedOp) -> Value:
    """Slice: starts, ends and steps along some axes.

    Starts and ends beyond the axis are cut to it, by Python's slices as by ONNX. torch has no negative steps: entries
    are picked by their indices instead.
    """
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
    """A slice with a negative step along one axis of fixed size, by the indices of its entries."""
    if isinstance(start, fx.Node) or isinstance(end, fx.Node):
        raise op.unsupported("a negative step from or to a place that depends on the batch")
    length = b.shape(x)[axis]
    if isinstance(length, fx.Node):
        raise op.unsupported("a negative step along the batch")
    first = min(max(start + length if start < 0 else start, 0), length - 1)
    stop = min(max(end + length if end < 0 else end, -1), length - 1)
    indices = np.arange(first, stop, step)
    return b.call(torch.index_select, x, axis, b.buffer("indices", indices))


def pad(b: Builder, op: ImportedOp) -> Value:
    """Pad in mode constant, reflect, edge or wrap, along all axes or (since opset 18) along some.

    Negative amounts cut entries off.
    """
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
    if any(pair != (0, 0) for pair in pairs[:1]):
        raise op.unsupported(f"mode {mode} on the batch axis")
    if _torch_pads(b, x, pairs, mode):
        flat = [amount for pair in reversed(pairs[2:]) for amount in pair]
        return b.call(functional.pad, x, flat, mode=_TORCH_MODES[mode])
    for axis, (before, after) in enumerate(pairs):
        if (before, after) != (0, 0):
            indices = _padded_places(b.fixed_shape(x, axis)[0], before, after, mode)
            x = b.call(torch.index_select, x, axis, b.buffer(f"indices{axis}", indices))
    return x


def _torch_pads(b: Builder, x: fx.Node, pairs: list[tuple[int, int]], mode: str) -> bool:
    """Whether torch's own pad computes `mode` for these amounts, and LiteRT takes it.

    It pads the axes behind the channels, of which there are one to three; by less than their size, unless mode is edge.
    torch can cut with it too, but LiteRT refuses the operator that litert-torch makes of negative amounts.
    """
    if not 3 <= b.rank(x) <= 5 or pairs[1] != (0, 0) or mode not in _TORCH_MODES:
        return False
    if any(amount < 0 for pair in pairs for amount in pair):
        return False
    sizes = b.fixed_shape(x, 2)
    return mode == "edge" or all(max(pair) < size for pair, size in zip(pairs[2:], sizes, strict=True))


def _padded_places(size: int, before: int, after: int, mode: str) -> npt.NDArray[np.int64]:
    """The index of the entry that each place of the padded axis takes; negative amounts cut entries off."""
    how: Any = mode
    places = np.arange(size)[max(-before, 0) : size - max(-after, 0)]
    padded: npt.NDArray[np.int64] = np.pad(places, (max(before, 0), max(after, 0)), mode=how)
    return padded


def _trailing(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The pairs of all axes from the first one on that is padded."""
    first = next(i for i, pair in enumerate(pairs) if pair != (0, 0))
    return pairs[first:]


def constant_of_shape(b: Builder, op: ImportedOp) -> Value:
    """ConstantOfShape where the shape depends on the batch."""
    value = op.attribute("value", None)
    fill = 0.0 if value is None else value.numpy().reshape(-1)[0].item()
    dtype = torch.float32 if value is None else torch.from_numpy(np.array(value.numpy())).dtype
    return b.call(torch.full, tuple(op.sizes(0)), fill, dtype=dtype)


def range_(b: Builder, op: ImportedOp) -> Value:
    """Range where a limit depends on the batch.

    torch's exporter counts rows in this way where it converts a strided view.
    """
    start, limit, step = (op.sizes(i)[0] for i in range(3))
    return b.call(torch.arange, start, limit, step)


def trilu(b: Builder, op: ImportedOp) -> Value:
    """Trilu: the upper or lower triangle of the last two axes, from a diagonal on; zeros elsewhere."""
    diagonal = 0 if op.get(1) is None else int(op.constant(1).array.reshape(-1)[0])
    return b.call(torch.triu if op.attribute("upper", 1) else torch.tril, b.tensor(op.get(0)), diagonal)


def eye_like(b: Builder, op: ImportedOp) -> Value:
    """EyeLike: ones on one diagonal of a matrix that has x's shape, zeros elsewhere."""
    x, k, number = op.tensor(0), op.attribute("k", 0), op.attribute("dtype", None)
    ones = b.call(torch.ones_like, x, dtype=b.dtype(x) if number is None else torch_type(op, number))
    return b.call(torch.triu, b.call(torch.tril, ones, k), k)


def reverse_sequence(b: Builder, op: ImportedOp) -> Value:
    """ReverseSequence: the first entries of each sequence in reversed order, as many as its length says."""
    x, axis, batch = op.tensor(0), op.attribute("time_axis", 0), op.attribute("batch_axis", 1)
    return b.call(turned, x, b.tensor(op.get(1)), axis, batch)


def turned(x: torch.Tensor, lengths: torch.Tensor, time: int, batch: int) -> torch.Tensor:
    """x with its first lengths[i] entries along axis `time` in reversed order, for each i along axis `batch`."""
    steps = torch.arange(x.shape[time], device=x.device).reshape([-1 if axis == time else 1 for axis in range(x.ndim)])
    ends = lengths.reshape([-1 if axis == batch else 1 for axis in range(x.ndim)])
    places = torch.where(steps < ends, ends - 1 - steps, steps)
    return torch.gather(x, time, places.expand(x.shape))


def compress(b: Builder, op: ImportedOp) -> Value:
    """Compress: the entries along an axis, or of the flattened tensor, where a constant condition is true."""
    x, chosen = op.tensor(0), np.flatnonzero(op.constant(1).array)
    axis = op.attribute("axis", None)
    if axis is None:
        x, axis = b.call(torch.reshape, x, (-1,)), 0
    return b.call(torch.index_select, x, axis, b.buffer("indices", chosen))


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
    "Trilu": trilu,
    "EyeLike": eye_like,
    "ReverseSequence": reverse_sequence,
    "Compress": compress,
    "Pad": pad,
    "ConstantOfShape": constant_of_shape,
    "Range": range_,
}
