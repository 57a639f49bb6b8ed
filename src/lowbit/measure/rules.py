"""The rules of MLPerf's rounds for image classification at the edge, and what a measurement lacks to meet them."""

from dataclasses import dataclass

from lowbit.core.settings import Round, Scenario


@dataclass(frozen=True, slots=True)
class Rules:
    """What a round demands of one scenario.

    - min_duration_s: shortest run
    - percentile: of latency, that the round reports and LoadGen's early stopping estimates; None offline
    - min_queries: fewest queries
    - min_samples: fewest samples in all queries together
    - target_latency_ms: what the percentile must stay within; None: nothing
    """

    min_duration_s: float
    percentile: int | None
    min_queries: int = 1
    min_samples: int = 1
    target_latency_ms: float | None = None


ROUNDS: dict[Round, dict[Scenario, Rules]] = {
    # MLPerf Inference v6.1, ResNet-50. Early stopping needs 64 queries for a 90th percentile and 662 for a 99th.
    "v6.1": {
        "single-stream": Rules(600.0, 90, min_queries=64),
        "multi-stream": Rules(600.0, 99, min_queries=662),
        "offline": Rules(600.0, None, min_samples=24_576),
        "server": Rules(600.0, 99, min_queries=662, target_latency_ms=15.0),
    },
    # MLPerf Inference v2.1, edge category, which has no server scenario.
    "v2.1": {
        "single-stream": Rules(60.0, 90, min_queries=1024),
        "multi-stream": Rules(600.0, 99, min_queries=270_336),
        "offline": Rules(60.0, None, min_samples=24_576),
    },
}

# Without a round's rules: the fewest queries for which LoadGen calls a run VALID.
SHORT: dict[Scenario, Rules] = {
    "single-stream": Rules(0.0, 90, min_queries=64),
    "multi-stream": Rules(0.0, 99, min_queries=662),
    "offline": Rules(0.0, None),
    "server": Rules(0.0, 99, min_queries=662),
}


@dataclass(frozen=True, slots=True)
class Shortfall:
    """One demand that a measurement does not meet.

    - demand: what is demanded: "duration", "queries", "samples", "latency", "valid" (by LoadGen) or "scenario"
    - measured, demanded: in seconds, counts or milliseconds; None where there is no number
    """

    demand: str
    measured: float | None = None
    demanded: float | None = None


def shortfalls(
    name: Round,
    scenario: Scenario,
    *,
    duration_s: float,
    queries: int,
    samples: int,
    target_latency_ms: float | None,
    valid: bool,
) -> tuple[Shortfall, ...]:
    """What a run lacks to meet the rules of the round `name`; empty where it meets them.

    - duration_s, queries, samples: of the run
    - target_latency_ms: what LoadGen held the run's latencies against; None: nothing
    - valid: whether LoadGen calls the run valid
    """
    rules = ROUNDS[name].get(scenario)
    if rules is None:
        return (Shortfall("scenario"),)
    lacks = [] if valid else [Shortfall("valid")]
    for demand, measured, demanded in (
        ("duration", duration_s, rules.min_duration_s),
        ("queries", queries, rules.min_queries),
        ("samples", samples, rules.min_samples),
    ):
        if measured < demanded:
            lacks.append(Shortfall(demand, measured, demanded))
    allowed = rules.target_latency_ms
    if allowed is not None and (target_latency_ms is None or target_latency_ms > allowed):
        lacks.append(Shortfall("latency", target_latency_ms, allowed))
    return tuple(lacks)
