"""Which rounds of MLPerf a run meets, and what it lacks."""

from typing import Any

import pytest

from lowbit.core.settings import Round, Scenario
from lowbit.measure.rules import Shortfall, shortfalls

GOOD: dict[str, Any] = {"duration_s": 601.0, "queries": 300_000, "samples": 2_400_000, "valid": True}


def lacks(name: Round, scenario: Scenario, **changed: Any) -> list[Shortfall]:
    target = 15.0 if scenario == "server" else None
    return list(shortfalls(name, scenario, **{"target_latency_ms": target, **GOOD, **changed}))


@pytest.mark.parametrize("scenario", ["single-stream", "multi-stream", "offline", "server"])
def test_a_long_valid_run_meets_the_rules(scenario: Scenario) -> None:
    assert lacks("v6.1", scenario) == []
    assert [each.demand for each in lacks("v2.1", scenario)] == (["scenario"] if scenario == "server" else [])


def test_what_is_missing_is_told_with_both_figures() -> None:
    assert lacks("v6.1", "single-stream", duration_s=60.0) == [Shortfall("duration", 60.0, 600.0)]
    assert lacks("v2.1", "single-stream", duration_s=60.0) == []
    assert lacks("v2.1", "single-stream", queries=1023) == [Shortfall("queries", 1023, 1024)]
    assert lacks("v2.1", "multi-stream", queries=662) == [Shortfall("queries", 662, 270_336)]
    assert lacks("v6.1", "multi-stream", queries=662) == []
    assert lacks("v6.1", "offline", samples=24_575) == [Shortfall("samples", 24_575, 24_576)]
    assert lacks("v6.1", "server", target_latency_ms=20.0) == [Shortfall("latency", 20.0, 15.0)]
    assert lacks("v6.1", "server", target_latency_ms=10.0) == []
    assert lacks("v6.1", "offline", valid=False) == [Shortfall("valid")]
