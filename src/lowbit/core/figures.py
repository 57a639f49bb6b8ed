"""The cost and the loss of a row: the numbers by which versions of a model are chosen, sorted and drawn."""

from typing import Literal

from lowbit.core.row import Row
from lowbit.core.settings import MEASURES_RATE

Optimize = Literal["latency", "size", "memory"]
_ROUNDING = 1e-9  # percentage points: in floating point, 0.9 - 0.89 is a little more than 1 point


def rate(row: Row) -> float | None:
    """Queries per second at the median latency; None when the row was not timed.

    Offline and in the server scenario it is the measured rate, in samples per second.
    """
    if row.scenario in MEASURES_RATE:
        return row.samples_per_s
    return None if row.latency_p50_ms is None else 1e3 / row.latency_p50_ms


def cost(row: Row, optimize: Optimize) -> float:
    """What `optimize` minimizes: seconds, bytes on disk, or bytes of peak memory.

    Seconds are per query, or per sample where the scenario measures a rate.
    """
    if optimize == "latency":
        per_second = rate(row)
        return 1 / per_second if per_second else float("inf")
    value = row.size_bytes if optimize == "size" else row.peak_memory_bytes
    return float("inf") if value is None else float(value)


def drop_points(row: Row, float_top1: float | None) -> float | None:
    """Percentage points of top-1 accuracy that the row loses against the float model; negative where it gains.

    float_top1 is a fraction. It is None for a model with random weights, whose accuracy means nothing: then the points
    of agreement with the float model that are missing to 100 are returned instead. None when the row was not evaluated.
    """
    if float_top1 is None:
        return None if row.agreement is None else 100 * (1 - row.agreement)
    return None if row.top1 is None else 100 * (float_top1 - row.top1)


def agrees(row: Row, min_agreement: float) -> bool:
    """Whether the row predicts the float model's class on at least `min_agreement` percent of the images."""
    return row.agreement is not None and 100 * row.agreement >= min_agreement - _ROUNDING


def meets(row: Row, float_top1: float | None, max_drop: float) -> bool:
    """Whether the row was measured in a runtime that its file was made for, and loses at most `max_drop` points."""
    drop = drop_points(row, float_top1)
    return row.status == "measured" and row.intended and drop is not None and drop <= max_drop + _ROUNDING
