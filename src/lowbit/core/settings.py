"""How things are measured: the settings that stand beside every timing."""

from dataclasses import dataclass
from typing import Literal

Scenario = Literal["single-stream", "multi-stream", "offline"]
Among = Literal["model", "data"]

MULTI_STREAM_SAMPLES = 8  # samples a query, MLPerf's own


@dataclass(frozen=True, slots=True)
class Settings:
    """scenario: MLPerf LoadGen's; threads of one session; batch_size of a `predict` call; rounds of timing, 0 for none.

    min_duration_s: shortest timed run; official: MLPerf's own durations and query counts; seed orders everything.
    """

    scenario: Scenario = "single-stream"
    threads: int = 1
    batch_size: int = 1
    min_duration_s: float = 2.0
    rounds: int = 3
    official: bool = False
    seed: int = 0
