"""ONNX Runtime's own profile of a session: the time of every node of the graph that it really runs.

The last step of optimization changes layouts: it renames nodes and pads channels. A node that multiplies is therefore
described by the operator that it was before that step, whose name or output its new name begins with.
"""

import json
import tempfile
from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

from lowbit.core.adapter import OpPrecision
from lowbit.core.profile import Tensor, TimedOperator, TimedRuns
from lowbit.runtimes._onnxruntime_cost import Cost

KERNEL_TIME = "_kernel_time"  # what a node's event is called, after the node's name
_WARM_UP = 5  # runs that are not timed
_CONVERTS = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}
_BYTES = {
    "float": 4, "float16": 2, "bfloat16": 2, "double": 8, "bool": 1,
    "uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "uint32": 4, "int32": 4, "uint64": 8, "int64": 8,
}  # fmt: skip

Listed = Sequence[tuple[OpPrecision, tuple[str, ...]]]  # operators before the last step, with their outputs' names
Opened = Callable[[Callable[[Any], None]], Any]  # opens a session, whose options a function may change before


def timed_runs(
    opened: Opened,
    run: Callable[[Any], None],
    runs: int,
    listed: Listed,
    describe: Callable[..., OpPrecision],
    cost: Cost,
) -> TimedRuns:
    """Time `runs` runs of a session with profiling switched on.

    `describe(name, args)` describes a node, from its event's arguments, that is not among `listed`.
    """
    import onnx

    with tempfile.TemporaryDirectory(prefix="lowbit-") as folder:
        optimized = str(Path(folder) / "optimized.onnx")

        def profiling(options: Any) -> None:
            options.optimized_model_filepath = optimized
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")

        session = opened(profiling)
        for _ in range(_WARM_UP + runs):
            run(session)
        events = json.loads(Path(session.end_profiling()).read_text())
        graph = onnx.load(optimized, load_external_data=False).graph
    whole = sorted((each for each in events if each["name"] == "model_run"), key=lambda each: each["ts"])[_WARM_UP:]
    timed = _by_node(events, whole)
    nodes = _nodes(graph, [(name, each["args"]["op_name"]) for name, (each, _) in timed.items()])
    unused = list(listed)
    operators, taken_off = [], 0.0
    for name, (event, times) in timed.items():
        node, arguments = nodes.get(name), event["args"]
        partner = _partner(name, unused)
        if partner is not None:
            unused.remove(partner)
        operator = describe(name, arguments) if partner is None else partner[0]
        calls = max(1, round(len(times) / len(whole)))
        own = cost.of(len(arguments["input_type_shape"])) * calls
        a_run = _a_run(times, len(whole))
        taken_off += min(own, median(a_run))
        operators.append(
            TimedOperator(
                operator=replace(operator, op_type=arguments["op_name"]),
                kernel=f"{node.domain}.{node.op_type}" if node is not None and node.domain else arguments["op_name"],
                calls=calls,
                times_us=tuple(max(0.0, us - own) for us in a_run),
                reads=() if node is None else tuple(name for name in node.input if name),
                writes=() if node is None else _writes(node, arguments),
                converts=arguments["op_name"] in _CONVERTS,
            )
        )
    return TimedRuns(
        profiler="ONNX Runtime's profiler",
        operators=tuple(operators),
        runs=len(whole),
        resolution_us=1.0,
        run_us=float(median(each["dur"] for each in whole)),
        taken_off_us=taken_off,
        besides_us=cost.run_us,
    )


def _by_node(
    events: Sequence[dict[str, Any]], whole: Sequence[dict[str, Any]]
) -> dict[str, tuple[dict[str, Any], list[tuple[int, int]]]]:
    """Node → its first event, and of each of its calls the place of the run among `whole` and the microseconds.

    In the order in which the nodes first ran.
    """
    starts = [each["ts"] for each in whole]
    found: dict[str, tuple[dict[str, Any], list[tuple[int, int]]]] = {}
    nodes = (each for each in events if each["cat"] == "Node" and each["name"].endswith(KERNEL_TIME))
    for event in sorted(nodes, key=lambda each: each["ts"]):
        place = bisect(starts, event["ts"]) - 1
        if place >= 0:
            name = event["name"].removesuffix(KERNEL_TIME)
            found.setdefault(name, (event, []))[1].append((place, event["dur"]))
    return found


def _a_run(times: Sequence[tuple[int, int]], runs: int) -> list[int]:
    """Microseconds of all calls of a node in each run."""
    found = [0] * runs
    for place, us in times:
        found[place] += us
    return found


def _nodes(graph: Any, ran: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """What ran (name of its event, type) → its node in the optimized graph.

    A node without a name runs under its type and number; such nodes are matched in order, type by type. Nodes inside
    of If, Loop and Scan are not found.
    """
    named = {node.name: node for node in graph.node if node.name}
    nameless: dict[str, list[Any]] = {}
    for node in graph.node:
        if not node.name:
            nameless.setdefault(node.op_type, []).append(node)
    found = {}
    for name, op_type in ran:
        if name in named:
            found[name] = named[name]
        elif nameless.get(op_type):
            found[name] = nameless[op_type].pop(0)
    return found


def _partner(name: str, listed: Listed) -> tuple[OpPrecision, tuple[str, ...]] | None:
    """The operator of `listed` that the node `name` was before the last step; of several the one with most in common.

    The last step appends to the node's name, or to its output's.
    """
    best, longest = None, 0
    for each in listed:
        operator, outputs = each
        for known in (operator.name, *outputs):
            if (name == known or name.startswith(f"{known}_")) and len(known) > longest and known:
                best, longest = each, len(known)
    return best


def _writes(node: Any, arguments: dict[str, Any]) -> tuple[Tensor, ...]:
    shapes = [next(iter(entry.items())) for entry in arguments["output_type_shape"]]
    names = [name for name in node.output if name]
    return tuple(
        Tensor(name, prod(shape) * _BYTES.get(kind, 1)) for name, (kind, shape) in zip(names, shapes, strict=False)
    )
