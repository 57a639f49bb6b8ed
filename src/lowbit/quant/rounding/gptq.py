"""Integers near a layer's weights in the metric of its inputs: GPTQ, then coordinate descent."""

from dataclasses import dataclass, field

import numpy as np

from lowbit.quant.formats import Format
from lowbit.quant.rounding.scales import Doubles, nearest_codes

_BLOCK = 128  # rows between two matrix products


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Codes Q [G, K, O] are wanted with a small (Q − target)ᵀ h (Q − target) for each output; h [G, K, K], definite."""

    target: Doubles = field(repr=False)
    h: Doubles = field(repr=False)
    format: Format

    def error(self, codes: Doubles, scale: Doubles, zero: Doubles) -> Doubles:
        """What is to be small, [G, 1, O]."""
        off = (codes - zero) * scale - self.target
        total: Doubles = np.sum(off * (self.h @ off), axis=1, keepdims=True)
        return total


def feedback_of(h: Doubles) -> Doubles:
    """Mᵀ of h = M D Mᵀ, M unit upper triangular: row i says how the errors of the rows before it are made up for."""
    # the factor from the far end: turned around, the lower triangle is the upper one that is wanted
    factor = np.linalg.cholesky(h[:, ::-1, ::-1])[:, ::-1, ::-1]
    diagonal = np.einsum("gii->gi", factor)
    return np.ascontiguousarray((factor / diagonal[:, None, :]).swapaxes(1, 2))


def gptq(problem: Problem, feedback: Doubles, scale: Doubles, zero: Doubles) -> Doubles:
    """Codes, row after row (Frantar et al. 2022); scale and zero [G, K, O]. All outputs at once.

    Written as LDLQ, which is the same (Chee et al. 2023, QuIP, theorem 6): row i is rounded after the errors of the
    rows before it are fed back, target_i − Σ_{j<i} M_ji error_j. It takes one Cholesky factor and no inverse.
    """
    target, kind = problem.target, problem.format
    codes, error = np.empty_like(target), np.empty_like(target)
    rows = target.shape[1]
    for start in range(0, rows, _BLOCK):
        stop = min(start + _BLOCK, rows)
        wanted = target[:, start:stop] - feedback[:, start:stop, :start] @ error[:, :start]
        for i in range(start, stop):
            here = wanted[:, i - start]
            here -= (feedback[:, i, None, start:i] @ error[:, start:i])[:, 0]
            codes[:, i] = nearest_codes(here, scale[:, i], zero[:, i], kind)
            error[:, i] = (codes[:, i] - zero[:, i]) * scale[:, i] - target[:, i]
    return codes


def descend(problem: Problem, codes: Doubles, scale: Doubles, zero: Doubles, passes: int) -> Doubles:
    """`codes` after at most `passes` rounds in which every code takes its best value, the others held.

    The error never grows; ends where nothing changes.
    """
    h, kind, codes = problem.h, problem.format, codes.copy()
    error = (codes - zero) * scale - problem.target
    diagonal = np.einsum("gii->gi", h)
    rows = codes.shape[1]
    for _ in range(passes):
        changed = False
        for start in range(0, rows, _BLOCK):
            stop = min(start + _BLOCK, rows)
            pull = h[:, start:stop] @ error
            step = np.zeros_like(pull)
            for i in range(start, stop):
                slope = pull[:, i - start] + (h[:, i, None, start:i] @ step[:, : i - start])[:, 0]
                wanted = (codes[:, i] - zero[:, i]) * scale[:, i] - slope / diagonal[:, i, None]
                better = nearest_codes(wanted, scale[:, i], zero[:, i], kind)
                step[:, i - start] = (better - codes[:, i]) * scale[:, i]
                codes[:, i] = better
            error[:, start:stop] += step
            changed = changed or bool(step.any())
        if not changed:
            break
    return codes
