"""Verification: compares what a runtime computes with the integer-only reference. Functions over arrays and callables.

Layers are compared one by one, on equal input codes, because later layers amplify a difference of one code. The scores
of the whole file then show how much of the differences reaches the user.
"""

from collections.abc import Mapping, Sequence
from math import floor
from typing import Any

import numpy as np
import numpy.typing as npt

from lowbit.core.adapter import Floats, RunCodes
from lowbit.core.errors import BadInput, MeasurementError
from lowbit.core.verified import LayerCheck, ScoresCheck, Verified

Array = npt.NDArray[Any]

_AGREES = 0.999
_FLOOR = 0.99  # smallest share of a layer's codes that must be equal
_FEW_CODES = 2  # codes of a layer that may always differ by one step, for ties in rounding
_LARGEST_ERROR = 0.1  # share of the scores' standard deviation, end to end; rounding differences add up to far less
_INT32_MAX = np.iinfo(np.int32).max
_STEPS = 255  # steps in the range of a float result: the resolution of 8 bits


def check_layer(
    node: str, op_type: str, codes: Sequence[Array], references: Mapping[str, RunCodes], runtime: RunCodes
) -> LayerCheck:
    """Run one part of a model on `codes` (one array [N, …] per input) in `runtime`, and compare with the `references`.

    - references: way to requantize → the part computed that way

    Kernels differ in how they requantize, and each way is a complete specification. Where the first reference agrees on
    fewer than 99.9 % of the codes, the others are tried too, and the best one is returned. Raises MeasurementError
    where shapes differ.
    """
    found, checks = runtime(codes), []
    for way, reference in references.items():
        checks.append(_compared(node, op_type, reference(codes), found, way))
        if checks[-1].equal >= _AGREES:
            break
    return max(checks, key=lambda check: check.equal)


def _compared(node: str, op_type: str, expected: Array, found: Array, way: str) -> LayerCheck:
    _same_shape(node, expected, found)
    if expected.dtype.kind == "f":
        step = step_of(expected)
        expected, found = np.rint(expected / step), np.rint(np.nan_to_num(found, nan=np.inf) / step)
    apart = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    equal = float((apart == 0).mean()) if apart.size else 1.0
    return LayerCheck(node, op_type, apart.size, equal, int(min(apart.max(initial=0), _INT32_MAX)), way)


def check_scores(expected: Floats, found: Floats, step: float | None = None) -> ScoresCheck:
    """Compare the scores [N, outputs] of the whole file.

    - step: scale of the quantizer at the output; None where the output is float
    """
    _same_shape("the whole file", expected, found)
    if not expected.size:
        raise BadInput("verification got no images: give one or more")
    step = step_of(expected) if step is None else step
    apart = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    apart[~np.isfinite(apart)] = np.finfo(np.float32).max  # NaN and infinity count as a difference
    return ScoresCheck(
        images=len(expected),
        scores=expected.size,
        step=step,
        within_half_step=float((apart < step / 2).mean()),
        same_top1=float((found.argmax(axis=1) == expected.argmax(axis=1)).mean()) if expected.shape[1] > 1 else None,
        largest=float(apart.max()),
        error=float(np.sqrt(np.mean(apart**2)) / (float(expected.std(dtype=np.float64)) or 1.0)),
    )


def shortfall(found: Verified) -> str | None:
    """A sentence that says how a file differs too much from the reference; None where it does not.

    A layer differs too much when fewer than 99 % of its codes are equal (two more codes may differ), or when a code
    differs by more than one step. The whole file does when the root mean squared difference of its scores exceeds a
    tenth of the standard deviation of the reference's scores.
    """
    for layer in found.layers:
        unequal = round((1 - layer.equal) * layer.codes)
        if layer.largest > 1 or unequal > (1 - _FLOOR) * layer.codes + _FEW_CODES:
            return (
                f"{layer.op_type} {layer.node}: {floor(layer.equal * 10_000) / 100:g} % of its codes equal the integer "
                f"reference's, the rest off by up to {layer.largest}; expected {_FLOOR:.0%}, off by at most 1"
            )
    if found.scores.error > _LARGEST_ERROR:
        return (
            f"its scores differ from the integer reference's by {found.scores.error:.2g} of their spread, at most "
            f"{_LARGEST_ERROR:g} was expected"
        )
    return None


def step_of(values: Array) -> float:
    """1/255 of the range of float `values`; 1 where they are constant."""
    return float(np.ptp(values)) / _STEPS or 1.0


def _same_shape(what: str, expected: Array, found: Array) -> None:
    if expected.shape != found.shape:
        raise MeasurementError(
            f"{what}: the runtime gives {list(found.shape)}, the reference {list(expected.shape)}: nothing to compare"
        )
