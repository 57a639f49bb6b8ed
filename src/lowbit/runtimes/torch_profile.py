"""torch's own profile of a TorchScript file: the operators of the graph, each with the kernel that took most of it."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
from torch.autograd.profiler import record_function
from torch.profiler import ProfilerActivity, profile

from lowbit.core.errors import UnsupportedError
from lowbit.core.profile import Tensor, TimedOperator, TimedRuns
from lowbit.runtimes.torch_recorder import Recorder

_RUN = "lowbit: one run"  # marks each run in the profile
_WARM_UP = 3  # runs that are not timed
_CONVERTS = {
    "quantize_per_tensor", "quantize_per_channel", "quantize_per_tensor_dynamic", "dequantize", "fake_quantize",
}  # fmt: skip


class Tracer(Recorder):  # type: ignore[no-untyped-call]  # torch gives its base class no types
    """A Recorder that also notes which memory each operator reads and writes: (reads, writes) in `memory`."""

    def __init__(self, batch: int) -> None:
        super().__init__(batch)
        self.memory: list[tuple[tuple[str, ...], tuple[Tensor, ...]]] = []
        self._kept: list[torch.Tensor] = []  # so that no memory is given out twice while the run is recorded
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `func` and note the memory of its operands and of its result.

        A result that lies in memory that is known already, such as a view, writes nothing.
        """
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if isinstance(result, torch.Tensor):
            operands = [each for each in args if isinstance(each, torch.Tensor)]
            self._kept += [*operands, result]
            reads = tuple(str(place) for each in operands if (place := _place(each)) in self._known)
            place = _place(result)
            fresh = place is not None and place not in self._known and place not in map(_place, operands)
            writes = (Tensor(str(place), result.untyped_storage().nbytes()),) if fresh else ()
            self._known |= {place} if fresh and place is not None else set()
            self.memory.append((reads, writes))
        return result


def timed_runs(model: Any, image: torch.Tensor, runs: int) -> TimedRuns:
    """Time `runs` runs of `model`, whose optimization has settled, under torch.profiler.

    Raises UnsupportedError where the profile does not list the operators that the dispatcher runs.
    """
    with torch.inference_mode():
        tracer = Tracer(len(image))
        with tracer:
            model(image)
        for _ in range(_WARM_UP):
            model(image)
        with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler:
            for _ in range(_WARM_UP + runs):
                with record_function(_RUN):
                    model(image)
    marked = sorted((each for each in profiler.events() or [] if each.name == _RUN), key=_start)[_WARM_UP:]
    listed = [_operators(each, len(tracer.operators)) for each in marked]
    wrong = next((each for each in listed if len(each) != len(tracer.operators)), None)
    if wrong is not None or not listed:
        seen = 0 if wrong is None else len(wrong)
        raise UnsupportedError(
            f"torch.profiler lists {seen} operators of a run in which the dispatcher sees {len(tracer.operators)}"
        )
    return TimedRuns(
        profiler="torch.profiler",
        operators=tuple(
            TimedOperator(
                operator=operator,
                kernel=_kernel(events[0]),
                calls=1,
                times_us=tuple(float(each.cpu_time_total) for each in events),
                reads=reads,
                writes=writes,
                converts=operator.op_type.rpartition("::")[2] in _CONVERTS,
            )
            for operator, (reads, writes), events in zip(
                tracer.operators, tracer.memory, zip(*listed, strict=True), strict=True
            )
        ),
        runs=len(listed),
        resolution_us=0.001,
        run_us=float(median(each.cpu_time_total for each in marked)),
    )


def _operators(event: Any, count: int) -> Sequence[Any]:
    """The events right below a run, in order; where a single one holds them all (the graph's function), those of it."""
    below = sorted(event.cpu_children, key=_start)
    while len(below) == 1 and count > 1 and below[0].cpu_children:
        below = sorted(below[0].cpu_children, key=_start)
    return below


def _kernel(event: Any) -> str:
    """Of an operator and all that it calls, the name of what takes the longest without what that calls in turn."""
    best: Any = max(_all_of(event), key=lambda each: each.self_cpu_time_total)
    return str(best.name)


def _all_of(event: Any) -> list[Any]:
    return [event, *(each for child in event.cpu_children for each in _all_of(child))]


def _start(event: Any) -> float:
    return float(event.time_range.start)


def _place(tensor: torch.Tensor) -> int | None:
    """Address of the tensor's memory; None where it has none of the common kind."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return None
