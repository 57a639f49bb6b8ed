"""Normalizations that ONNX's reference evaluator gets wrong."""

from collections.abc import Sequence

import numpy as np

from lowbit.reference.floats.rule import Array, FloatOp, needed


def _batch_norm(op: FloatOp, arrays: Sequence[Array | None]) -> list[Array] | None:
    """In inference form."""
    if op.attributes.get("training_mode", 0):
        return None
    x, scale, bias, mean, variance = (needed(arrays, i).astype(np.float64) for i in range(5))
    shape = [1, -1, *[1] * (x.ndim - 2)]
    factor = scale / np.sqrt(variance + op.attributes.get("epsilon", 1e-5))
    return [x * factor.reshape(shape) + (bias - mean * factor).reshape(shape)]


def _local_response(op: FloatOp, arrays: Sequence[Array | None]) -> list[Array]:
    """LRN: x / (bias + alpha / size · sum of squares of channels around)^beta."""
    x = needed(arrays, 0).astype(np.float64)
    size, alpha = op.attributes["size"], op.attributes.get("alpha", 1e-4)
    beta, bias = op.attributes.get("beta", 0.75), op.attributes.get("bias", 1.0)
    around = [(0, 0), ((size - 1) // 2, size // 2), *[(0, 0)] * (x.ndim - 2)]
    squares = np.lib.stride_tricks.sliding_window_view(np.pad(x * x, around), size, axis=1).sum(axis=-1)
    return [x / (bias + alpha / size * squares) ** beta]


def _lp_normalization(op: FloatOp, arrays: Sequence[Array | None]) -> list[Array]:
    """x over its 1- or 2-norm along one axis; zeros stay zeros."""
    x, axis = needed(arrays, 0).astype(np.float64), op.attributes.get("axis", -1)
    norm = np.linalg.norm(x, op.attributes.get("p", 2), axis, keepdims=True)
    return [x / np.where(norm == 0, 1.0, norm)]


RULES = {"BatchNormalization": _batch_norm, "LRN": _local_response, "LpNormalization": _lp_normalization}
