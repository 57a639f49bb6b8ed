"""LiteRT's kernels and their times, matched with the operators of the file.

XNNPACK's kernels bear no operator's name. They are matched in order of execution: a kernel belongs to the first
operator not yet matched of a type that it can compute.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from lowbit.core.adapter import OpPrecision
from lowbit.core.errors import UnsupportedError
from lowbit.core.lifeline import PARENT_VARIABLE
from lowbit.core.profile import Tensor, TimedOperator, TimedRuns
from lowbit.core.text import shortened

_OPERATOR, _KERNEL = 2, 8  # types of events: an operator of LiteRT's own, and a kernel inside a delegate
_TIME_LIMIT_S = 300.0
_WARM_UP = 5
_WORDS = re.compile(r"([^(]+?) *(?:\(([^)]*)\) *(.*))?")  # "Convolution (NHWC, QC8) IGEMM"
_CODES = {"QS8", "QU8", "QC8", "QC8W", "QC4W", "QC2W", "QB4W"}
_DYNAMIC = {"QD8", "QDU8", "QP8"}  # activations that the kernel, or one before it, quantizes at every call
_FLOATS = {"F32", "F16", "BF16"}
_COMPUTES = {  # first words of a kernel's name → the file's operators that it can compute
    "Convolution": ("CONV_2D", "DEPTHWISE_CONV_2D"),
    "Fully Connected": ("FULLY_CONNECTED", "CONV_2D"),
    "Dynamic Fully Connected": ("FULLY_CONNECTED", "BATCH_MATMUL"),
    "Batch Matrix Multiply": ("BATCH_MATMUL",),
    "Deconvolution": ("TRANSPOSE_CONV",),
    "Add": ("ADD",),
    "Subtract": ("SUB",),
    "Multiply": ("MUL",),
    "Divide": ("DIV",),
    "Average Pooling": ("AVERAGE_POOL_2D", "MEAN"),
    "Global Average Pooling": ("MEAN", "AVERAGE_POOL_2D"),
    "Max Pooling": ("MAX_POOL_2D",),
    "Mean": ("MEAN",),
    "Clamp": ("RELU", "RELU6", "RELU_N1_TO_1", "MINIMUM", "MAXIMUM"),
    "Sigmoid": ("LOGISTIC",),
    "Hard Swish": ("HARD_SWISH",),
    "Softmax": ("SOFTMAX",),
    "Convert": ("QUANTIZE", "DEQUANTIZE"),
    "Constant Pad": ("PAD", "PADV2"),
    "Transpose": ("TRANSPOSE",),
    "Static Reshape": ("RESHAPE",),
    "Slice": ("SLICE", "STRIDED_SLICE"),
}
_MULTIPLY = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "TRANSPOSE_CONV")


@dataclass(frozen=True, slots=True)
class FileOperator:
    """An operator of the file: its number there, what its types say of it, and the tensors that it reads and writes."""

    index: int
    described: OpPrecision
    reads: tuple[str, ...]
    writes: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel that ran: its name, the place of the operator that it computes (None: not told), and its times."""

    name: str
    operator: int | None
    times_us: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Kernels:
    """All kernels of a run in order of execution, and the median time of a whole run with the profiler on."""

    kernels: tuple[Kernel, ...]
    run_us: float


def kernels_of(path: Path, x: Any, operators: Sequence[FileOperator], threads: int, runs: int) -> Kernels:
    """Run the file on the array `x` in a process of its own; raises UnsupportedError where that gives no profile."""
    with tempfile.TemporaryDirectory(prefix="lowbit-") as folder:
        given, result = Path(folder) / "input.npy", Path(folder) / "result.json"
        np.save(given, x)
        arguments = [str(path.resolve()), str(given), str(runs), str(_WARM_UP), str(threads), str(result)]
        command = [sys.executable, "-P", "-m", "lowbit.runtimes._litert_kernels", *arguments]
        environment = os.environ | {PARENT_VARIABLE: str(os.getpid())}
        try:
            ended = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise UnsupportedError(f"LiteRT's profiler did not end within {_TIME_LIMIT_S:g} s") from error
        if not result.is_file():
            raise UnsupportedError(f"LiteRT's profiler {_death(ended)}")
        found = json.loads(result.read_text())
    if "reason" in found:
        raise UnsupportedError(f"LiteRT's profiler cannot be used: {found['reason']}")
    events = [(at, *event) for at, event in enumerate(found["events"]) if event[1] in (_OPERATOR, _KERNEL)]
    if not events:
        raise UnsupportedError("LiteRT's profiler lists neither operators nor kernels")
    places = _places([(tag, node if kind == _OPERATOR else None) for _, tag, kind, node in events], operators)
    return Kernels(
        tuple(
            Kernel(tag, place, tuple(float(run[at]) for run in found["times_us"]))
            for (at, tag, _, _), place in zip(events, places, strict=True)
        ),
        float(median(found["runs_us"])),
    )


