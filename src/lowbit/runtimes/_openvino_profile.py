"""OpenVINO's own performance counters of a compiled model.

They hold a running mean since the model was compiled, in whole microseconds. The runs between two readings are a block,
whose mean follows from both; several models are compiled, so that a disturbed block does not decide.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from lowbit.core.adapter import OpPrecision
from lowbit.core.profile import Tensor, TimedOperator, TimedRuns

_BLOCKS = 5  # models compiled, one block of runs each
_WARM_UP = 5  # runs before a block
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
    block = max(2, -(-runs // _BLOCKS))
    means: list[Mapping[str, float]] = []
    whole: list[float] = []
    for _ in range(_BLOCKS):
        model = compiled()
        request = model.create_infer_request()
        for _ in range(_WARM_UP):
            run(request)
        before = _counters(request)
        for _ in range(block):
            start = time.perf_counter()
            run(request)
            whole.append((time.perf_counter() - start) * 1e6)
        means.append(_between(before, _counters(request), block))
    kernels = {each.node_name: each.exec_type for each in request.profiling_info}
    return TimedRuns(
        profiler="OpenVINO's performance counters",
        operators=tuple(
            TimedOperator(
                operator=described,
                kernel=kernels[described.name],
                calls=1,
                times_us=tuple(each[described.name] for each in means),
                reads=tuple(_name(port.get_source_output()) for port in op.inputs()),
                writes=tuple(Tensor(_name(port), _size(port)) for port in op.outputs()),
                converts=_converts(op, described),
            )
            for op, described in operators_of(model)
            if described.name in kernels
        ),
        runs=block * _BLOCKS,
        runs_a_figure=block,
        resolution_us=1.0,
        run_us=median(whole),
        call_us=_median_us(empty, runs),
    )


def _median_us(call: Callable[[], None], runs: int) -> float:
    for _ in range(_WARM_UP):
        call()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return median(times) * 1e6


def _counters(request: Any) -> dict[str, float]:
    """Operator → mean microseconds since the model was compiled."""
    return {each.node_name: each.real_time.total_seconds() * 1e6 for each in request.profiling_info}


def _between(before: Mapping[str, float], after: Mapping[str, float], runs: int) -> dict[str, float]:
    """Operator → mean microseconds of the `runs` runs between two readings, the first of which follows the warm-up."""
    return {
        name: max(0.0, (mean * (_WARM_UP + runs) - before.get(name, 0.0) * _WARM_UP) / runs)
        for name, mean in after.items()
    }


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
