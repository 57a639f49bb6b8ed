"""What ONNX Runtime's profiler itself costs: it writes down the shapes of a node's operands within the node's time.

Small networks consist of nodes that are shorter than that. So the cost is measured, on chains of nodes that do hardly
anything: their time by the profiler, less their share of the latency without it.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from lowbit.runtimes._stopwatch import median_us

_NODES = 64  # nodes of a chain
_FEW, _MANY = 2, 8  # inputs of a node: the cost grows with them
_RUNS = 100
_GIVEN = {"x0": np.ones(1, np.float32)}

MakeSession = Callable[[bytes, str | None], Any]  # model, and where to write a profile → a session


@dataclass(frozen=True, slots=True)
class Cost:
    """What is no node's own time, in microseconds.

    - run_us: latency of a session of a single node that does hardly anything
    - node_us: how much too long a node's time in a profile is, with `inputs` = 2
    - input_us: how much more it is for each further input
    """

    run_us: float
    node_us: float
    input_us: float

    def of(self, inputs: int) -> float:
        """How much too long the time of a node with so many inputs is."""
        return max(0.0, self.node_us + self.input_us * (inputs - _FEW))


def cost(made: MakeSession) -> Cost:
    """Measure it. `made` opens a session without optimization, profiled where a place for the profile is given."""
    single = _latency_us(made(_chain(1, _FEW), None))
    few, many = (_of_a_node(made, inputs, single) for inputs in (_FEW, _MANY))
    return Cost(single, few, max(0.0, many - few) / (_MANY - _FEW))


def _of_a_node(made: MakeSession, inputs: int, single_us: float) -> float:
    chain = _chain(_NODES, inputs)
    a_node = (_latency_us(made(chain, None)) - single_us) / (_NODES - 1)
    with tempfile.TemporaryDirectory(prefix="lowbit-") as folder:
        session = made(chain, str(Path(folder) / "profile"))
        for _ in range(_RUNS):
            session.run(None, _GIVEN)
        events = json.loads(Path(session.end_profiling()).read_text())
    times: dict[str, list[int]] = {}
    for event in events:
        if event["cat"] == "Node":
            times.setdefault(event["name"], []).append(event["dur"])
    middle = slice(_RUNS // 4, -(_RUNS // 4))  # whole microseconds: a mean of the middle half is finer than a median
    return max(0.0, mean(mean(sorted(each)[middle]) for each in times.values()) - a_node)


def _latency_us(session: Any) -> float:
    return median_us(lambda: session.run(None, _GIVEN), _RUNS)


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