def _death(ended: "subprocess.CompletedProcess[str]") -> str:
    if ended.returncode < 0:
        return f"died of {signal.Signals(-ended.returncode).name}"
    lines = [line for line in ended.stderr.splitlines() if line.strip()]
    return f"ended with status {ended.returncode}: {shortened(' / '.join(lines[-2:])) or 'nothing was printed'}"


def _places(ran: Sequence[tuple[str, int | None]], operators: Sequence[FileOperator]) -> list[int | None]:
    """For each of what ran (name, and number of its operator where that is told), the place among `operators`."""
    at = {operator.index: place for place, operator in enumerate(operators)}
    told = {at[node] for _, node in ran if node in at}
    free = [place for place in range(len(operators)) if place not in told]
    found: list[int | None] = []
    for name, node in ran:
        if node is not None:
            found.append(at.get(node))
            continue
        types = _COMPUTES.get(_parts(name)[0], ())
        place = next((place for place in free if operators[place].described.op_type in types), None)
        if place is not None:
            free.remove(place)
        found.append(place)
    return found


def _parts(kernel: str) -> tuple[str, tuple[str, ...]]:
    """A kernel's first words, and the words in its parentheses."""
    match = _WORDS.fullmatch(kernel.strip())
    if match is None:
        return kernel, ()
    return match[1], tuple(word.strip() for word in (match[2] or "").split(","))


def executed(operator: OpPrecision, kernel: str) -> OpPrecision:
    """What `operator` really ran in: the kernel's name is better proof than the types of the file.

    Where the two differ, the reason says so. Unchanged where the kernel's name tells no types.
    """
    words = set(_parts(kernel)[1])
    if not words & (_CODES | _DYNAMIC | _FLOATS):
        return operator
    hybrid = bool(words & _DYNAMIC)
    integer = hybrid or not words & _FLOATS
    if (integer, hybrid) == (operator.integer, operator.hybrid):
        return operator
    kinds = "hybrid" if operator.hybrid else "integer" if operator.integer else "float"
    reason = f"the file's types ({operator.precision}) promise a {kinds} kernel, but LiteRT ran {kernel}"
    precision = next((word.lower() for word in _parts(kernel)[1] if word in _FLOATS), operator.precision)
    return replace(
        operator, precision=operator.precision if integer else precision, integer=integer, hybrid=hybrid, reason=reason
    )


def with_kernels(operators: Sequence[FileOperator], kernels: Kernels) -> list[OpPrecision]:
    """The file's operators as they were executed, where a kernel was matched with them."""
    names = {each.operator: each.name for each in reversed(kernels.kernels) if each.operator is not None}
    return [
        executed(operator.described, names[place]) if place in names else operator.described
        for place, operator in enumerate(operators)
    ]


def timed_runs(operators: Sequence[FileOperator], kernels: Kernels, runs: int) -> TimedRuns:
    """The kernels with the operators that they compute. Operators of the file that no kernel computes have no time."""
    timed, taken = [], set[int]()
    for number, kernel in enumerate(kernels.kernels):
        file_operator = None if kernel.operator is None else operators[kernel.operator]
        if file_operator is None:
            word = _parts(kernel.name)[0]
            described = OpPrecision(f"{word}:{number}", word, "", integer=False, reason="no operator of the file")
            described = executed_alone(described, kernel.name)
        else:
            described = executed(file_operator.described, kernel.name)
            taken.add(file_operator.index)
        timed.append(
            TimedOperator(
                operator=described,
                kernel=kernel.name,
                calls=1,
                times_us=kernel.times_us,
                reads=file_operator.reads if file_operator else (),
                writes=file_operator.writes if file_operator else (),
                converts=described.op_type in ("QUANTIZE", "DEQUANTIZE", "Convert"),
            )
        )
    rest = [each.described for each in operators if each.index not in taken]
    lost = [each.name for each in rest if each.macs]
    notes = (f"no kernel was found for {', '.join(lost)}: their time is among the others'",) if lost else ()
    return TimedRuns(
        profiler="LiteRT's profiler",
        operators=tuple(timed),
        runs=runs,
        resolution_us=1.0,
        run_us=kernels.run_us,
        notes=notes,
    )


def executed_alone(operator: OpPrecision, kernel: str) -> OpPrecision:
    """`operator`, which no operator of the file stands behind, with what the kernel's own name tells."""
    words = _parts(kernel)[1]
    kind = next((word.lower() for word in words if word in _CODES | _DYNAMIC | _FLOATS), "not told")
    return replace(operator, precision=kind, integer=bool(set(words) & _CODES) and not set(words) & _FLOATS)
