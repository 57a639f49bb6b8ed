"""What jobs measure, and the three states of a cell: measured, unsupported or failed."""

from dataclasses import dataclass
from typing import Literal

from lowbit.core.adapter import OpPrecision


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What one accuracy pass counted.

    - n_samples: number of evaluated images; fewer than the study has where the pass ended early
    - correct, correct_top5: top-1 and top-5 hits; top-5 is None where a prediction is one of five answers or fewer
    - agreement: fraction of images on which the prediction equals the float model's
    - kl: mean Kullback–Leibler divergence from the float model's scores, in nats; None for the float model's own pass
    - b: images that the float model gets right and this one wrong (McNemar's discordant pairs)
    - c: images that this one gets right and the float model wrong
    - p_value: of McNemar's exact test against the float model
    """

    n_samples: int
    correct: int
    correct_top5: int | None
    agreement: float
    kl: float | None
    b: int
    c: int
    p_value: float


@dataclass(frozen=True, slots=True)
class Executed:
    """The operators that a session executes when it is opened as it is for timing, with the float graph's MACs."""

    operators: tuple[OpPrecision, ...]


@dataclass(frozen=True, slots=True)
class Timing:
    """One round of timing under LoadGen. Latencies are per query, in milliseconds; None in the offline scenario.

    - latency_p999_ms: 99.9th percentile
    - early_stopping_ms: LoadGen's estimate of the percentile that the scenario reports, which holds with a
      confidence of 99 %; None offline and in the server scenario
    - samples_per_s: throughput; by LoadGen where the scenario measures a rate, otherwise from the median latency
    - target_qps: arrivals per second in the server scenario; None in others
    - queries, samples: how many LoadGen sent
    - duration_s: how long it sent them
    - loadgen_valid, verdict: whether LoadGen calls the run valid, and its own words
    - peak_memory_bytes: peak resident memory above the level after the runtime's warm-up, with one sample in memory
    - load_s: seconds to open the file
    - import_s: seconds to import the runtime
    - load_before, load_during, load_after: how many of the cores that the process may use other work kept busy
    - disturbed: whether that other work was large enough to distort the timing (`measure.load.disturbed`)
    """

    latency_p50_ms: float | None
    latency_p90_ms: float | None
    latency_p99_ms: float | None
    latency_p999_ms: float | None
    early_stopping_ms: float | None
    samples_per_s: float
    target_qps: float | None
    queries: int
    samples: int
    duration_s: float
    loadgen_valid: bool
    verdict: str
    peak_memory_bytes: int
    load_s: float
    import_s: float
    load_before: float
    load_during: float
    load_after: float
    disturbed: bool


Status = Literal["measured", "unsupported", "failed"]
