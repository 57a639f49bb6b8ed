"""Pooling by norms, and the largest entry of a plane of any rank."""

from collections.abc import Sequence

import numpy as np

from lowbit.reference.floats.rule import Array, FloatOp, needed
from lowbit.reference.windows import windows


def _global_max_pool(_: FloatOp, arrays: Sequence[Array | None]) -> list[Array]:
    x = needed(arrays, 0)
    return [x.max(axis=tuple(range(2, x.ndim)), keepdims=True)]


def _global_lp_pool(op: FloatOp, arrays: Sequence[Array | None]) -> list[Array]:
    x, p = needed(arrays, 0), op.attributes.get("p", 2)
    powers = np.abs(x.astype(np.float64)) ** p
    return [powers.sum(axis=tuple(range(2, x.ndim)), keepdims=True) ** (1 / p)]


def _lp_pool(op: FloatOp, arrays: Sequence[Array | None]) -> list[Array]:
    x, p = needed(arrays, 0), op.attributes.get("p", 2)
    found = windows(op.attributes, tuple(op.attributes["kernel_shape"]), x.shape[2:])
    taps = found.taps(found.padded(np.abs(x.astype(np.float64)) ** p))
    return [sum(taps, np.zeros(())) ** (1 / p)]


RULES = {"GlobalMaxPool": _global_max_pool, "GlobalLpPool": _global_lp_pool, "LpPool": _lp_pool}
