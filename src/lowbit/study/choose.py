"""Which row to ship: the best of those that lose little enough and answer as float does, ties named as ties."""

from collections.abc import Mapping, Sequence

from lowbit.core.figures import Optimize, agrees, cost, meets
from lowbit.core.row import Row
from lowbit.core.study import Choice


def choose(
    rows: Sequence[Row],
    float_top1: float | None,
    *,
    optimize: Optimize,
    max_drop: float,
    min_agreement: float = 0.0,
    noise: Mapping[str, float] | None = None,
) -> Choice:
    """The measured, intended row that is best in `optimize` among those within `max_drop` points of float.

    Rows that agree with float on less than `min_agreement` percent of the images are chosen from only where no other
    row is left. float_top1 is a fraction; None where accuracy means nothing (random weights): agreement with float
    stands in then. noise: row name → spread of its rounds, as a share of their median; a lead in latency inside it is
    a tie.
    """
    noise = noise or {}
    close = [i for i, row in enumerate(rows) if meets(row, float_top1, max_drop)]
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
