"""Convolutions and matrix products in plain NumPy, in the element type that comes in; `exactly` makes them exact.

Products go through BLAS. It adds in any order and with any fusing, so a result over integers is exact as long as no
partial sum needs more bits than the type has: 24 in float32, 53 in float64.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from lowbit.core.errors import UnsupportedError
from lowbit.reference.windows import Attributes, Windows, windows

Reals = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]
Totals = npt.NDArray[np.int64]
Kernel = Callable[[Reals, Reals], Reals]

_UNFOLDED = 1 << 24  # elements of unfolded windows at a time: 128 MB in float64
_INNER = 2048  # of a matrix product's inner size at a time: a weight of 100 million is never held whole in float64


def exactly(kernel: Kernel, x: Integers, w: Integers, axes: tuple[int, ...]) -> Totals:
    """`kernel` of two integer arrays, as int64; each output entry is a sum over (a part of) these `axes` of w."""
    sums = np.abs(w.astype(np.int32)).sum(axis=axes, dtype=np.int64)
    largest = _largest(x) * _largest(sums)
    if largest >= 1 << 53:
        raise UnsupportedError(f"sums of up to {largest} are beyond exact double precision (and any kernel's int32)")
    kind = np.float32 if largest < 1 << 24 else np.float64
    return kernel(x.astype(kind), w.astype(kind)).astype(np.int64)


def exact_matrix_product(x: Integers, w: Integers) -> Totals:
    """MatMul: x […, M, K], w […, K, N] → int64 […, M, N]."""
    inner = x.shape[-1]
    total = exactly(np.matmul, x[..., :_INNER], w[..., :_INNER, :], (-2,))
    for first in range(_INNER, inner, _INNER):
        part = slice(first, first + _INNER)
        total += exactly(np.matmul, x[..., part], w[..., part, :], (-2,))
    return total


def _largest(x: Integers) -> int:
    return max(int(x.max()), -int(x.min())) if x.size else 0


def convolution(attributes: Attributes) -> Kernel:
    """Conv: x [N, C, …], w [O, C / group, …] → [N, O, …]."""

    def kernel(x: Reals, w: Reals) -> Reals:
        found = windows(attributes, w.shape[2:], x.shape[2:])
        return _convolve(found.padded(x), w, found, attributes.get("group", 1))

    return kernel


def transposed_convolution(attributes: Attributes) -> Kernel:
    """ConvTranspose: x [N, C, …], w [C, O / group, …] → [N, O, …], as a convolution of x with zeros set in between."""
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or attributes.get("output_shape"):
        raise UnsupportedError("a ConvTranspose with auto_pad or output_shape", "export it with explicit pads")

    def kernel(x: Reals, w: Reals) -> Reals:
        rank, group = x.ndim - 2, attributes.get("group", 1)
        strides = attributes.get("strides") or [1] * rank
        dilations = tuple(attributes.get("dilations") or [1] * rank)
        pads = attributes.get("pads") or [0] * 2 * rank
        extra = attributes.get("output_padding") or [0] * rank
        apart = np.zeros((*x.shape[:2], *((n - 1) * s + 1 for n, s in zip(x.shape[2:], strides, strict=True))), x.dtype)
        apart[(slice(None), slice(None), *(slice(None, None, s) for s in strides))] = x
        for axis in range(rank):
            reach = dilations[axis] * (w.shape[2 + axis] - 1)
            ends = reach - pads[axis], reach - pads[rank + axis] + extra[axis]
            apart = _resized(apart, 2 + axis, *ends)
        grouped = w.reshape(group, w.shape[0] // group, *w.shape[1:]).swapaxes(1, 2)
        turned = np.flip(grouped.reshape(-1, *grouped.shape[2:]), axis=tuple(range(2, w.ndim)))
        ones, zeros = (1,) * rank, (0,) * rank
        return _convolve(apart, turned, Windows(w.shape[2:], ones, dilations, zeros, zeros, zeros), group)

    return kernel


def _resized(x: npt.NDArray[Any], axis: int, before: int, after: int) -> npt.NDArray[Any]:
    """X with so many zeros more at the ends of one axis; negative numbers cut off."""
    width = [(0, 0)] * x.ndim
    width[axis] = (max(before, 0), max(after, 0))
    x = np.pad(x, width)
    cut = [slice(None)] * x.ndim
    cut[axis] = slice(max(-before, 0), x.shape[axis] - max(-after, 0))
    return x[tuple(cut)]


def _convolve(padded: Reals, w: Reals, found: Windows, group: int) -> Reals:
    """One matrix product an image and group: w [G, O / G, C / G · kernel] times columns [N, G, C / G · kernel, out]."""
    view = found.unfolded(padded)
    rank = len(found.kernel)
    count, out = view.shape[0], view.shape[2 : 2 + rank]
    rows = prod(w.shape[1:])
    order = (0, 1, *range(2 + rank, 2 + 2 * rank), *range(2, 2 + rank))
    matrices = w.reshape(group, w.shape[0] // group, rows)
    result = np.empty((count, w.shape[0], *out), padded.dtype)
    chunk = max(1, _UNFOLDED // max(1, group * rows * prod(out)))
    for first in range(0, count, chunk):
        part = view[first : first + chunk].transpose(order)
        columns = part.reshape(len(part), group, rows, prod(out))
        result[first : first + chunk] = np.matmul(matrices, columns).reshape(len(part), w.shape[0], *out)
    return result
