"""A row: one cell of the study, flat. JSON, CSV, table and page are made of rows and of nothing else."""

from dataclasses import dataclass, fields

from lowbit.core.outcome import Status
from lowbit.core.recipe import Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Accuracies and shares are fractions; absent values are None; units stand in the names.

    top1_low and top1_high: Wilson's 95 % interval; agreement and kl: against the float model; p_value: McNemar's exact
    test against it; latency: per query; latency_p50_low_ms and _high_ms: the rounds' smallest and largest median;
    speedup: over the best fp32 row; disturbed: timed beside other work; int8_share: by multiply-accumulates; artifact:
    path within the study; notes: what a reader of the row must know. claim: what the recipe says of its kernels, None
    for a recipe that the toolchain has not; series: of a sweep over widths, empty for a row of none (`core.recipe`).
    """

    model: str
    data: str
    n_samples: int
    toolchain: str
    recipe: str
    weight_bits: int | None
    activation_bits: int | None
    claim: Claim | None = None
    series: str = ""
    runtime: str
    intended: bool
    scenario: str
    status: Status
    reason: str | None = None
    log: str | None = None
    top1: float | None = None
    top1_low: float | None = None
    top1_high: float | None = None
    top5: float | None = None
    agreement: float | None = None
    kl: float | None = None
    p_value: float | None = None
    size_bytes: int | None = None
    latency_p50_ms: float | None = None
    latency_p50_low_ms: float | None = None
    latency_p50_high_ms: float | None = None
    latency_p90_ms: float | None = None
    latency_p99_ms: float | None = None
    samples_per_s: float | None = None
    speedup: float | None = None
    disturbed: bool = False
    threads: int
    batch_size: int
    loadgen_valid: bool | None = None
    official: bool
    peak_memory_bytes: int | None = None
    load_s: float | None = None
    import_s: float | None = None
    build_s: float | None = None
    calibration_s: float | None = None
    int8_share: float | None = None
    host_id: str
    artifact: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How a person calls the row: toolchain/recipe@runtime."""
        return f"{self.toolchain}/{self.recipe}@{self.runtime}"

    @property
    def is_fp32(self) -> bool:
        """Whether it is a float32 version, with which others are compared in speed and size."""
        return self.claim == "float" and self.weight_bits == self.activation_bits == 32


COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(Row))
