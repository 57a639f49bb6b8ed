"""Profiles: a runtime's own times of its operators, set beside the latency without a profiler and the float graph.

The arithmetic knows no runtime: medians, shares, bytes that are alive, and the layers that each operator computes.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from lowbit.core.adapter import Floats, OpPrecision, Session
from lowbit.core.errors import UnsupportedError
from lowbit.core.model import LayerMacs
from lowbit.core.profile import Profile, ProfiledOperator, ProfilingSession, TimedOperator, TimedRuns
from lowbit.measure import load
from lowbit.measure.precision import bears, int8_share, matched

_WARM_UP = 5  # runs before anything is timed
_MICROSECONDS = 1e6
_HARDLY = 0.01  # share of a run's time that threads may wait for a core without disturbing it
_FEW = 10  # a median of fewer undisturbed runs says less than one of all runs


@dataclass(frozen=True, slots=True)
class FloatGraph:
    """What a profile needs to know of the float graph; empty where no float graph is known.

    - layers: those that multiply, in the graph's order
    - nodes: names of all its nodes, those of `layers` included
    - layer_of: an operator's name in the runtime → the node's name, where the file tells that they differ
    """

    layers: tuple[LayerMacs, ...] = ()
    nodes: tuple[str, ...] = ()
    layer_of: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under which a session was profiled: see the fields of `Profile` that bear these names."""

    artifact: str
    runtime: str
    version: str
    threads: int
    batch_size: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Without a profiler: see `latency_us`, `latency_runs` and `waits_us` of `Profile`."""

    us: float
    runs: int
    waits_us: float = 0.0


def profile(session: Session, images: Floats, runs: int, graph: FloatGraph, conditions: Conditions) -> Profile:
    """Time `session` on `images` [N, C, H, W]: half of the plain runs, then the profiled ones, then the other half.

    Raises UnsupportedError where the runtime offers no profile.
    """
    if not isinstance(session, ProfilingSession):
        raise UnsupportedError(f"the runtime {conditions.runtime} has no profiler that lowbit can use")
    for _ in range(_WARM_UP):
        session.predict(images)
    half = (runs + 1) // 2
    begun = load.now()
    waited_ns = load.all_waited_ns if conditions.threads == 1 else load.waited_ns  # several threads wait side by side
    plain = _plain(session, images, half, waited_ns)
    timed = session.profile(images, runs)
    session.predict(images)
    plain += _plain(session, images, half, waited_ns)
    disturbed = load.disturbed(begun, load.now(), conditions.threads)
    return made_of(timed, latency_of(plain), graph, conditions, disturbed=disturbed)


def _plain(session: Session, images: Floats, runs: int, waited_ns: Callable[[], int]) -> list[tuple[float, float]]:
    """Microseconds of each run without a profiler, and microseconds within it that a thread waited for a core."""
    found = []
    for _ in range(runs):
        waited, start = waited_ns(), time.perf_counter()
        session.predict(images)
        us = (time.perf_counter() - start) * _MICROSECONDS
        found.append((us, min(us, (waited_ns() - waited) / 1000)))
    return found


def latency_of(plain: Sequence[tuple[float, float]]) -> Latency:
    """The latency of runs (microseconds, and those of them that a thread waited for a core).

    It is the median of the runs that hardly waited. Where there are few of these, it is that of all runs, without the
    waits: on a busy machine a long run loses its core many times, and no operator's median contains that.
    """
    free = [us for us, waited in plain if waited <= _HARDLY * us]
    if len(free) >= min(_FEW, len(plain)):
        return Latency(median(free), len(free))
    return Latency(median(us - waited for us, waited in plain), len(plain), median(waited for _, waited in plain))


def made_of(
    timed: TimedRuns,
    latency: Latency,
    graph: FloatGraph,
    conditions: Conditions,
    *,
    disturbed: bool = False,
) -> Profile:
    """The profile of `timed`, beside the latency without a profiler."""
    listed = tuple(_renamed(each.operator, graph) for each in timed.operators)
    placed, computes, missing = _placed(listed, graph)
    medians = [max(0.0, median(each.times_us)) / each.calls for each in timed.operators]
    total = sum(each * operator.calls for each, operator in zip(medians, timed.operators, strict=True))
    alive = alive_bytes(timed.operators)
    operators = tuple(
        ProfiledOperator(
            operator=operator,
            kernel=each.kernel,
            calls=each.calls,
            median_us=median_us,
            share=median_us * each.calls / total if total else 0.0,
            bytes_written=sum(tensor.bytes for tensor in each.writes) if each.writes else None,
            bytes_alive=bytes_alive,
            converts=each.converts,
            layers=layers,
        )
        for each, operator, median_us, bytes_alive, layers in zip(
            timed.operators, placed, medians, alive, computes, strict=True
        )
    )
    return Profile(
        artifact=conditions.artifact,
        runtime=conditions.runtime,
        version=conditions.version,
        profiler=timed.profiler,
        threads=conditions.threads,
        batch_size=conditions.batch_size,
        runs=timed.runs,
        resolution_us=timed.resolution_us,
        run_us=timed.run_us,
        taken_off_us=timed.taken_off_us,
        besides_us=timed.besides_us,
        operators=operators,
        total_us=total,
        latency_us=latency.us,
        latency_runs=latency.runs,
        waits_us=latency.waits_us,
        disturbed=disturbed,
        convert_us=sum(each.run_us for each in operators if each.converts),
        peak_bytes=max((each for each in alive if each is not None), default=None),
        int8_share=int8_share(placed),
        layers=graph.layers,
        missing=missing,
        notes=timed.notes,
    )


def _renamed(operator: OpPrecision, graph: FloatGraph) -> OpPrecision:
    """An operator that multiplies, under its layer's name where the file tells it."""
    return replace(operator, name=graph.layer_of.get(operator.name, operator.name)) if operator.macs else operator


