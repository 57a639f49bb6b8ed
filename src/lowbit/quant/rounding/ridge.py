"""Chooses λ, which says how far the covariances are trusted, on columns that were not used for the fit."""

import numpy as np

from lowbit.quant.rounding.moments import Moments
from lowbit.quant.rounding.scales import Doubles

RIDGES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
_START = 5  # where the walk begins: 4,608 rows take seconds a step, and want the larger ones
_BLIND = 0.03


def best_ridge(weight: Doubles, fit: Moments, held_out: Moments) -> float:
    """The λ of RIDGES whose W* [G, K, O], fitted on `fit`, errs least on `held_out`; found by walking downhill.

    One for the layer, by the error summed over groups and blocks. Without columns of both kinds: 0.03.
    """
    if not (fit.count and held_out.count):
        return _BLIND
    seen: dict[int, float] = {}

    def error(at: int) -> float:
        if not 0 <= at < len(RIDGES):
            return np.inf
        if at not in seen:
            seen[at] = _error(weight, fit, held_out, RIDGES[at])
        return seen[at]

    at = _START
    step = 1 if error(at + 1) < error(at) else -1
    while error(at + step) < error(at):
        at += step
    return RIDGES[at]


def damped(qq: Doubles, mean_q: Doubles, ridge: float) -> Doubles:
    """H = Cqq + λI [G, k, k], λ = ridge × the mean diagonal of the group; definite whatever the inputs were."""
    diagonal = np.maximum(np.einsum("gii->gi", qq), 0).mean(axis=1)
    # what float32 columns cannot tell from zero: constant inputs
    floor = 1e-10 * np.square(mean_q).mean(axis=1) + 1e-9 * diagonal.max() + 1e-30
    h = qq.copy()
    np.einsum("gii->gi", h)[...] += ridge * np.maximum(diagonal, floor)[:, None]
    return h


def _error(weight: Doubles, fit: Moments, held_out: Moments, ridge: float) -> float:
    """E‖W f + b − W* q − b*‖² of the held-out columns, less what no W* changes.

    With D = W* − W: tr(D Cqq Dᵀ) − 2 tr(D Cqd Wᵀ), and what the means have moved since the bias was fitted, squared.
    """
    total, drift = 0.0, np.zeros((weight.shape[0], 1, weight.shape[2]))
    for i, block in enumerate(fit.blocks):
        mine, other, w = fit.of(i), held_out.of(i), weight[:, block]
        change = np.linalg.solve(damped(mine.qq, mine.mean_q, ridge), mine.dq.swapaxes(1, 2) @ w)
        total += float(np.sum(change * (other.qq @ change - 2 * (other.dq.swapaxes(1, 2) @ w))))
        drift += (other.mean_d - mine.mean_d)[:, None] @ w - (other.mean_q - mine.mean_q)[:, None] @ change
    return total + float(np.sum(np.square(drift)))
