"""Operators that change a shape or move entries: Reshape, Transpose, Slice, Pad, Concat and their like."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from lowbit.kerasgraph.builder import Builder, Handler, first
from lowbit.kerasgraph.operators.math import tensorflow_type
from lowbit.kerasgraph.values import Array, Constant, ImportedOp, Tensor, Value


def identity(_: Builder, op: ImportedOp) -> Value:
    """Identity; and Dropout, which changes nothing at inference."""
    return op.given(0)


def shape(_: Builder, op: ImportedOp) -> Value:
    """Shape: the sizes of x, from the axis `start` to the axis before `end` (opset 15)."""
    sizes = op.tensor(0).shape[op.attribute("start", 0) : op.attribute("end", None)]
    return Constant(op.name, np.array(sizes, np.int64))


def size(_: Builder, op: ImportedOp) -> Value:
    """Size: the number of x's entries."""
    return Constant(op.name, np.array(math.prod(op.tensor(0).shape), np.int64))


def to_shape(b: Builder, x: Tensor, target: Sequence[int]) -> Tensor:
    """x in another shape, with as little moved as possible.

    Axes that become other axes together, such as the channels that are split into groups, are a block. Only the axes of
    a block must lie in their order, beside each other; the blocks stay where x has them.
    """
    blocks = _blocks(x.shape, target)
    if blocks is None:
        return first(b.reshaped(b.plain(x), target))
    order = sorted(range(len(blocks)), key=lambda i: min((x.axes[axis] for axis in blocks[i][0]), default=-1))
    old = [axis for i in order for axis in blocks[i][0]]
    new = [axis for i in order for axis in blocks[i][1]]
    value = b.placed(x, tuple(old.index(axis) for axis in range(x.rank)))
    value = b.reshaped(value, [target[axis] for axis in new])
    axes = tuple(new.index(axis) for axis in range(len(target)))
    return replace(x, value=value, axes=axes)


def _blocks(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]] | None:
    """The smallest groups of axes (of the old shape, of the new one) with equal numbers of entries.

    None where there are none: a shape without axes or without entries.
    """
    if not old or not new or 0 in (*old, *new):
        return None
    found: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) and j < len(new):
        block: tuple[list[int], list[int]] = ([i], [j])
        left, right = old[i], new[j]
        i, j = i + 1, j + 1
        while left != right:
            if left < right:
                left *= old[i]
                block[0].append(i)
                i += 1
            else:
                right *= new[j]
                block[1].append(j)
                j += 1
        found.append(block)
    found[-1][0].extend(range(i, len(old)))  # axes of size 1
    found[-1][1].extend(range(j, len(new)))
    return found


def reshape(b: Builder, op: ImportedOp) -> Value:
    """Reshape: 0 keeps the size of x on that axis (unless allowzero is set), −1 is inferred from the other sizes."""
    x, target = op.tensor(0), [int(entry) for entry in op.constant(1).reshape(-1)]
    if not op.attribute("allowzero", 0):
        target = [x.shape[i] if entry == 0 else entry for i, entry in enumerate(target)]
    if -1 in target:
        known = math.prod(entry for entry in target if entry != -1)
        target[target.index(-1)] = math.prod(x.shape) // max(known, 1)
    if math.prod(target) != math.prod(x.shape):
        raise op.unsupported(f"{list(x.shape)} cannot become {target}")
    return _flat_for_products(b, op, x, target) or to_shape(b, x, target)


def flatten(b: Builder, op: ImportedOp) -> Value:
    """Flatten to a matrix: the axes before `axis` become its rows, the others its columns."""
    x = op.tensor(0)
    axis = op.attribute("axis", 1)
    axis = axis + x.rank if axis < 0 else axis
    target = [math.prod(x.shape[:axis]), math.prod(x.shape[axis:])]
    return _flat_for_products(b, op, x, target) or to_shape(b, x, target)


def _flat_for_products(b: Builder, op: ImportedOp, x: Tensor, target: Sequence[int]) -> Tensor | None:
    """x [N, …] as a matrix [N, K] in the order in which it lies; None where that would not save a transpose.

    The products behind it put the rows of their weights into the same order.
    """
    inner = [axis for axis in x.axes[1:] if x.value.shape[axis] != 1]
    if not op.for_products or len(target) != 2 or target[0] != x.shape[0] or x.axes[0] != 0 or inner == sorted(inner):
        return None
    lies = np.arange(target[1]).reshape(tuple(x.value.shape[1:]))
    columns = lies.transpose([axis - 1 for axis in x.axes[1:]]).reshape(-1)
    layer = tf_keras.layers.Flatten(name=b.name())
    return Tensor(b.layer(layer, x.value), (0, 1), columns, x.nonnegative)