def _placed(
    listed: tuple[OpPrecision, ...], graph: FloatGraph
) -> tuple[tuple[OpPrecision, ...], list[tuple[str, ...]], tuple[LayerMacs, ...]]:
    """The operators with the float graph's multiply–accumulates, the nodes that each computes, and missing layers.

    A layer that a runtime has hidden in an operator that it says contains it is counted there. Beside the layers that
    multiply, an operator computes the nodes whose names the runtime gives.
    """
    if not graph.layers:
        return listed, [_named(operator, graph.nodes) for operator in listed], ()
    found = matched(listed, graph.layers)
    operators, computes = list(found.operators), [list(layers) for layers in found.layers]
    missing = []
    for layer in found.missing:
        holder = next((at for at, each in enumerate(operators) if layer.name in each.fused and not each.macs), None)
        holder = holder if holder is not None else _that_holds(operators, layer.name)
        if holder is None:
            missing.append(layer)
            continue
        operators[holder] = replace(operators[holder], macs=operators[holder].macs + layer.macs)
        computes[holder].append(layer.name)
    taken = {name for names in computes for name in names}
    for at, operator in enumerate(operators):
        computes[at] += [name for name in _named(operator, graph.nodes) if name not in taken]
    return tuple(operators), [tuple(names) for names in computes], tuple(missing)


def _that_holds(operators: Sequence[OpPrecision], layer: str) -> int | None:
    return next((at for at, each in enumerate(operators) if layer in each.fused), None)


def _named(operator: OpPrecision, nodes: Sequence[str]) -> tuple[str, ...]:
    """The nodes that the runtime says it computes, in the graph's order; else the one whose name it bears."""
    fused = tuple(name for name in nodes if name in operator.fused)
    return fused or tuple(sorted((name for name in nodes if bears(operator, name)), key=len)[-1:])


def alive_bytes(operators: Sequence[TimedOperator]) -> list[int | None]:
    """For each operator, the bytes of all tensors that exist while it runs; None for all where none tells its tensors.

    A tensor exists from the operator that writes it to the last one that reads it, or to the end where none does. This
    is what the order of execution demands; a runtime may need more (padding) or less (results written over operands).
    """
    if not any(operator.writes for operator in operators):
        return [None] * len(operators)
    sizes: dict[str, int] = {}
    born: dict[str, int] = {}
    for place, operator in enumerate(operators):
        for tensor in operator.writes:
            sizes[tensor.name] = max(tensor.bytes, sizes.get(tensor.name, 0))
            born.setdefault(tensor.name, place)
    dies = _deaths(operators, born)
    changes = [0] * (len(operators) + 1)
    for name, place in born.items():
        changes[place] += sizes[name]
        changes[dies[name] + 1] -= sizes[name]
    alive, found = 0, list[int | None]()
    for change in changes[:-1]:
        alive += change
        found.append(alive)
    return found


def _deaths(operators: Sequence[TimedOperator], born: Mapping[str, int]) -> dict[str, int]:
    """Tensor → place of the last operator that reads it, or of the last operator of all."""
    dies = dict.fromkeys(born, len(operators) - 1)
    read: dict[str, int] = {}
    for place, operator in enumerate(operators):
        for name in operator.reads:
            read[name] = place
    return dies | {name: max(place, born[name]) for name, place in read.items() if name in born}
