"""Which row to ship: the best of those that lose little enough, ties named as ties."""

from collections.abc import Callable, Sequence

from lowbit.core.row import Row
from lowbit.core.study import Choice


def choose(rows: Sequence[Row], float_top1: float | None, *, optimize: str, max_drop: float) -> Choice:
    """The measured, intended row that is best in `optimize` among those within `max_drop` points of float.

    float_top1 is a fraction; None where accuracy means nothing (random weights): agreement with float stands in then.
    """
    eligible = [i for i, row in enumerate(rows) if _eligible(row, float_top1, max_drop)]
    if not eligible:
        return Choice(None, _nothing(rows, float_top1, max_drop), optimize, max_drop)
    cost = _COSTS[optimize]
    best = min(eligible, key=lambda i: (cost(rows[i]), -(rows[i].top1 or 0.0), rows[i].name))
    winner = rows[best]
    tied = tuple(rows[i].name for i in eligible if i != best and _tie(winner, rows[i], optimize))
    return Choice(best, _why(winner, float_top1, optimize, max_drop, len(eligible)), optimize, max_drop, tied)


def drop_points(row: Row, float_top1: float | None) -> float | None:
    """Points of top-1 lost against float (negative: gained); without accuracy, points of agreement lost."""
    if float_top1 is None:
        return None if row.agreement is None else 100 * (1 - row.agreement)
    return None if row.top1 is None else 100 * (float_top1 - row.top1)


def noise_ms(row: Row) -> float:
    """Spread of the rounds' medians; 0 when there was but one round."""
    if row.latency_p50_low_ms is None or row.latency_p50_high_ms is None:
        return 0.0
    return row.latency_p50_high_ms - row.latency_p50_low_ms


def _latency(row: Row) -> float:
    """Seconds a sample, in the scenario's own terms."""
    if row.scenario != "offline" and row.latency_p50_ms is not None:
        return row.latency_p50_ms
    return 1e3 / row.samples_per_s if row.samples_per_s else float("inf")


_COSTS: dict[str, Callable[[Row], float]] = {
    "latency": _latency,
    "size": lambda row: row.size_bytes or float("inf"),
    "memory": lambda row: float("inf") if row.peak_memory_bytes is None else row.peak_memory_bytes,
}


def _eligible(row: Row, float_top1: float | None, max_drop: float) -> bool:
    drop = drop_points(row, float_top1)
    return row.status == "measured" and row.intended and drop is not None and drop <= max_drop + 1e-9


def _tie(winner: Row, other: Row, optimize: str) -> bool:
    cost = _COSTS[optimize]
    lead = cost(other) - cost(winner)
    return lead <= (max(noise_ms(winner), noise_ms(other)) if optimize == "latency" else 0.0)


def _why(row: Row, float_top1: float | None, optimize: str, max_drop: float, eligible: int) -> str:
    drop = drop_points(row, float_top1)
    assert drop is not None
    words = {"latency": "fastest", "size": "smallest", "memory": "least memory"}[optimize]
    figures = [
        f"{row.latency_p50_ms:.3g} ms" if row.latency_p50_ms is not None else f"{row.samples_per_s:.0f} samples/s"
    ]
    if row.speedup is not None:
        figures.append(f"{row.speedup:.2f}× the best fp32")
    if row.size_bytes is not None:
        figures.append(f"{row.size_bytes / 1e6:.2f} MB")
    return (
        f"{row.name}: {words} of {eligible} that lose at most {_points(max_drop)} ({', '.join(figures)}); "
        f"{_against_float(drop, float_top1)}"
    )


def _against_float(drop: float, float_top1: float | None) -> str:
    if float_top1 is None:
        return f"it agrees with float on {100 - drop:.2f} % of the images"
    if round(drop, 2) == 0:
        return "it is as accurate as float"
    return f"it {'loses' if drop > 0 else 'gains'} {abs(drop):.2f} points against float"


def _points(count: float) -> str:
    return f"{count:g} point" if count == 1 else f"{count:g} points"


def _nothing(rows: Sequence[Row], float_top1: float | None, max_drop: float) -> str:
    drops = [(d, row.name) for row in rows if row.status == "measured" and row.intended
             and (d := drop_points(row, float_top1)) is not None]  # fmt: skip
    if not drops:
        return "no version was measured in a runtime it was made for"
    least, name = min(drops)
    return f"no version stays within {_points(max_drop)} of float; the closest is {name}, which loses {least:.2f}"
