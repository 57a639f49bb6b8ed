"""Rounding by a closed form: a layer's weights to integers in seconds, without labels or gradients."""

import numpy as np

from lowbit.core.errors import BadInput
from lowbit.quant.formats import Codes, Format
from lowbit.quant.rounding.fine_scales import best_of_several, fitted
from lowbit.quant.rounding.gptq import Problem, descend, feedback_of, gptq
from lowbit.quant.rounding.moments import Moments
from lowbit.quant.rounding.ridge import best_ridge, damped
from lowbit.quant.rounding.scales import Doubles, Rounded, WeightGrid, check, search

_PASSES = 3  # of descent
_FITS = 3  # of the scale to the codes
_FEW_BITS = 3  # from here down the choice of scale decides


def closed_form(weight: Doubles, bias: Doubles, fit: Moments, held_out: Moments, kind: Format) -> Rounded:
    """Integer weights that say of the quantized inputs q what `weight` [G, O, K] says of the float ones f.

    1. W* = W (Cfq + λI)(Cqq + λI)⁻¹, the least squares of W f from q (asymmetric calibration: Li et al. 2025, GPTAQ),
       λ chosen on `held_out`, everything after it with the columns of both.
    2. Scales by search on W*, rows weighted by their variance; at 3 bits and fewer by GPTQ's own result, then fitted.
    3. Codes by GPTQ and descent in the metric Cqq + λI, rows by descending variance.
    4. Bias exactly: bias + W mf − Ŵ mq.

    Deterministic; all groups share λ's multiple. BadInput where no column was seen or the format cannot hold weights.
    """
    check(kind, fit.rows)
    if not fit.count + held_out.count:
        raise BadInput("no inputs of this layer were seen: calibrate with at least one image")
    turned = weight.swapaxes(1, 2)
    ridge = best_ridge(turned, fit, held_out)
    whole = len(fit.blocks) == 1
    target = np.empty(turned.shape, np.float64 if whole else np.float32)
    importance = np.empty(turned.shape[:2])
    for i, block in enumerate(fit.blocks):
        seen = fit.of(i).joined(held_out.of(i))
        h = damped(seen.qq, seen.mean_q, ridge)
        target[:, block] = turned[:, block] + np.linalg.solve(h, seen.dq.swapaxes(1, 2) @ turned[:, block])
        importance[:, block] = np.einsum("gii->gi", h)
    grid = search(target, kind, importance)
    codes = np.empty(turned.shape, np.int32)
    bias = bias.copy()
    for i, block in enumerate(fit.blocks):
        seen = fit.of(i).joined(held_out.of(i))
        scale, zero = (rows[:, block] for rows in grid.of_rows(fit.rows))
        h = damped(seen.qq, seen.mean_q, ridge)
        if whole and kind.granularity == "channel" and kind.bits <= _FEW_BITS:
            codes, grid = _with_scales(target, h, grid)
            scale, zero = grid.of_rows(fit.rows)
        else:
            codes[:, block] = _with_grid(target[:, block].astype(np.float64), h, scale, zero, kind)
        change = (codes[:, block] - zero) * scale - turned[:, block]
        bias += (seen.mean_d[:, None] @ turned[:, block] - seen.mean_q[:, None] @ change)[:, 0]
    return grid.rounded(codes, bias, target, ridge)


def _with_grid(target: Doubles, h: Doubles, scale: Doubles, zero: Doubles, kind: Format) -> Codes:
    """Codes for a grid that is settled."""
    order = _order(h)
    problem = Problem(_rows(target, order), _turned(h, order), kind)
    scale, zero = _rows(scale, order), _rows(zero, order)
    codes = gptq(problem, feedback_of(problem.h), scale, zero)
    return _back(descend(problem, codes, scale, zero, _PASSES), order)


def _with_scales(target: Doubles, h: Doubles, grid: WeightGrid) -> tuple[Codes, WeightGrid]:
    """Codes, and the scales (one an output) that turn out best with them."""
    order, rows = _order(h), target.shape[1]
    problem = Problem(_rows(target, order), _turned(h, order), grid.format)
    codes, grid = best_of_several(problem, feedback_of(problem.h), grid)
    codes = descend(problem, codes, *grid.of_rows(rows), _PASSES)
    for _ in range(_FITS):
        grid = fitted(problem, codes, grid)
        codes = descend(problem, codes, *grid.of_rows(rows), _PASSES)
    return _back(codes, order), grid


def _order(h: Doubles) -> Codes:
    """Rows by descending variance, [G, K, 1]."""
    return np.argsort(-np.einsum("gii->gi", h), axis=1, kind="stable")[:, :, None]  # type: ignore[return-value]


def _rows(values: Doubles, order: Codes) -> Doubles:
    return np.take_along_axis(values, order, axis=1)


def _turned(h: Doubles, order: Codes) -> Doubles:
    return np.take_along_axis(_rows(h, order), order.swapaxes(1, 2), axis=2)


def _back(codes: Doubles, order: Codes) -> Codes:
    return np.take_along_axis(codes, np.argsort(order, axis=1), axis=1).astype(np.int32)
