"""Chooses the row to ship: the best of those that lose little enough accuracy and agree with the float model."""

from collections.abc import Mapping, Sequence

from lowbit.core.figures import Optimize, agrees, cost, meets
from lowbit.core.row import Row
from lowbit.core.settings import Settings
from lowbit.core.study import Choice
from lowbit.core.sweep import group


def choose(
    rows: Sequence[Row],
    float_top1: float | None,
    *,
    optimize: Optimize,
    max_drop: float,
    min_agreement: float = 0.0,
    noise: Mapping[str, float] | None = None,
    settings: Settings | None = None,
) -> Choice:
    """The measured, intended row that is best in `optimize` among those within `max_drop` points of the float model.

    - float_top1: the float model's accuracy as a fraction; None for random weights, where agreement is used instead
    - min_agreement: percent of images on which a row must predict the float model's class. It is ignored where no row
      within `max_drop` does so.
    - noise: name of a row → spread of its rounds as a share of their median. A lead in latency that is no larger is a
      tie.
    - settings: only rows of these settings are looked at; None: all rows
    """
    noise = noise or {}
    close = [
        i
        for i, row in enumerate(rows)
        if meets(row, float_top1, max_drop) and (settings is None or group(row) == group(settings))
    ]
    if not close:
        return Choice(None, optimize, max_drop, min_agreement)
    eligible = [i for i in close if agrees(rows[i], min_agreement)] or close
    best = min(eligible, key=lambda i: (cost(rows[i], optimize), -(rows[i].top1 or 0.0), rows[i].name))
    winner = rows[best]
    tied = tuple(rows[i].name for i in eligible if i != best and _tie(winner, rows[i], optimize, noise))
    return Choice(best, optimize, max_drop, min_agreement, tied)


def _tie(winner: Row, other: Row, optimize: Optimize, noise: Mapping[str, float]) -> bool:
    best = cost(winner, optimize)
    share = max(noise.get(winner.name, 0.0), noise.get(other.name, 0.0)) if optimize == "latency" else 0.0
    return cost(other, optimize) - best <= share * best
