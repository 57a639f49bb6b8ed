"""Convolutions and matrix products in the integer-only interpreter: exact sums, in units of scale_x · scale_w.

Jacob et al. 2018, eq. 4: sums over (code_x − zero_point_x)(code_w − zero_point_w), and section 2.4 for the int32 bias.
"""

import numpy as np

from lowbit.core.errors import BadInput
from lowbit.reference.op import Inputs, ReferenceOp, Rule, padded, real
from lowbit.reference.products import (
    Kernel,
    Totals,
    convolution,
    exact_matrix_product,
    exactly,
    transposed_convolution,
)
from lowbit.reference.values import Array, Codes, Sums, Value, along, in_int32


def _conv(op: ReferenceOp, inputs: Inputs) -> list[Value] | None:
    kernel = convolution(op.attributes)
    x, w, _ = padded(inputs, 3)
    if isinstance(x, Codes) and isinstance(w, Codes) and x.axis is None and w.axis in (None, 0):
        total = exactly(kernel, x.centred(), w.centred(), tuple(range(1, w.array.ndim)))
        return _biased(op, total, x, w.scale, inputs, 1)
    return _float_product(kernel, inputs)


def _conv_transpose(op: ReferenceOp, inputs: Inputs) -> list[Value] | None:
    kernel = transposed_convolution(op.attributes)
    x, w, _ = padded(inputs, 3)
    if isinstance(x, Codes) and isinstance(w, Codes) and x.axis is None and w.axis in (None, 1):
        total = exactly(kernel, x.centred(), w.centred(), (0, *range(2, w.array.ndim)))
        scale = np.tile(w.scale, op.attributes.get("group", 1)) if w.axis == 1 else w.scale
        return _biased(op, total, x, scale, inputs, 1)
    return _float_product(kernel, inputs)


def _gemm(op: ReferenceOp, inputs: Inputs) -> list[Value] | None:
    x, w, _ = padded(inputs, 3)
    if any(op.attributes.get(name, 1.0) != 1.0 for name in ("alpha", "beta")) or op.attributes.get("transA", 0):
        return None
    out = 0 if op.attributes.get("transB", 0) else 1  # w's axis of output channels
    if isinstance(x, Codes) and isinstance(w, Codes) and x.axis is None and w.axis in (None, out):
        matrix = w.centred() if out else w.centred().T
        return _biased(op, exact_matrix_product(x.centred(), matrix), x, w.scale, inputs, 1)
    return None


def _mat_mul(op: ReferenceOp, inputs: Inputs) -> list[Value] | None:
    x, w = inputs
    if (
        not isinstance(x, Codes)
        or not isinstance(w, Codes)
        or x.axis is not None
        or min(x.array.ndim, w.array.ndim) < 2
    ):
        return None
    if w.axis not in (None, w.array.ndim - 1):
        return None
    total = exact_matrix_product(x.centred(), w.centred())
    return _biased(op, total, x, w.scale, inputs[:2], total.ndim - 1)


def _biased(op: ReferenceOp, total: Totals, x: Codes, scale: Array, inputs: Inputs, axis: int) -> list[Value] | None:
    """Sums in units of scale_x · scale_w, bias included; None for a float bias, which no integer kernel takes."""
    unit = (x.scale * scale).astype(np.float32)
    bias = inputs[2] if len(inputs) > 2 else None
    if bias is not None:
        if not isinstance(bias, Codes):
            return None
        if bias.zero_point.any() or not np.allclose(bias.scale, unit, rtol=1e-5, atol=0):
            raise BadInput(
                f"{op.label}: its bias has scale {bias.scale.flat[0]:.6g} … and its products {unit.flat[0]:.6g} …; "
                "an integer kernel adds them as they are: give the bias scale_x · scale_w and zero point 0"
            )
        total = total + along(bias.array.astype(np.int64), axis if bias.array.size > 1 else None, total.ndim)
    return [Sums(in_int32(total, op.label), along(unit, axis if unit.ndim else None, total.ndim))]


def _float_product(kernel: Kernel, inputs: Inputs) -> list[Value]:
    x, w, bias = (real(value) for value in padded(inputs, 3))
    assert x is not None
    assert w is not None
    y = kernel(x.astype(np.float64), w.astype(np.float64))
    if bias is not None:
        y = y + along(bias, 1, y.ndim)
    return [y.astype(np.float32)]


LAYERS: dict[str, Rule] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _mat_mul,
}
