"""How fast this machine multiplies matrices: the roof below which every network's own speed lies.

A square product of 1,024 is large enough that loading its operands does not matter. Each installed library that has one
is timed, in float32 and in 8-bit integers, and the fastest counts.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from lowbit.core.peak import Kind, Peak

SIZE = 1024
_RUNS = 15
_WARM_UP = 3


def peaks(threads: int) -> tuple[Peak, ...]:
    """The fastest product of each kind that an installed library computes with so many threads."""
    best: dict[str, Peak] = {}
    for kind, how, multiply in _products(threads):
        found = Peak(kind, threads, SIZE**3 / _seconds(multiply), how, SIZE)
        if kind not in best or found.macs_per_s > best[kind].macs_per_s:
            best[kind] = found
    return tuple(best.values())


def _seconds(multiply: Callable[[], object]) -> float:
    """Seconds of the fastest of several products: a roof is what can be reached, and other work only lowers it."""
    for _ in range(_WARM_UP):
        multiply()
    found = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        multiply()
        found.append(time.perf_counter() - start)
    return min(found)


def _products(threads: int) -> Iterator[tuple[Kind, str, Callable[[], object]]]:
    """Kind, name and call of each product that can be had."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, SIZE, SIZE)).astype(np.float32)
    u, s = rng.integers(0, 256, (SIZE, SIZE), np.uint8), rng.integers(-64, 64, (SIZE, SIZE), np.int8)
    try:
        yield "fp32", "ONNX Runtime's MatMul", _in_onnxruntime("MatMul", a, b, threads)
        yield "int8", "ONNX Runtime's MatMulInteger", _in_onnxruntime("MatMulInteger", u, s, threads)
    except ImportError:
        pass
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(threads)
    yield "fp32", "torch.mm", partial(torch.mm, torch.from_numpy(a), torch.from_numpy(b))
    if hasattr(torch, "_int_mm"):
        yield "int8", "torch._int_mm", partial(torch._int_mm, torch.from_numpy(s), torch.from_numpy(s))


def _in_onnxruntime(op_type: str, left: np.ndarray, right: np.ndarray, threads: int) -> Callable[[], object]:
    """The product of an input with a constant."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    integer = op_type == "MatMulInteger"
    read, given = (TensorProto.UINT8, TensorProto.INT32) if integer else (TensorProto.FLOAT, TensorProto.FLOAT)
    graph = helper.make_graph(
        [helper.make_node(op_type, ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", read, [SIZE, SIZE])],
        [helper.make_tensor_value_info("y", given, [SIZE, SIZE])],
        [numpy_helper.from_array(right, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return partial(session.run, None, {"x": left})
