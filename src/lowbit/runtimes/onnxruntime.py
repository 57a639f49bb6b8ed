"""ONNX Runtime on the CPU: reads ONNX files."""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lowbit.core.adapter import CodePorts, Codes, Floats, OpPrecision, RunCodes, RuntimeInfo, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.errors import UnsupportedError
from lowbit.core.profile import TimedRuns
from lowbit.core.refusal import vendor_call
from lowbit.runtimes._edge import is_channels_last
from lowbit.runtimes._onnxruntime_cost import cost
from lowbit.runtimes._onnxruntime_profile import KERNEL_TIME, timed_runs

INFO = RuntimeInfo(name="onnxruntime", packages=("onnxruntime",), extra=None, reads=("onnx",))

# An ONNX file: a 1 x 1 convolution of x [1, 8, 8, 8] to y, each of its 64 weights 1.0 (opset 17, IR version 8). It was
# made with onnx.helper, as the test of it does; here it is bytes, since importing onnx would count as the runtime's.
_ONE_CONVOLUTION = (
    b'\x08\x08:\xec\x02\n\x0f\n\x01x\n\x01w\x12\x01y"\x04Conv\x12\x0cone operator'
    b"*\x90\x02\x08\x08\x08\x08\x08\x01\x08\x01\x10\x01B\x01wJ\x80\x02" + b"\x00\x00\x80?" * 64 + b"Z\x1b\n\x01x"
    b"\x12\x16\n\x14\x08\x01\x12\x10\n\x02\x08\x01\n\x02\x08\x08\n\x02\x08\x08\n\x02\x08\x08b\x1b\n\x01y"
    b"\x12\x16\n\x14\x08\x01\x12\x10\n\x02\x08\x01\n\x02\x08\x08\n\x02\x08\x08\n\x02\x08\x08B\x04\n\x00\x10\x11"
)
_LOG_ERRORS = 3
_REFUSED = "ONNX Runtime cannot load it"
_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
_PROVIDERS = ["CPUExecutionProvider"]