def transpose(_: Builder, op: ImportedOp) -> Value:
    """Transpose: the axes in the order `perm`, or in reversed order where it is absent. Nothing is moved yet."""
    x = op.tensor(0)
    order = op.attribute("perm", list(reversed(range(x.rank))))
    return replace(x, axes=tuple(x.axes[axis] for axis in order))


def squeeze(b: Builder, op: ImportedOp) -> Value:
    """Squeeze: removes the given axes, or all but the batch that have the size 1 where none is given."""
    x, axes = op.tensor(0), op.ints(1, "axes")
    if axes is None:
        axes = [i for i, size in enumerate(x.shape) if size == 1 and i > 0]
    gone = {axis % x.rank for axis in axes}
    return to_shape(b, x, [size for axis, size in enumerate(x.shape) if axis not in gone])


def unsqueeze(b: Builder, op: ImportedOp) -> Value:
    """Unsqueeze: inserts axes of size 1; their numbers are those of the result's axes."""
    x, axes = op.tensor(0), op.ints(1, "axes") or []
    rank = x.rank + len(axes)
    sizes, new = iter(x.shape), {axis % rank for axis in axes}
    return to_shape(b, x, [1 if axis in new else next(sizes) for axis in range(rank)])


def expand(b: Builder, op: ImportedOp) -> Value:
    """Expand: broadcasts x and the target shape against each other, so that a 1 in the target keeps the size of x."""
    x = op.tensor(0)
    target = np.broadcast_shapes(x.shape, tuple(int(entry) for entry in op.constant(1)))
    if target == x.shape:
        return x
    if len(target) != x.rank:
        return first(b.call(lambda t: tf.broadcast_to(t, target), b.plain(x)))
    placed = [target[x.axes.index(place)] for place in range(x.rank)]
    return b.each(lambda t: tf.broadcast_to(t, placed), x, nonnegative=x.nonnegative)


def tile(b: Builder, op: ImportedOp) -> Value:
    """Tile: repeats x along each axis as often as the input says."""
    x, repeats = op.tensor(0), [int(entry) for entry in op.constant(1)]
    placed = [repeats[x.axes.index(place)] for place in range(x.rank)]
    return b.each(lambda t: tf.tile(t, placed), x, nonnegative=x.nonnegative)


def concat(b: Builder, op: ImportedOp) -> Value:
    """Concat: joins tensors along one axis."""
    values = [op.given(i) for i in range(len(op.inputs))]
    operands, axes = b.together(values)
    place = axes[op.attribute("axis", 0) % len(axes)]
    nonnegative = all(isinstance(value, Tensor) and value.nonnegative for value in values)
    if len(values) == 1:
        return values[0]
    if place and all(isinstance(value, Tensor) for value in values):
        layer = tf_keras.layers.Concatenate(axis=place, name=b.name())
        return Tensor(b.layer(layer, *operands), axes, nonnegative=nonnegative)
    return Tensor(b.call(lambda *parts: tf.concat(parts, place), *operands), axes)


