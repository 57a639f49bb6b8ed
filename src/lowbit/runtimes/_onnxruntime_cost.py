"""What ONNX Runtime's profiler itself costs: it writes down the shapes of a node's operands within the node's time.

Small networks consist of nodes that are shorter than that. So the cost is measured, on chains of nodes that do hardly
anything: their time by the profiler, less their share of the latency without it.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

_NODES = 64  # nodes of a chain
_FEW, _MANY = 2, 8  # inputs of a node: the cost grows with them
_RUNS = 100
_WARM_UP = 20

MakeSession = Callable[[bytes, str | None], Any]  # model, and where to write a profile → a session


def cost_of_a_call(made: MakeSession) -> Callable[[int], float]:
    """A function from a node's number of inputs to the microseconds that its time in a profile is too long.

    `made` opens a session without any optimization, profiled where a place for the profile is given.
    """
    few, many = (_cost(made, inputs) for inputs in (_FEW, _MANY))
    slope = max(0.0, many - few) / (_MANY - _FEW)
    return lambda inputs: max(0.0, few + slope * (inputs - _FEW))


def _cost(made: MakeSession, inputs: int) -> float:
    x = {"x0": np.ones(1, np.float32)}
    chain, single = _chain(_NODES, inputs), _chain(1, inputs)
    a_node = (_latency_us(made(chain, None), x) - _latency_us(made(single, None), x)) / (_NODES - 1)
    with tempfile.TemporaryDirectory(prefix="lowbit-") as folder:
        session = made(chain, str(Path(folder) / "profile"))
        for _ in range(_RUNS):
            session.run(None, x)
        events = json.loads(Path(session.end_profiling()).read_text())
    times: dict[str, list[int]] = {}
    for event in events:
        if event["cat"] == "Node":
            times.setdefault(event["name"], []).append(event["dur"])
    middle = slice(_RUNS // 4, -(_RUNS // 4))  # whole microseconds: a mean of the middle half is finer than a median
    return max(0.0, mean(mean(sorted(each)[middle]) for each in times.values()) - a_node)


def _latency_us(session: Any, x: dict[str, Any]) -> float:
    for _ in range(_WARM_UP):
        session.run(None, x)
    found = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        session.run(None, x)
        found.append(time.perf_counter() - start)
    return median(found) * 1e6


def _chain(nodes: int, inputs: int) -> bytes:
    """A model of `nodes` Max one after the other, each of a single number and `inputs` - 1 constants."""
    from onnx import TensorProto, helper, numpy_helper

    constants = [numpy_helper.from_array(np.ones(1, np.float32), f"c{place}") for place in range(1, inputs)]
    names = [constant.name for constant in constants]
    graph = helper.make_graph(
        [helper.make_node("Max", [f"x{at}", *names], [f"x{at + 1}"], f"max{at}") for at in range(nodes)],
        "chain",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info(f"x{nodes}", TensorProto.FLOAT, [1])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content
