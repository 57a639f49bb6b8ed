"""GridSample: entries looked up between pixels, axis by axis of the grid."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from lowbit.reference.floats.resize import cubic
from lowbit.reference.floats.rule import Array, FloatOp, Reals, needed

Indices = npt.NDArray[np.int64]


def _grid_sample(op: FloatOp, arrays: Sequence[Array | None]) -> list[Array]:
    """x [N, C, …], grid [N, out …, r] with its last axis in the order x, y, (z), from −1 to 1 → [N, C, out …]."""
    x, grid = needed(arrays, 0), needed(arrays, 1).astype(np.float64)
    mode = op.text("mode", "linear").removeprefix("bi")
    padding, align = op.text("padding_mode", "zeros"), bool(op.attributes.get("align_corners", 0))
    taps, shares = [], []
    for axis, size in enumerate(x.shape[2:]):
        at = grid[..., grid.shape[-1] - 1 - axis]
        at = (at + 1) / 2 * (size - 1) if align else ((at + 1) * size - 1) / 2
        if mode != "cubic":  # a cubic's taps are brought inside one by one
            at = _inside(at, size, padding, align=align)
        found, share = _taps(at, mode)
        if mode == "cubic":
            found = np.rint(_inside(found.astype(np.float64), size, padding, align=align)).astype(np.int64)
        share = np.where((found >= 0) & (found < size), share, 0.0)
        taps.append(np.clip(found, 0, size - 1))
        shares.append(share)
    y = np.zeros((*x.shape[:2], *grid.shape[1:-1]))
    for choice in product(*(range(each.shape[-1]) for each in taps)):
        places = [tap[..., i] for tap, i in zip(taps, choice, strict=True)]
        share = np.prod([each[..., i] for each, i in zip(shares, choice, strict=True)], axis=0)
        for n in range(len(x)):
            y[n] += x[n][(slice(None), *(place[n] for place in places))] * share[n]
    return [y]


def _inside(at: Reals, size: int, padding: str, *, align: bool) -> Reals:
    """Places brought inside by the padding mode; with zeros they stay where they are."""
    if padding == "border":
        return np.clip(at, 0, size - 1)
    if padding == "reflection":
        low, high = (0.0, size - 1.0) if align else (-0.5, size - 0.5)
        if high == low:
            return np.zeros_like(at)
        phase = np.mod(at - low, 2 * (high - low))
        return np.clip(low + np.minimum(phase, 2 * (high - low) - phase), 0, size - 1)
    return at


def _taps(at: Reals, mode: str) -> tuple[Indices, Reals]:
    """Old indices [..., taps] and their weights."""
    if mode == "nearest":
        return np.rint(at).astype(np.int64)[..., None], np.ones((*at.shape, 1))
    reach = 1 if mode == "linear" else 2
    first = np.floor(at).astype(np.int64) - reach + 1
    offsets = np.arange(2 * reach)
    distance = np.abs((at - np.floor(at))[..., None] + reach - 1 - offsets)
    share = np.maximum(0.0, 1.0 - distance) if mode == "linear" else cubic(distance, -0.75)
    return first[..., None] + offsets, share


RULES = {"GridSample": _grid_sample}
