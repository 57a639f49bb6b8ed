"""Operators that move elements about: reshape, slice, pad, concatenate."""

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
    """Whether torch pads in this mode: up to three axes behind the channels, by less than their size."""
    if not 3 <= b.rank(x) <= 5 or pairs[1] != (0, 0) or mode not in _TORCH_MODES:
        return False
    sizes = b.fixed_shape(x, 2)
    return mode == "edge" or all(max(pair) < size for pair, size in zip(pairs[2:], sizes, strict=True))


def _padded_places(size: int, before: int, after: int, mode: str) -> npt.NDArray[np.int64]:
    """Which entry of an axis each entry of the padded axis is; negative amounts cut."""
    how: Any = mode
    places = np.arange(size)[max(-before, 0) : size - max(-after, 0)]
    padded: npt.NDArray[np.int64] = np.pad(places, (max(before, 0), max(after, 0)), mode=how)
    return padded


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


def trilu(b: Builder, op: ImportedOp) -> Value:
    """Trilu: the triangle above or below a diagonal of the last two axes, zeros elsewhere."""
    diagonal = 0 if op.get(1) is None else int(op.constant(1).array.reshape(-1)[0])
    return b.call(torch.triu if op.attribute("upper", 1) else torch.tril, b.tensor(op.get(0)), diagonal)


def eye_like(b: Builder, op: ImportedOp) -> Value:
    """EyeLike: ones on a diagonal of a matrix of x's shape."""
    x, k, number = op.tensor(0), op.attribute("k", 0), op.attribute("dtype", None)
    ones = b.call(torch.ones_like, x, dtype=b.dtype(x) if number is None else torch_type(op, number))
    return b.call(torch.triu, b.call(torch.tril, ones, k), k)


def reverse_sequence(b: Builder, op: ImportedOp) -> Value:
    """ReverseSequence: turns the first entries of each sequence round, as many as its length says."""
    x, axis, batch = op.tensor(0), op.attribute("time_axis", 0), op.attribute("batch_axis", 1)
    return b.call(turned, x, b.tensor(op.get(1)), axis, batch)


def turned(x: torch.Tensor, lengths: torch.Tensor, time: int, batch: int) -> torch.Tensor:
    """x with its first lengths[i] entries along `time` in reverse, for each i along `batch`."""
    steps = torch.arange(x.shape[time], device=x.device).reshape([-1 if axis == time else 1 for axis in range(x.ndim)])
    ends = lengths.reshape([-1 if axis == batch else 1 for axis in range(x.ndim)])
    places = torch.where(steps < ends, ends - 1 - steps, steps)
    return torch.gather(x, time, places.expand(x.shape))


def compress(b: Builder, op: ImportedOp) -> Value:
    """Compress by a constant condition: the entries along an axis (or of the flat tensor) where it is true."""
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