# Convolutions and matrix products by what their kernels take, and where the two operands stand among the inputs. The
# quantized ones take (x, x_scale, x_zero_point, w, …); DynamicQuantizeMatMul's x is float, and it quantizes it itself.
_OPERANDS = {
    "Conv": (0, 1),
    "FusedConv": (0, 1),
    "ConvTranspose": (0, 1),
    "Gemm": (0, 1),
    "FusedGemm": (0, 1),
    "MatMul": (0, 1),
    "FusedMatMul": (0, 1),
    "ConvInteger": (0, 1),
    "MatMulInteger": (0, 1),
    "MatMulIntegerToFloat": (0, 1),
    "DynamicQuantizeMatMul": (0, 1),
    "QLinearConv": (0, 3),
    "QLinearMatMul": (0, 3),
    "QGemm": (0, 3),
}
_CONVOLUTIONS = {"Conv", "FusedConv", "ConvInteger", "QLinearConv"}
_VALUES = {"QLinearConcat": 2}  # which input holds an operator's values, where it is not the first
_HYBRID = {"DynamicQuantizeMatMul"}
_INTEGER = {"ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "QLinearConv", "QLinearMatMul", "QGemm"} | _HYBRID
_SHORT = {
    "float": "f32", "float16": "f16", "double": "f64", "uint8": "u8", "int8": "s8", "uint16": "u16", "int16": "s16",
    "int32": "s32", "int64": "s64", "bool": "bool",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Session:
    artifact: Artifact
    options: SessionOptions
    session: Any
    input_name: str
    output_name: str
    dtype: npt.DTypeLike
    channels_last: bool

    def predict(self, images: Floats) -> Floats:
        scores = self.session.run([self.output_name], {self.input_name: self._input(images)})[0]
        return np.asarray(scores, np.float32).reshape(len(images), -1)

    def _input(self, images: Floats) -> npt.NDArray[np.floating]:
        """The images in the layout and type of float that the file takes."""
        x = images.transpose(0, 2, 3, 1) if self.channels_last else images
        return np.ascontiguousarray(x, dtype=self.dtype)

    def executed_precision(self) -> list[OpPrecision]:
        """Operators of one profiled run on one batch, after every fusion.

        The profiled session stops before the last step of optimization, which only changes layouts: it would pad the
        channels of float convolutions to blocks and count more than the model has. Weights are not prepacked there,
        since the profile names the shapes of those inputs only that are still tensors.
        """
        return [operator for operator, _ in self._extended()]

    def profile(self, images: Floats, runs: int) -> TimedRuns:
        """Operators of a second session that is optimized in full, as the timed one is, with profiling switched on."""

        def opened(more: Callable[[Any], None]) -> Any:
            import onnxruntime as ort

            options = _session_options(self.options)
            more(options)
            return ort.InferenceSession(str(self.artifact.path), options, providers=_PROVIDERS)

        def run(session: Any) -> None:
            session.run([self.output_name], {self.input_name: np.ascontiguousarray(images)})

        def described(name: str, arguments: dict[str, Any]) -> OpPrecision:
            return _operator(name, arguments, "", len(images))

        def unoptimized(model: bytes, place: str | None) -> Any:
            import onnxruntime as ort

            options = _session_options(self.options)
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.enable_profiling = place is not None
            options.profile_file_prefix = place or ""
            return ort.InferenceSession(model, options, providers=_PROVIDERS)

        return timed_runs(opened, run, runs, self._extended(), described, cost(unoptimized))

    def _extended(self) -> list[tuple[OpPrecision, tuple[str, ...]]]:
        """The operators that `executed_precision` lists, each with the names of its outputs."""
        import onnx
        import onnxruntime as ort

        with tempfile.TemporaryDirectory(prefix="lowbit-") as folder:
            options = _session_options(self.options)
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
            options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            options.add_session_config_entry("session.disable_prepacking", "1")
            session = ort.InferenceSession(str(self.artifact.path), options, providers=_PROVIDERS)
            count = self.artifact.batch_size or self.options.batch_size
            image = np.random.default_rng(0).random((count, *self.artifact.input_shape), dtype=np.float32)
            session.run([self.output_name], {self.input_name: self._input(image)})
            events = json.loads(Path(session.end_profiling()).read_text())
            graph = onnx.load(options.optimized_model_filepath, load_external_data=False).graph  # weights lie elsewhere
        feeders, outputs = _feeders(graph), {node.name: tuple(node.output) for node in graph.node}
        runs = {
            event["name"].removesuffix(KERNEL_TIME): event["args"]
            for event in events
            if event["cat"] == "Node" and event["name"].endswith(KERNEL_TIME)
        }
        return [
            (_operator(name, run, feeders.get(name, ""), count), outputs.get(name, ())) for name, run in runs.items()
        ]


@contextmanager
def open_session(artifact: Artifact, options: SessionOptions) -> Iterator[_Session]:
    """Load the file.

    Raises UnsupportedError with ONNX Runtime's own words where it refuses, and where input or output are integers.
    """
    import onnxruntime as ort

    how = _session_options(options)
    with vendor_call(_REFUSED, artifact.path):
        session = ort.InferenceSession(str(artifact.path), how, providers=_PROVIDERS)
    source, target = session.get_inputs()[0], session.get_outputs()[0]
    for what, port in (("input", source), ("output", target)):
        if port.type not in _FLOATS:
            raise UnsupportedError(
                f"the file's {what} {port.name} is {port.type}: nobody says how real values become that",
                f"give a file whose {what} is float",
            )
    last = is_channels_last(tuple(source.shape), artifact.input_shape)
    yield _Session(artifact, options, session, source.name, target.name, _FLOATS[source.type], last)


def open_codes(path: Path, ports: CodePorts, options: SessionOptions) -> RunCodes:  # noqa: ARG001
    """The file of one part. It holds the engine's own codes, so that zero points need not be known."""
    import onnxruntime as ort

    settings = _session_options(options)
    with vendor_call(_REFUSED, path):
        session = ort.InferenceSession(str(path), settings, providers=_PROVIDERS)
    names = [value.name for value in session.get_inputs()]

    def run(codes: Sequence[Codes]) -> Codes:
        feeds = dict(zip(names, codes, strict=True))
        with vendor_call("ONNX Runtime cannot run it", path):
            return np.asarray(session.run(None, feeds)[0])

    return run


def warm_up(options: SessionOptions) -> None:
    """Run one convolution."""
    import onnxruntime as ort

    session = ort.InferenceSession(_ONE_CONVOLUTION, _session_options(options), providers=_PROVIDERS)
    session.run(None, {"x": np.ones((1, 8, 8, 8), np.float32)})


def _session_options(options: SessionOptions) -> Any:
    import onnxruntime as ort

    made = ort.SessionOptions()
    made.intra_op_num_threads = options.threads
    made.inter_op_num_threads = 1
    made.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    made.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    made.use_deterministic_compute = True
    made.log_severity_level = _LOG_ERRORS
    return made


def _feeders(graph: Any) -> dict[str, str]:
    """Node name → the operator that makes its first input, or "the model's input"."""
    makers = {output: node.op_type for node in graph.node for output in node.output}
    return {node.name: makers.get(node.input[0], "the model's input") for node in graph.node if node.input}


def _operator(name: str, run: dict[str, Any], feeder: str, batch: int) -> OpPrecision:
    """What one entry of the profile says: `run` lists input and output types and shapes as [{type: shape}, …]."""
    op_type = run["op_name"]
    inputs = [next(iter(entry.items())) for entry in run["input_type_shape"]]
    kinds = [_SHORT.get(kind, kind) for kind, _ in inputs]
    if op_type not in _OPERANDS:
        kind = kinds[_VALUES.get(op_type, 0)] if kinds else "none"
        integer = kind in ("u8", "s8")
        return OpPrecision(name, op_type, kind, integer, reason="" if integer else _why_not_8_bits(kind))
    left, right = _OPERANDS[op_type]
    out_shape = next(iter(run["output_type_shape"][0].values()))
    integer = op_type in _INTEGER
    return OpPrecision(
        name=name,
        op_type=op_type,
        precision=kinds[left] if kinds[left] == kinds[right] == "f32" else kinds[left] + kinds[right],
        integer=integer,
        macs=_macs(op_type, inputs[left][1], inputs[right][1], out_shape) // batch,
        hybrid=op_type in _HYBRID,
        reason="" if integer else _why_float(kinds[left], feeder),
    )


def _why_not_8_bits(kind: str) -> str:
    return "its values are float" if kind.startswith("f") else f"its values are {kind}, not 8-bit integers"


def _why_float(kind: str, feeder: str) -> str:
    if feeder == "DequantizeLinear":
        return f"its inputs are dequantized first: no integer kernel takes their types, and it runs on {kind}"
    return f"runs on {kind} inputs" + (f" from {feeder}" if feeder else "")


def _macs(op_type: str, x: list[int], w: list[int], out: list[int]) -> int:
    """Multiply-accumulates: x [N, I, …], w [O, I / groups, …] or [.., K, N], out [N, O, …]."""
    if op_type in _CONVOLUTIONS:
        return out[0] * prod(w) * prod(out[2:])
    if op_type == "ConvTranspose":
        return x[0] * prod(w) * prod(x[2:])
    return prod(out) * prod(w) // (out[-1] * prod(w[:-2]))
