"""How cells are measured. These settings are recorded with every timing."""

from dataclasses import dataclass
from typing import Literal

Scenario = Literal["single-stream", "multi-stream", "offline", "server"]
Round = Literal["v6.1", "v2.1"]
Among = Literal["model", "data"]

MEASURES_RATE: tuple[Scenario, ...] = ("offline", "server")  # scenarios whose result is a rate, not a latency
MULTI_STREAM_SAMPLES = 8  # samples per query, as MLPerf defines the scenario


@dataclass(frozen=True, slots=True)
class Settings:
    """How cells are measured.

    - scenario: MLPerf LoadGen's scenario
    - threads: of one session
    - batch_size: largest number of images in one call of `predict`
    - isa: the instruction set that a runtime is limited to; None: whatever the processor has
    - min_duration_s: shortest duration of a timed run
    - max_duration_s: longest duration of a timed run, even if it has too few queries then; None: no limit
    - rounds: how many rounds of timing; 0: nothing is timed
    - official: whether the durations and query counts of the round `rules` are used
    - rules: the round of MLPerf Inference whose rules results are held against
    - target_latency_ms: in the server scenario, what 99 % of the latencies must stay within
    - target_qps: in the server scenario, queries per second; None: LoadGen searches for the highest valid rate
    - seed: of every random order
    """

    scenario: Scenario = "single-stream"
    threads: int = 1
    batch_size: int = 1
    isa: str | None = None
    min_duration_s: float = 2.0
    max_duration_s: float | None = None
    rounds: int = 3
    official: bool = False
    rules: Round = "v6.1"
    target_latency_ms: float = 15.0
    target_qps: float | None = None
    seed: int = 0
