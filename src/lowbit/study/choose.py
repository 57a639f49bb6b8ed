"""Which row to ship: the best of those that lose little enough, ties named as ties."""

from collections.abc import Mapping, Sequence

from lowbit.core.figures import Optimize, cost, drop_points, meets
from lowbit.core.row import Row
from lowbit.core.study import Choice


def choose(
    rows: Sequence[Row],
    float_top1: float | None,
    *,
    optimize: Optimize,
    max_drop: float,
    noise: Mapping[str, float] | None = None,
) -> Choice:
    """The measured, intended row that is best in `optimize` among those within `max_drop` points of float.

    float_top1 is a fraction; None where accuracy means nothing (random weights): agreement with float stands in then.
    noise: row name → spread of its rounds, as a share of their median; a lead in latency inside it is a tie.
    """
    noise = noise or {}
    eligible = [i for i, row in enumerate(rows) if meets(row, float_top1, max_drop)]
    if not eligible:
        return Choice(None, _nothing(rows, float_top1, max_drop), optimize, max_drop)
    best = min(eligible, key=lambda i: (cost(rows[i], optimize), -(rows[i].top1 or 0.0), rows[i].name))
    winner = rows[best]
    tied = tuple(rows[i].name for i in eligible if i != best and _tie(winner, rows[i], optimize, noise))
    return Choice(best, _why(winner, float_top1, optimize, max_drop, len(eligible)), optimize, max_drop, tied)


def _tie(winner: Row, other: Row, optimize: Optimize, noise: Mapping[str, float]) -> bool:
    best = cost(winner, optimize)
    share = max(noise.get(winner.name, 0.0), noise.get(other.name, 0.0)) if optimize == "latency" else 0.0
    return cost(other, optimize) - best <= share * best


def _why(row: Row, float_top1: float | None, optimize: str, max_drop: float, eligible: int) -> str:
    drop = drop_points(row, float_top1)
    assert drop is not None
    words = {"latency": "fastest", "size": "smallest", "memory": "least memory"}[optimize]
    figures = []
    if row.latency_p50_ms is not None:
        figures.append(f"{row.latency_p50_ms:.3g} ms")
    elif row.samples_per_s is not None:
        figures.append(f"{row.samples_per_s:.0f} samples/s")
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
