"""OpenVINO's own performance counters of a compiled model.

They hold a mean over all runs since the model was compiled, in whole microseconds. The time of one run follows from the
means before and after it, the less exactly the more runs there were: so few runs are timed of each of several models
that are compiled alike, and the median of all is taken.
"""

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from lowbit.core.adapter import OpPrecision
from lowbit.core.profile import Tensor, TimedOperator, TimedRuns
from lowbit.runtimes._stopwatch import median_us

_RUNS_A_MODEL = 10
_WARM_UP = 3  # runs of each model that are not timed
_CONVERTERS = {"FakeQuantize", "Convert", "Reorder", "Subgraph"}  # what may do nothing else than to convert
_CODES = ("u8", "i8")


def timed_runs(
    compiled: Callable[[], Any],
    empty: Callable[[], None],
    run: Callable[[Any], None],
    runs: int,
    operators_of: Callable[[Any], Sequence[tuple[Any, OpPrecision]]],
) -> TimedRuns:
    """Time at least `runs` runs.

    `compiled()` compiles the model with counters, `empty()` calls a network that does hardly anything, `run(request)`
    runs the model once, and `operators_of(model)` gives the operators of a compiled model beside what each is.
    """
    times: dict[str, list[float]] = {}
    whole: list[float] = []
    for _ in range(-(-runs // _RUNS_A_MODEL)):
        model = compiled()
        request = model.create_infer_request()
        for _ in range(_WARM_UP):
            run(request)
        before = _totals(request, _WARM_UP)
        for done in range(_WARM_UP + 1, _WARM_UP + _RUNS_A_MODEL + 1):
            start = time.perf_counter()
            run(request)
            whole.append((time.perf_counter() - start) * 1e6)
            after = _totals(request, done)
            for name, total in after.items():
                times.setdefault(name, []).append(total - before[name])
            before = after
    kernels = {each.node_name: each.exec_type for each in request.profiling_info}
    return TimedRuns(
        profiler="OpenVINO's performance counters",
        operators=tuple(
            TimedOperator(
                operator=described,
                kernel=kernels[described.name],
                calls=1,
                times_us=tuple(times[described.name]),
                reads=tuple(_name(port.get_source_output()) for port in op.inputs()),
                writes=tuple(Tensor(_name(port), _size(port)) for port in op.outputs()),
                converts=_converts(op, described),
            )
            for op, described in operators_of(model)
            if described.name in kernels
        ),
        runs=len(whole),
        resolution_us=1.0,
        run_us=median(whole),
        besides_us=median_us(empty, runs),
    )


def _totals(request: Any, runs: int) -> dict[str, float]:
    """Operator → microseconds in all `runs` runs since the model was compiled, too little by less than `runs`."""
    return {each.node_name: each.real_time.total_seconds() * 1e6 * runs for each in request.profiling_info}


def _converts(op: Any, described: OpPrecision) -> bool:
    """Whether it has one operand that is no constant, and changes it from floats to 8-bit codes or back."""
    if described.op_type not in _CONVERTERS:
        return False
    kinds = [
        port.get_element_type().get_type_name()
        for port in op.inputs()
        if str(port.get_source_output().get_node().get_rt_info()["layerType"].astype(str)) not in ("Const", "Constant")
    ]
    if len(kinds) != 1:
        return False
    result = op.output(0).get_element_type().get_type_name()
    return (kinds[0] in _CODES) != (result in _CODES) or described.op_type == "FakeQuantize"


def _name(port: Any) -> str:
    return f"{port.get_node().get_friendly_name()}:{port.get_index()}"


def _size(port: Any) -> int:
    count = 1
    for side in port.get_shape():
        count *= side
    return int(count * port.get_element_type().bitwidth // 8)
