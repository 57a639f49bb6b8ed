"""The LiteRT runtime: `.tflite` files in ai-edge-litert's interpreter, XNNPACK where it takes an operator."""

import base64
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lowbit.core.adapter import CodePorts, Codes, Floats, OpPrecision, RunCodes, RuntimeInfo, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.errors import LowbitError, UnsupportedError
from lowbit.core.profile import Tensor, TimedRuns
from lowbit.core.refusal import vendor_call
from lowbit.runtimes._edge import CONVERTED_OUTSIDE, dequantize, is_channels_last, quantize
from lowbit.runtimes._litert_profile import FileOperator, kernels_of, timed_runs, with_kernels
from lowbit.runtimes._stopwatch import median_us

INFO = RuntimeInfo(name="litert", packages=("ai-edge-litert",), extra="litert", reads=("tflite",))

_ERRORS = (ValueError, RuntimeError)  # what the interpreter raises where it refuses a file
_MAGIC = b"TFL3"  # a flatbuffer's file identifier, at byte 4
# A TFLite file in base 85: a 1 x 1 convolution of [1, 1, 1, 1] to the same, weight 1, bias 0. It was made with LiteRT's
# schema, as the test of it does; here it is bytes, since importing the schema would count as the runtime's.
_ONE_CONVOLUTION = base64.b85decode(
    "7ytkOR7OlQ000gE6aWwa3;+lK000C44gdfE5C8xGL;wH)XaN8K0{{R30{{R3FaQ7m7ytkO1ONa4(*FPd1ONa41ONa400000;{N~t1ONa41ONa400"
    "4kL1ONm81ONa40RR915C8xG3;+}W5C9AS2mk~C3;+NC5C8xGXaE2JYybcNZ~y=R0RR916aWAK000gE761SM5C9AS3jhQF4gdfE8~^|S00001AOHX"
    "WBme*a000UA3;+NC2mk~C3IG5A0RR910RR910RR910{{R30{{R3000000RR910ssI20RR910{{R30RR91000001ONa4bN~PVNB{r;Bme*a1ONa4q"
    "W}N@1ONa41ONa40RR910RR910RR910RR91>i_@$0ssI21ONa40RR910RR91000UA3;+lK000C43IG5A0RR911ONa41ONa40RR910RR910RR910RR"
    "91000I62mk~C1^@s61ONa41ONa40RR910RR910RR910RR910RR915C8xG3;+xO3jhEB000C43;+NC0{{R300003"
)
_SHORT = {
    "float32": "f32",
    "float16": "f16",
    "int8": "s8",
    "uint8": "u8",
    "int16": "s16",
    "int32": "s32",
    "int64": "s64",
}
_OPERANDS = {  # what multiplies and accumulates → the places of activation and weight among its inputs
    "CONV_2D": (0, 1),
    "DEPTHWISE_CONV_2D": (0, 1),
    "FULLY_CONNECTED": (0, 1),
    "BATCH_MATMUL": (0, 1),
    "TRANSPOSE_CONV": (2, 1),
}
_log = logging.getLogger(__name__)
_DELEGATE = "DELEGATE"  # stands in the list beside the operators that it replaced


@dataclass(frozen=True, slots=True)
class _Edge:
    """A model's input or output: its index, shape and type, and scale and zero point where it holds integers."""

    index: int
    shape: tuple[int, ...]
    dtype: npt.DTypeLike
    scale: float
    zero_point: int

    @property
    def is_integer(self) -> bool:
        return np.issubdtype(self.dtype, np.integer)


