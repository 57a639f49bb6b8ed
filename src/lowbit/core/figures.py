"""What a row costs and what it loses: the figures by which versions are chosen, ordered and drawn."""

from typing import Literal

from lowbit.core.row import Row

Optimize = Literal["latency", "size", "memory"]
_ROUNDING = 1e-9  # points: 0.9 - 0.89 is a little more than 1 point in floating point


def rate(row: Row) -> float | None:
    """Queries a second at the median latency, or samples a second offline; None when it was not timed."""
    if row.scenario == "offline":
        return row.samples_per_s
    return None if row.latency_p50_ms is None else 1e3 / row.latency_p50_ms


def cost(row: Row, optimize: Optimize) -> float:
    """What `optimize` makes small: seconds a query (offline: a sample), bytes on disk, bytes of peak memory."""
    if optimize == "latency":
        per_second = rate(row)
        return 1 / per_second if per_second else float("inf")
    value = row.size_bytes if optimize == "size" else row.peak_memory_bytes
    return float("inf") if value is None else float(value)


def drop_points(row: Row, float_top1: float | None) -> float | None:
    """Points of top-1 lost against float (negative: gained).

    float_top1 is a fraction; where it is None, accuracy means nothing (random weights) and the points of agreement with
    float that are lost stand in. None when the row was not evaluated.
    """
    if float_top1 is None:
        return None if row.agreement is None else 100 * (1 - row.agreement)
    return None if row.top1 is None else 100 * (float_top1 - row.top1)


def agrees(row: Row, min_agreement: float) -> bool:
    """Whether the row answers as float does on at least `min_agreement` percent of the images."""
    return row.agreement is not None and 100 * row.agreement >= min_agreement - _ROUNDING


def meets(row: Row, float_top1: float | None, max_drop: float) -> bool:
    """Whether the row was measured, in a runtime its file was made for, and loses at most `max_drop` points."""
    drop = drop_points(row, float_top1)
    return row.status == "measured" and row.intended and drop is not None and drop <= max_drop + _ROUNDING
