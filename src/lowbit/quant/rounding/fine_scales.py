"""Scales for few bits: chosen by what rounding really comes to, then fitted to the codes."""

import numpy as np

from lowbit.quant.rounding.gptq import Problem, descend, gptq
from lowbit.quant.rounding.scales import Doubles, WeightGrid

_RATIOS = (0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.25)  # of the scale that suits rounding to nearest
_SHIFTS = (0, -1, 1)  # of its zero point
_AT_ONCE = 1 << 21  # weights rounded side by side: 16 MB an array
_LARGE = 2e9  # G K² O above which only scales are tried, without descent


def best_of_several(problem: Problem, feedback: Doubles, grid: WeightGrid) -> tuple[Doubles, WeightGrid]:
    """Codes [G, K, O] and the scale and zero point of each output, of 24 (symmetric: 8) the ones that err least.

    GPTQ spreads a weight's error over others, so that it bears a larger or smaller scale than rounding to nearest does.
    """
    target, kind = problem.target, problem.format
    groups, rows, outputs = target.shape
    large = groups * rows * rows * outputs > _LARGE
    pairs = [(ratio, shift) for shift in ((0,) if kind.symmetric or large else _SHIFTS) for ratio in _RATIOS]
    width = max(1, _AT_ONCE // target.size)
    best = np.full((groups, 1, outputs), np.inf)
    codes, scale, zero = np.empty_like(target), grid.scale.copy(), grid.zero.copy()
    for start in range(0, len(pairs), width):
        some = pairs[start : start + width]
        scales = np.concatenate([_single(grid.scale * ratio) for ratio, _ in some], axis=2)
        zeros = np.concatenate([np.clip(grid.zero + s, kind.lowest, kind.highest) for _, s in some], axis=2)
        wide = Problem(np.tile(target, (1, 1, len(some))), problem.h, kind)
        each = np.broadcast_to(scales, wide.target.shape), np.broadcast_to(zeros, wide.target.shape)
        tried = gptq(wide, feedback, *each)
        if not large:
            tried = descend(wide, tried, *each, passes=1)
        errors = wide.error(tried, *each)
        for at in range(len(some)):
            mine = slice(at * outputs, (at + 1) * outputs)
            better = errors[:, :, mine] < best
            for kept, offered in ((best, errors), (codes, tried), (scale, scales), (zero, zeros)):
                np.copyto(kept, offered[:, :, mine], where=better)
    return codes, WeightGrid(kind, scale, zero)


def fitted(problem: Problem, codes: Doubles, grid: WeightGrid) -> WeightGrid:
    """The scale of least error for these codes: s = qᵀ h target / qᵀ h q with q = code − zero. Kept where s ≤ 0."""
    integers = codes - grid.zero
    pulled = problem.h @ integers
    below = np.sum(integers * pulled, axis=1, keepdims=True)
    above = np.sum(problem.target * pulled, axis=1, keepdims=True)
    usable = (below > 0) & (above > 0)
    scale = np.where(usable, above / np.where(usable, below, 1.0), grid.scale)
    return WeightGrid(grid.format, np.where(scale > 1e-30, _single(scale), grid.scale), grid.zero)


def _single(scale: Doubles) -> Doubles:
    return scale.astype(np.float32).astype(np.float64)
