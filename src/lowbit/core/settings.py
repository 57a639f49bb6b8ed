"""How cells are measured. These settings are recorded with every timing."""

from dataclasses import dataclass
from typing import Literal

Scenario = Literal["single-stream", "multi-stream", "offline"]
Among = Literal["model", "data"]

MULTI_STREAM_SAMPLES = 8  # samples per query, as MLPerf defines the scenario


@dataclass(frozen=True, slots=True)
class Settings:
    """How cells are measured.

    - scenario: MLPerf LoadGen's scenario
    - threads: of one session
    - batch_size: largest number of images in one call of `predict`
    - min_duration_s: shortest duration of a timed run
    - rounds: how many rounds of timing; 0: nothing is timed
    - official: whether MLPerf's own durations and query counts are used
    - seed: of every random order
    """

    scenario: Scenario = "single-stream"
    threads: int = 1
    batch_size: int = 1
    min_duration_s: float = 2.0
    rounds: int = 3
    official: bool = False
    seed: int = 0
