"""What jobs measure, and the three ways a cell can end: there is never a gap."""

from dataclasses import dataclass
from typing import Literal

from lowbit.core.adapter import OpPrecision


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What an accuracy pass counted on `n_samples` images; shares are fractions, `kl` is in nats.

    `correct` counts top-1 hits; `b` and `c` are McNemar's discordant pairs: float right, this wrong; and the reverse.
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
    """What a session opened as it is timed executes: every operator, with the float graph's multiply–accumulates."""

    operators: tuple[OpPrecision, ...]


@dataclass(frozen=True, slots=True)
class Timing:
    """One round under LoadGen. Latencies are per query, in ms (None offline); `verdict` is LoadGen's own word.

    peak_memory_bytes: peak resident memory above the level after the runtime's warm-up, one sample resident.
    load_s: opening the file; import_s: importing the runtime. load_before, load_during, load_after: cores, of those
    that the process may use, kept busy by other work; disturbed: it was in the way (`measure.load.disturbed`).
    """

    latency_p50_ms: float | None
    latency_p90_ms: float | None
    latency_p99_ms: float | None
    samples_per_s: float
    queries: int
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
