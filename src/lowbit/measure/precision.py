"""Executed precision: how much of the arithmetic really ran on integers."""

from collections.abc import Iterable

from lowbit.core.adapter import OpPrecision


def int8_share(operators: Iterable[OpPrecision]) -> float | None:
    """Share of multiply-accumulates whose kernel took both operands as integers; None where nothing multiplies."""
    counted = [(operator.macs, operator.integer) for operator in operators if operator.macs]
    total = sum(macs for macs, _ in counted)
    return sum(macs for macs, integer in counted if integer) / total if total else None