def split(b: Builder, op: ImportedOp) -> tuple[Value, ...]:
    """Split along one axis: into parts of the given sizes, or into equal parts, of which the last may be smaller."""
    x, sizes = op.tensor(0), op.ints(1, "split")
    axis = op.attribute("axis", 0) % x.rank
    if sizes is None:
        part = -(-x.shape[axis] // op.n_outputs)
        sizes = [min(part, x.shape[axis] - i * part) for i in range(op.n_outputs)]
    if len(sizes) == 1:
        return (x,)
    parts = b.call(lambda t: tuple(tf.split(t, sizes, x.axes[axis])), x.value)
    return tuple(replace(x, value=part) for part in parts)


def slice_(b: Builder, op: ImportedOp) -> Value:
    """Slice: starts, ends and steps along some axes. What lies beyond an axis is cut to it, as in Python."""
    x = op.tensor(0)
    starts, ends = op.ints(1, "starts") or [], op.ints(2, "ends") or []
    axes = op.ints(3, "axes") or list(range(len(starts)))
    steps = op.ints(4, "steps") or [1] * len(starts)
    index = [slice(None)] * x.rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        begin, stop, by = slice(start, end, step).indices(x.shape[axis % x.rank])
        index[x.axes[axis % x.rank]] = slice(begin, None if stop < 0 else max(stop, begin if by > 0 else 0), by)
    chosen = tuple(index)
    return b.each(lambda t: t[chosen], x, nonnegative=x.nonnegative)


def pad(b: Builder, op: ImportedOp) -> Value:
    """Pad in mode constant, reflect, edge or wrap, along all axes or (since opset 18) along some.

    Negative amounts cut entries off.
    """
    x = op.tensor(0)
    amounts = op.ints(1, "pads") or []
    axes = op.ints(3) or list(range(x.rank))
    pairs = [(0, 0)] * x.rank
    for i, axis in enumerate(axes):
        pairs[axis % x.rank] = (amounts[i], amounts[i + len(axes)])
    mode = op.attribute("mode", "constant")
    if mode == "constant":
        return b.pad(x, pairs, op.scalar(2, "value", 0.0) or 0.0)
    placed = [pairs[x.axes.index(place)] for place in range(x.rank)]
    sizes = x.value.shape
    if mode == "reflect" and all(min(p) >= 0 and max(p) < n for p, n in zip(placed, sizes, strict=True)):
        return b.each(lambda t: tf.pad(t, placed, "REFLECT"), x, nonnegative=x.nonnegative)
    for place, (pair, n) in enumerate(zip(placed, sizes, strict=True)):
        if pair != (0, 0):
            x = picked(b, x, place, _padded_places(n, *pair, mode))
    return x


def picked(b: Builder, x: Tensor, place: int, indices: Array) -> Tensor:
    """The entries of x at constant indices along the axis of `x.value` number `place`."""
    return b.each(lambda t: tf.gather(t, indices.astype(np.int32), axis=place), x, nonnegative=x.nonnegative)


def _padded_places(size: int, before: int, after: int, mode: str) -> Array:
    """The index of the entry that each place of the padded axis takes; negative amounts cut entries off."""
    how: Any = mode
    places = np.arange(size)[max(-before, 0) : size - max(-after, 0)]
    return np.pad(places, (max(before, 0), max(after, 0)), mode=how)


def trilu(b: Builder, op: ImportedOp) -> Value:
    """Trilu: the upper or lower triangle of the last two axes, from a diagonal on; zeros elsewhere."""
    x, k = op.tensor(0), 0 if op.get(1) is None else int(op.constant(1).reshape(-1)[0])
    ones = np.ones(x.shape[-2:], bool)
    mask = np.triu(ones, k) if op.attribute("upper", 1) else np.tril(ones, k)
    return b.pairs(lambda t, kept: tf.where(kept, t, tf.zeros_like(t)), x, Constant(op.name, mask))


def eye_like(_: Builder, op: ImportedOp) -> Value:
    """EyeLike: ones on one diagonal of a matrix that has x's shape, zeros elsewhere."""
    x, number = op.tensor(0), op.attribute("dtype", None)
    kind = x.dtype if number is None else tensorflow_type(op, number).as_numpy_dtype
    rows, columns = x.shape
    return Constant(op.name, np.eye(rows, columns, op.attribute("k", 0), kind))


def reverse_sequence(b: Builder, op: ImportedOp) -> Value:
    """ReverseSequence: the first entries of each sequence in reversed order, as many as its length says."""
    time, batch = op.attribute("time_axis", 0), op.attribute("batch_axis", 1)
    return b.whole(lambda t, n: tf.reverse_sequence(t, n, seq_axis=time, batch_axis=batch), op.get(0), op.get(1))


def compress(b: Builder, op: ImportedOp) -> Value:
    """Compress: the entries along an axis, or of the flattened tensor, where a constant condition is true."""
    x, chosen = op.tensor(0), np.flatnonzero(op.constant(1))
    axis = op.attribute("axis", None)
    if axis is None:
        x, axis = to_shape(b, x, [math.prod(x.shape)]), 0
    return picked(b, x, x.axes[axis % x.rank], chosen)


OPERATORS: dict[str, Handler] = {
    "Identity": identity,
    "Dropout": identity,
    "Shape": shape,
    "Size": size,
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
}
