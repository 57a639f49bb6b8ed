"""A row: one cell of the study as a flat record. JSON, CSV, table and page are all made from rows."""

from dataclasses import dataclass, fields

from lowbit.core.outcome import Status
from lowbit.core.recipe import Claim
from lowbit.core.sweep import Swept, full_name
from lowbit.core.training import Training


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One cell of the study. Accuracies and shares are fractions; absent values are None; units are part of the names.

    - model, data: names of the float model and of the data
    - n_samples: number of evaluated images
    - toolchain, recipe, runtime: what made the file, and what ran it
    - weight_bits, activation_bits: see `Recipe`
    - claim: the kind of kernels that the recipe promises; None for a recipe that the toolchain does not have
    - series: name shared by recipes that differ only in the width of weights; empty: none
    - intended: whether the file is meant for this runtime
    - scenario: MLPerf LoadGen's scenario
    - status, reason: how the cell ended, and why where it was not measured
    - log: path, within the study, of what the failed job printed
    - top1, top5: accuracy
    - top1_low, top1_high: Wilson's 95 % interval of top1
    - agreement: share of images on which the prediction equals the float model's
    - kl: mean Kullback–Leibler divergence from the float model's scores, in nats
    - p_value: of McNemar's exact test against the float model
    - size_bytes: of all shipped files
    - latency_p50_ms, latency_p90_ms, latency_p99_ms, latency_p999_ms: latency per query (the last: 99.9th percentile),
      median over the rounds
    - early_stopping_ms: LoadGen's early-stopping estimate of the percentile that the scenario reports
    - latency_p50_low_ms, latency_p50_high_ms: smallest and largest median latency of a round
    - samples_per_s: throughput; by LoadGen where the scenario measures a rate, otherwise from the median latency
    - target_qps: arrivals per second in the server scenario
    - queries: how many queries LoadGen sent in one round
    - duration_s: how long one round took
    - speedup: rate relative to the fastest fp32 row of the same settings
    - disturbed: whether other work on the machine disturbed the timing
    - threads, batch_size: of the timed session
    - isa: the instruction set that the runtime was limited to; None: whatever the processor has
    - swept: the settings that differ between the rows of this study and tell them apart
    - loadgen_valid: whether LoadGen calls every round valid
    - official: whether the durations and query counts of a round of MLPerf were used
    - rules_met: rounds of MLPerf whose rules every timing round meets
    - rules_missing: what is missing to meet the rules of the round that the study names
    - peak_memory_bytes: peak resident memory above the runtime's own
    - load_s, import_s: seconds to open the file, and to import the runtime
    - build_s: seconds to make the file, without imports and calibration
    - calibration_s: seconds spent on calibration; None where the recipe needs none
    - training: how our own engine's training went; None where it did not train
    - int8_share: share of multiply-accumulates that ran as integers
    - host_id: the machine's digest
    - artifact: path of the main file within the study
    - notes: what a reader of the row must know
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
    latency_p999_ms: float | None = None
    early_stopping_ms: float | None = None
    samples_per_s: float | None = None
    target_qps: float | None = None
    queries: int | None = None
    duration_s: float | None = None
    speedup: float | None = None
    disturbed: bool = False
    threads: int
    batch_size: int
    isa: str | None = None
    swept: tuple[Swept, ...] = ()
    loadgen_valid: bool | None = None
    official: bool
    rules_met: tuple[str, ...] = ()
    rules_missing: tuple[str, ...] = ()
    peak_memory_bytes: int | None = None
    load_s: float | None = None
    import_s: float | None = None
    build_s: float | None = None
    calibration_s: float | None = None
    training: Training | None = None
    int8_share: float | None = None
    host_id: str
    artifact: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name that users see: toolchain/recipe@runtime, and what tells it apart in a sweep."""
        return full_name(self.plain_name, self, self.swept)

    @property
    def plain_name(self) -> str:
        """toolchain/recipe@runtime, which the rows of one sweep share."""
        return f"{self.toolchain}/{self.recipe}@{self.runtime}"

    @property
    def is_fp32(self) -> bool:
        """Whether it is a float32 version, the baseline for speed and size."""
        return self.claim == "float" and self.weight_bits == self.activation_bits == 32


COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(Row) if field.name != "training")
"""The fields that are one value each, or a list of words: what a table can hold."""
