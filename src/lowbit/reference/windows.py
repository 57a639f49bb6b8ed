"""Sliding windows over [N, C, spatial …], as ONNX's convolutions and poolings cut them."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from lowbit.core.errors import UnsupportedError

Attributes = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Windows:
    """One entry a spatial axis. before, after: ONNX's padding; beyond: what rounding the output size up adds."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    beyond: tuple[int, ...]

    def padded(self, x: npt.NDArray[Any], value: float = 0) -> npt.NDArray[Any]:
        """X with `value` around it, everything that a window can touch."""
        width = [(b, a + more) for b, a, more in zip(self.before, self.after, self.beyond, strict=True)]
        if not any(map(any, width)):
            return x
        return np.pad(x, [(0, 0), (0, 0), *width], constant_values=value)

    def unfolded(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A view [N, C, out …, kernel …] of a padded x."""
        axes = tuple(range(2, x.ndim))
        extents = tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilations, strict=True))
        view = np.lib.stride_tricks.sliding_window_view(x, extents, axis=axes)
        outer, inner = (tuple(slice(None, None, step) for step in steps) for steps in (self.strides, self.dilations))
        return view[(slice(None), slice(None), *outer, *inner)]

    def taps(self, x: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
        """For every place in the kernel, what all windows of a padded x have there: views [N, C, out …]."""
        view = self.unfolded(x)
        for place in product(*map(range, self.kernel)):
            at: tuple[Any, ...] = (..., *place)
            yield view[at]

    def counts(self, sizes: tuple[int, ...], *, with_padding: bool) -> npt.NDArray[np.int64]:
        """How many entries of x each window averages over [out …]; never what rounding up added."""
        total = np.ones((), np.int64)
        for axis, size in enumerate(sizes):
            ring = int(with_padding)
            line = np.pad(np.ones(size, np.int64), (self.before[axis], self.after[axis]), constant_values=ring)
            line = np.pad(line, (0, self.beyond[axis]))
            extent = self.dilations[axis] * (self.kernel[axis] - 1) + 1
            view = np.lib.stride_tricks.sliding_window_view(line, extent)
            count = view[:: self.strides[axis], :: self.dilations[axis]].sum(axis=1)
            total = total[..., None] * count
        return total


def windows(attributes: Attributes, kernel: tuple[int, ...], sizes: tuple[int, ...]) -> Windows:
    """The windows of an ONNX Conv, AveragePool or MaxPool node over spatial `sizes`."""
    rank = len(kernel)
    strides = tuple(attributes.get("strides") or [1] * rank)
    dilations = tuple(attributes.get("dilations") or [1] * rank)
    extents = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    before, after = _pads(attributes, sizes, strides, extents)
    beyond = []
    for size, b, a, stride, extent in zip(sizes, before, after, strides, extents, strict=True):
        free = size + b + a - extent
        if free < 0:
            raise UnsupportedError(f"a window of {extent} does not fit into {size + b + a} padded entries")
        steps = -(-free // stride) if attributes.get("ceil_mode", 0) else free // stride
        if steps * stride >= size + b:  # a window must begin inside x or in the padding before it
            steps -= 1
        beyond.append(max(0, steps * stride - free))
    return Windows(tuple(kernel), strides, dilations, before, after, tuple(beyond))


def _pads(
    attributes: Attributes, sizes: tuple[int, ...], strides: tuple[int, ...], extents: list[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    rank = len(sizes)
    kind = attributes.get("auto_pad", b"NOTSET").decode()
    if kind == "NOTSET":
        pads = attributes.get("pads") or [0] * 2 * rank
        return tuple(pads[:rank]), tuple(pads[rank:])
    if kind == "VALID":
        return (0,) * rank, (0,) * rank
    totals = [
        max(0, (-(-size // stride) - 1) * stride + extent - size)
        for size, stride, extent in zip(sizes, strides, extents, strict=True)
    ]
    less, more = tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)
    return (less, more) if kind == "SAME_UPPER" else (more, less)
