"""Profiles: what a runtime's own profiler timed, and what is made of it with the float graph beside it."""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from lowbit.core.adapter import Floats, OpPrecision
from lowbit.core.model import LayerMacs


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor that an operator writes: the runtime's name of it, and its size."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class TimedOperator:
    """One executed operator as a runtime's own profiler timed it.

    - operator: its names, types and precision, with the multiply–accumulates that the runtime's shapes give
    - kernel: the runtime's name of the code that ran; its type where the runtime has no other word
    - calls: how often it ran in one run of the network
    - times_us: microseconds of all its calls in each run; a figure that follows from others may be below 0
    - reads, writes: the tensors that it reads (no weights) and writes, where the runtime tells
    - converts: whether all it does is to quantize, dequantize or requantize
    """

    operator: OpPrecision
    kernel: str
    calls: int
    times_us: tuple[float, ...]
    reads: tuple[str, ...] = ()
    writes: tuple[Tensor, ...] = ()
    converts: bool = False


@dataclass(frozen=True, slots=True)
class TimedRuns:
    """What a session's `profile` returns.

    - profiler: where the times come from, for the reader
    - operators: in the order in which they ran
    - runs: how many runs were timed
    - resolution_us: the step of the profiler's clock: a call's time may be short by as much
    - run_us: median time of one whole run with the profiler switched on
    - taken_off_us: the profiler's own work within the operators of one run, measured apart and taken off their times
    - besides_us: median time of what a run needs besides its operators, as far as it was measured: a call to a network
      that does hardly anything, or the conversion of pictures and scores
    - notes: sentences about what this profile does not tell
    """

    profiler: str
    operators: tuple[TimedOperator, ...]
    runs: int
    resolution_us: float
    run_us: float
    taken_off_us: float = 0.0
    besides_us: float = 0.0
    notes: tuple[str, ...] = ()


Work = Literal["integer product", "float product", "conversion", "other"]
"""What an operator does: multiplies and accumulates integers or floats, only quantizes and dequantizes, or else."""


@dataclass(frozen=True, slots=True)
class PartOfTime:
    """One operator of a profile, as a plot shows it: the layers that it computes, its time in a run, and its work."""

    name: str
    us: float
    work: Work


@dataclass(frozen=True, slots=True)
class TimeSpent:
    """A profile as a plot shows it.

    - parts: in the order in which they ran
    - macs: multiply–accumulates of one run
    - batch_size: images of a run
    - threads: of the session
    - latency_us: median time of one run without any profiler
    - disturbed: whether other work on the machine disturbed the measurement
    """

    parts: tuple[PartOfTime, ...]
    macs: int
    batch_size: int
    threads: int
    latency_us: float
    disturbed: bool

    @property
    def macs_per_s(self) -> float:
        """Multiply–accumulates a second, over the whole latency."""
        return self.macs / self.latency_us * 1e6


@runtime_checkable
class ProfilingSession(Protocol):
    """The additional interface of a session (`core.adapter.Session`) whose runtime can time its own operators."""

    def profile(self, images: Floats, runs: int) -> TimedRuns:
        """Time every operator over at least `runs` runs on `images` [N, C, H, W], after some that are not timed.

        N is the batch size of the session's options, or the file's. A second session may be opened for it, with the
        same options and the runtime's own profiler switched on: what is profiled must be what is timed elsewhere.
        Raises UnsupportedError, with the reason, where the runtime's profiler cannot be used.
        """
        ...


@dataclass(frozen=True, slots=True)
class ProfiledOperator:
    """One executed operator, with the layers of the float graph that it computes.

    - operator: its names, types and precision. The multiply–accumulates of all operators of a profile are those of the
      float graph, where one is known.
    - kernel: the runtime's name of the code that ran
    - calls: how often it ran in one run of the network
    - median_us: median time of one call, in microseconds
    - share: of the time of all operators
    - bytes_written: size of what it writes in one call; None where the runtime does not tell
    - bytes_alive: size of all intermediate results that exist while it runs, those that it reads and writes included;
      None where the runtime does not tell
    - converts: whether all it does is to quantize, dequantize or requantize
    - layers: names of the float graph's nodes that it computes; empty where nothing tells
    """

    operator: OpPrecision
    kernel: str
    calls: int
    median_us: float
    share: float
    bytes_written: int | None
    bytes_alive: int | None
    converts: bool
    layers: tuple[str, ...]

    @property
    def run_us(self) -> float:
        """Its time in one run of the network."""
        return self.median_us * self.calls


@dataclass(frozen=True, slots=True)
class Profile:
    """Where the time and the memory of one artifact in one runtime go.

    - artifact: name of the file
    - runtime, version: what ran it
    - profiler: where the operators' times come from, for the reader
    - threads, batch_size: of the session; all figures are for one batch
    - runs: how many runs were timed with the profiler
    - resolution_us: the step of the profiler's clock
    - run_us: median time of one whole run with the profiler switched on
    - taken_off_us: the profiler's own work within the operators of one run, measured apart and taken off their times
    - besides_us: median time of what a run needs besides its operators, as far as it was measured: a call to a network
      that does hardly anything, or the conversion of pictures and scores
    - operators: in the order in which they ran
    - total_us: sum of the operators' times in one run
    - latency_us: median time of one run without any profiler, in the same process, before and after the profiled runs
    - latency_runs: of how many runs it is the median; those that had to wait for a core are left out where enough did
      not
    - waits_us: where nearly all had to, the median of those waits, which `latency_us` is without; 0 otherwise
    - disturbed: whether other work on the machine disturbed the measurement
    - convert_us: time of the operators that only quantize, dequantize or requantize
    - peak_bytes: largest `bytes_alive` of any operator; None where the runtime tells no sizes
    - int8_share: share of multiply–accumulates whose kernel took both operands as integers
    - layers: the float graph's layers that multiply, in its order; empty where no float graph is known
    - missing: those of them that no listed operator computes
    - notes: what a reader of the profile must know
    """

    artifact: str
    runtime: str
    version: str
    profiler: str
    threads: int
    batch_size: int
    runs: int
    resolution_us: float
    run_us: float
    taken_off_us: float
    besides_us: float
    operators: tuple[ProfiledOperator, ...]
    total_us: float
    latency_us: float
    latency_runs: int
    waits_us: float
    disturbed: bool
    convert_us: float
    peak_bytes: int | None
    int8_share: float | None
    layers: tuple[LayerMacs, ...] = ()
    missing: tuple[LayerMacs, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def convert_share(self) -> float:
        """Share of `convert_us` in the time of all operators."""
        return self.convert_us / self.total_us if self.total_us else 0.0

    @property
    def differs(self) -> float:
        """How much the operators, with what was measured besides them, differ from the latency, as a share of it."""
        return (self.total_us + self.besides_us) / self.latency_us - 1

    @property
    def time_spent(self) -> TimeSpent:
        """What a plot needs of it."""
        parts = tuple(
            PartOfTime(", ".join(each.layers) or each.operator.op_type, each.run_us, _work(each))
            for each in self.operators
        )
        macs = self.batch_size * sum(each.operator.macs for each in self.operators)
        return TimeSpent(parts, macs, self.batch_size, self.threads, self.latency_us, self.disturbed)


def _work(operator: ProfiledOperator) -> Work:
    if operator.operator.macs:
        return "integer product" if operator.operator.integer else "float product"
    return "conversion" if operator.converts else "other"