@dataclass(frozen=True, slots=True, eq=False)
class LiteRTSession:
    """An interpreter with its tensors allocated for the batch size that the file carries."""

    path: Path
    threads: int
    interpreter: Any
    source: _Edge
    target: _Edge
    channels_last: bool

    def predict(self, images: Floats) -> Floats:
        """Scores [N, outputs] of images [N, C, H, W]; N must be the file's batch size (the input is never resized)."""
        if len(images) != self.source.shape[0]:
            raise LowbitError(
                f"{len(images)} images for a .tflite file with a fixed batch of {self.source.shape[0]}; "
                "pad the batch, or build the file for this batch size"
            )
        self._give(images)
        self.interpreter.invoke()
        return self._scores(len(images))

    def executed_precision(self) -> list[OpPrecision]:
        """Every operator with the precision of the kernel that LiteRT's own profiler names.

        Where it names none, or cannot be used, the types of the operands decide, which are what LiteRT and XNNPACK
        select a kernel by:

        - integer activation, integer weight: an integer kernel
        - float activation, integer weight: a hybrid kernel, which quantizes its input at every call
        - integer weight that passes through a DEQUANTIZE: it arrives as float, so a float kernel
        """
        operators = self.operators()
        x = np.zeros(self.source.shape, self.source.dtype)
        try:
            return with_kernels(operators, kernels_of(self.path, x, operators, self.threads, 1))
        except UnsupportedError as error:
            _log.info("executed precision by the file's types: %s", error.reason)
            return [operator.described for operator in operators]

    def profile(self, images: Floats, runs: int) -> TimedRuns:
        """Every kernel that LiteRT's own profiler times, in a process of its own that opens the same file."""
        operators = self.operators()
        found = timed_runs(operators, kernels_of(self.path, self._input(images), operators, self.threads, runs), runs)
        outside = self.source.is_integer or self.target.is_integer
        notes = (*found.notes, CONVERTED_OUTSIDE) if outside else found.notes
        return replace(found, notes=notes, besides_us=median_us(lambda: self._around(images), runs))

    def _around(self, images: Floats) -> Floats:
        """What `predict` does before and after the interpreter runs."""
        self._give(images)
        return self._scores(len(images))

    def _give(self, images: Floats) -> None:
        self.interpreter.set_tensor(self.source.index, self._input(images))

    def _scores(self, count: int) -> Floats:
        y = self.interpreter.get_tensor(self.target.index).reshape(count, -1)
        if self.target.is_integer:
            return dequantize(y, self.target.scale, self.target.zero_point)
        return np.asarray(y, dtype=np.float32)

    def operators(self) -> list[FileOperator]:
        """The file's operators, with the precision that the types of their operands promise."""
        tensors = {detail["index"]: detail for detail in self.interpreter.get_tensor_details()}
        operators = [op for op in self.interpreter._get_ops_details() if op["op_name"] != _DELEGATE]
        dequantized = {
            out: _word(tensors[op["inputs"][0]])
            for op in operators
            if op["op_name"] == "DEQUANTIZE"
            for out in op["outputs"]
        }
        batch, made = self.source.shape[0], {out for op in operators for out in op["outputs"]}
        return [
            FileOperator(
                index=op["index"],
                described=_precision(op, tensors, dequantized, batch),
                reads=tuple(str(place) for place in op["inputs"] if place in made),
                writes=tuple(Tensor(str(place), _bytes(tensors[place])) for place in op["outputs"]),
            )
            for op in operators
        ]

    def _input(self, images: Floats) -> npt.NDArray[Any]:
        """`images` in the layout and type of the file's input."""
        x: npt.NDArray[Any] = images.transpose(0, 2, 3, 1) if self.channels_last else images
        if self.source.is_integer:
            x = quantize(x, self.source.scale, self.source.zero_point, self.source.dtype)
        return np.ascontiguousarray(x)


def open_codes(path: Path, ports: CodePorts, options: SessionOptions) -> RunCodes:
    """Open the file of one part. It stores the engine's codes with an offset, which the zero points give."""
    from ai_edge_litert.interpreter import Interpreter

    with vendor_call("LiteRT cannot load it", path, errors=_ERRORS):
        interpreter = Interpreter(model_path=str(path), num_threads=options.threads)
        interpreter.allocate_tensors()
    sources = {detail["name"]: detail for detail in interpreter.get_input_details()}
    (target,) = interpreter.get_output_details()
    size = int(next(iter(sources.values()))["shape"][0])

    def run(codes: Sequence[Codes]) -> Codes:
        results = []
        for first in range(0, len(codes[0]), size):
            for (name, zero_point), array in zip(ports.inputs, codes, strict=True):
                shift = sources[name]["quantization"][1] - zero_point
                part = (array[first : first + size].astype(np.int32) + shift).astype(sources[name]["dtype"])
                interpreter.set_tensor(sources[name]["index"], part)
            with vendor_call("LiteRT cannot run it", path, errors=_ERRORS):
                interpreter.invoke()
            results.append(interpreter.get_tensor(target["index"]))
        found = np.concatenate(results)
        if ports.result is None or found.dtype.kind == "f":
            return np.asarray(found)
        return np.asarray(found.astype(np.int32) - target["quantization"][1] + ports.result)

    return run


