"""Pad by negative amounts, which cut, in the modes that repeat entries."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lowbit.reference.floats.rule import Array, FloatOp, given, needed


def _pad(op: FloatOp, arrays: Sequence[Array | None]) -> list[Array] | None:
    mode = op.text("mode", "constant")
    if mode == "constant":
        return None
    x, pads, chosen = needed(arrays, 0), needed(arrays, 1), given(arrays, 3)
    axes = list(range(x.ndim)) if chosen is None else [int(axis) % x.ndim for axis in chosen]
    how: Any = mode
    for i, axis in enumerate(axes):
        before, after = int(pads[i]), int(pads[len(axes) + i])
        indices = np.arange(x.shape[axis])[max(-before, 0) : x.shape[axis] - max(-after, 0)]
        x = np.take(x, np.pad(indices, (max(before, 0), max(after, 0)), mode=how), axis)
    return [x]


RULES = {"Pad": _pad}
