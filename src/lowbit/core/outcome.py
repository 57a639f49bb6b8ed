"""How a job ends: always one of three, never a gap."""

from dataclasses import dataclass, field
from typing import Literal

from lowbit.core.adapter import OpPrecision


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What an accuracy pass counted on `n_samples` images; shares are fractions, `kl` is in nats.

    `correct` counts top-1 hits; `b` and `c` are McNemar's discordant pairs: float right, this wrong; and the reverse.
    `precision` lists what was executed. `load_s`: opening the file; `import_s`: importing the runtime.
    """

    n_samples: int
    correct: int
    correct_top5: int | None
    agreement: float
    kl: float | None
    b: int
    c: int
    p_value: float
    precision: tuple[OpPrecision, ...]
    import_s: float
    load_s: float


@dataclass(frozen=True, slots=True)
class Timing:
    """One round under LoadGen. Latencies are per query, in ms; `verdict` is LoadGen's own word.

    peak_memory_bytes: peak resident memory above the level after the runtime's warm-up, one sample resident.
    load_before, load_after: share of all cores busy with other work; disturbed: too much of it.
    """

    latency_p50_ms: float
    latency_p90_ms: float
    latency_p99_ms: float
    samples_per_s: float
    queries: int
    loadgen_valid: bool
    verdict: str
    peak_memory_bytes: int
    load_s: float
    import_s: float
    load_before: float
    load_after: float
    disturbed: bool


@dataclass(frozen=True, slots=True)
class Unsupported:
    """The vendor cannot do it: `reason` in its own words, `remedy` what the user may do."""

    reason: str
    remedy: str = ""
    log: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """It should have worked: `reason`, and the log that tells more."""

    reason: str
    log: str | None = None


Status = Literal["measured", "unsupported", "failed"]


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a child process leaves behind: a status, a reason when it is not `measured`, and the job's own data."""

    status: Status
    reason: str = ""
    remedy: str = ""
    log: str | None = None
    data: dict[str, object] = field(default_factory=dict)