def warm_up(options: SessionOptions) -> None:
    """Run one convolution, so that the interpreter and XNNPACK are resident."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=_ONE_CONVOLUTION, num_threads=options.threads)
    interpreter.allocate_tensors()
    interpreter.invoke()


@contextmanager
def open_session(artifact: Artifact, options: SessionOptions) -> Iterator[LiteRTSession]:
    """Load the file.

    Raises UnsupportedError where it is no TFLite file, where its inputs or outputs differ, or where LiteRT refuses it.
    """
    from ai_edge_litert.interpreter import Interpreter

    with artifact.path.open("rb") as stream:
        if stream.read(8)[4:] != _MAGIC:
            raise UnsupportedError(
                f"{artifact.path.name} is no TFLite file: byte 4 lacks the identifier {_MAGIC.decode()}",
                "build it again",
            )
    with vendor_call("LiteRT cannot load it", artifact.path, errors=_ERRORS):
        interpreter = Interpreter(model_path=str(artifact.path), num_threads=options.threads)
        interpreter.allocate_tensors()
    source, target = _edges(interpreter, artifact)
    channels_last = is_channels_last(source.shape, artifact.input_shape)
    yield LiteRTSession(artifact.path, options.threads, interpreter, source, target, channels_last)


def _edges(interpreter: Any, artifact: Artifact) -> tuple[_Edge, _Edge]:
    """The single input and output; raises UnsupportedError where they differ from what `artifact` states."""
    sources = [_edge(detail) for detail in interpreter.get_input_details()]
    targets = [_edge(detail) for detail in interpreter.get_output_details()]
    if len(sources) != 1 or len(targets) != 1:
        raise UnsupportedError(
            f"the file has {len(sources)} inputs and {len(targets)} outputs, one of each was expected"
        )
    source, target = sources[0], targets[0]
    channels, height, width = artifact.input_shape
    if source.shape[1:] not in ((channels, height, width), (height, width, channels)):
        raise UnsupportedError(
            f"the file's input is {list(source.shape)}, images of {list(artifact.input_shape)} come in"
        )
    if prod(target.shape) != source.shape[0] * artifact.outputs:
        raise UnsupportedError(f"the file's output is {list(target.shape)}, {artifact.outputs} scores were expected")
    return source, target


def _edge(detail: dict[str, Any]) -> _Edge:
    scale, zero_point = detail["quantization"]
    shape = tuple(int(size) for size in detail["shape"])
    return _Edge(detail["index"], shape, detail["dtype"], float(scale), int(zero_point))


def _precision(op: dict[str, Any], tensors: dict[int, Any], dequantized: dict[int, str], batch: int) -> OpPrecision:
    """The precision of one operator from its operands' types; `dequantized`: tensor → type that it was stored in."""
    kind = op["op_name"]
    result = tensors[op["outputs"][0]]
    name = result["name"]
    if kind not in _OPERANDS:
        word = _word(result)
        integer = word[0] in "su"
        return OpPrecision(name, kind, word, integer, reason="" if integer else "its values are float")
    left, right = (tensors[op["inputs"][position]] for position in _OPERANDS[kind])
    macs = _macs(kind, left, right, result) // batch
    act, weight = _word(left), _word(right)
    if weight[0] in "su":
        hybrid = act[0] not in "su"
        return OpPrecision(name, kind, act + weight, True, macs=macs, hybrid=hybrid)
    stored = dequantized.get(right["index"])
    reason = f"its weight is stored as {stored} and dequantized to float" if stored else "its operands are float"
    return OpPrecision(name, kind, act, False, macs=macs, reason=reason)


def _macs(kind: str, left: dict[str, Any], right: dict[str, Any], result: dict[str, Any]) -> int:
    """Multiply-accumulates of the whole batch. Shapes are NHWC; weights [O, h, w, I], depthwise [1, h, w, O]."""
    out, weight = prod(map(int, result["shape"])), [int(size) for size in right["shape"]]
    if kind == "DEPTHWISE_CONV_2D":
        return out * weight[1] * weight[2]
    if kind == "TRANSPOSE_CONV":
        return prod(map(int, left["shape"])) * prod(weight[:3])
    if kind == "BATCH_MATMUL":  # [..., M, K] or, with adj_x, [..., K, M]
        return out * prod(map(int, left["shape"][-2:])) // int(result["shape"][-2])
    return out * prod(weight[1:])


def _bytes(tensor: dict[str, Any]) -> int:
    """Size of a tensor's values."""
    return int(prod(map(int, tensor["shape"])) * np.dtype(tensor["dtype"]).itemsize)


def _word(tensor: dict[str, Any]) -> str:
    """Short name of a tensor's type: f32, s8 …"""
    name: str = np.dtype(tensor["dtype"]).name
    return _SHORT.get(name, name)
