"""OpenVINO on the CPU: reads its own IR, ONNX and TFLite."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
from lowbit.runtimes._edge import CONVERTED_OUTSIDE, dequantize, is_channels_last, quantize
from lowbit.runtimes._openvino_profile import timed_runs

INFO = RuntimeInfo(
    name="openvino",
    packages=("openvino",),
    extra="openvino",
    reads=("onnx", "openvino-ir", "tflite"),
    limits={  # the first variable is for oneDNN's kernels, the second for OpenVINO's own
        isa: {"ONEDNN_MAX_CPU_ISA": name, "OV_CPU_MAX_ISA": name}
        for isa, name in {"avx2": "AVX2", "avx512": "AVX512_CORE", "avx512_vnni": "AVX512_CORE_VNNI"}.items()
    },
)

_REFUSED = "OpenVINO cannot load it"
_CONVOLUTIONS = {"Convolution", "GroupConvolution"}
_PRODUCTS = {"FullyConnected", "MatMul", "Gemm"}
_SHORT = {"i8": "s8", "i16": "s16", "i32": "s32"}  # the words that the other runtimes' rows use
_UNSEEN = {"Const", "Constant", "Input", "Parameter", "Output", "Result"}  # data, not operators


@dataclass(frozen=True, slots=True)
class _IntegerPort:
    """How integers at the file's input or output relate to real values: real = (integer - zero_point) * scale."""

    dtype: np.dtype[Any]
    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class _Session:
    """batch_size: the compiled batch size; source, target: None where the file's input or output is float.

    options: how the session was opened; recompiled: compiles the same model again, with further properties.
    """

    options: SessionOptions
    compiled: Any
    recompiled: Callable[[dict[str, object]], Any]
    request: Any
    batch_size: int
    channels_last: bool
    source: _IntegerPort | None
    target: _IntegerPort | None

    def predict(self, images: Floats) -> Floats:
        """Scores of images. Missing images are filled up with the last one, and their scores are dropped."""
        count = len(images)
        if count < self.batch_size:
            images = np.concatenate([images, np.repeat(images[-1:], self.batch_size - count, axis=0)])
        self.request.infer([self._input(images)], share_inputs=True)
        y = self.request.get_output_tensor(0).data[:count]
        if self.target:
            return dequantize(y, self.target.scale, self.target.zero_point)
        scores: Floats = np.array(y, np.float32)  # a copy: OpenVINO's own memory is overwritten by the next call
        return scores.reshape(count, -1)

    def executed_precision(self) -> list[OpPrecision]:
        """Operators of the compiled graph, whose shapes are all known since its batch size is fixed."""
        return [described for _, described in self._operators(self.compiled)]

    def profile(self, images: Floats, runs: int) -> TimedRuns:
        """Operators of the same model, compiled again with performance counters."""
        x = self._input(images)
        found = timed_runs(
            compiled=lambda: self.recompiled({"PERF_COUNT": True}),
            empty=_one_convolution(self.options),
            run=lambda request: request.infer([x], share_inputs=True),
            runs=runs,
            operators_of=self._operators,
        )
        return replace(found, notes=(CONVERTED_OUTSIDE,)) if self.source or self.target else found

    def _input(self, images: Floats) -> npt.NDArray[Any]:
        """`images` in the layout and type of the model's input."""
        x: npt.NDArray[Any] = images.transpose(0, 2, 3, 1) if self.channels_last else images
        if self.source:
            x = quantize(x, self.source.scale, self.source.zero_point, self.source.dtype)
        return np.ascontiguousarray(x)

    def _operators(self, compiled: Any) -> list[tuple[Any, OpPrecision]]:
        """The operators of a compiled model's graph beside what each is."""
        operators = compiled.get_runtime_model().get_ordered_ops()
        return [(op, _operator(op, self.batch_size)) for op in operators if _fact(op, "layerType") not in _UNSEEN]


@contextmanager
def open_session(artifact: Artifact, options: SessionOptions) -> Iterator[_Session]:
    """Compile the file for `options.batch_size` images; raises UnsupportedError with OpenVINO's own words."""
    import openvino as ov

    core = ov.Core()
    precision = artifact.runtime_options.get("precision", "f32")
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise UnsupportedError(
            "this CPU, or the instruction set that it is limited to, has no bfloat16 arithmetic, and OpenVINO would "
            "run the model in f32 unasked",
            "measure bf16 on a CPU with AVX-512 BF16 or AMX",
        )
    with vendor_call(_REFUSED, artifact.path):
        model = core.read_model(artifact.path)
    channels_last, source, target = _channels_last(model, artifact), _input_grid(model), _output_grid(model)
    batch_size = artifact.batch_size or options.batch_size
    channels, height, width = artifact.input_shape
    shape = [batch_size, *((height, width, channels) if channels_last else artifact.input_shape)]

    def compiled_with(more: dict[str, object]) -> Any:
        return core.compile_model(model, "CPU", _properties(options, precision) | more)

    with vendor_call(_REFUSED, artifact.path):
        if model.is_dynamic():
            model.reshape(shape)
        compiled = compiled_with({})
        request = compiled.create_infer_request()
    yield _Session(options, compiled, compiled_with, request, batch_size, channels_last, source, target)


def open_codes(path: Path, ports: CodePorts, options: SessionOptions) -> RunCodes:  # noqa: ARG001
    """The file of one part. It holds the engine's own codes, so that zero points need not be known."""
    import openvino as ov

    core = ov.Core()

    def run(codes: Sequence[Codes]) -> Codes:
        with vendor_call(_REFUSED, path):
            model = core.read_model(path)
        given = model.get_parameters()
        shapes = {value.output(0): list(array.shape) for value, array in zip(given, codes, strict=True)}
        with vendor_call(_REFUSED, path):
            model.reshape(shapes)
        for value, array in zip(given, codes, strict=True):
            if array.dtype.kind in "iu":
                _quantized_input(model, value, array)
        properties, floats = _properties(options, "f32"), [array.astype(np.float32) for array in codes]
        with vendor_call("OpenVINO cannot run it", path):
            request = core.compile_model(model, "CPU", properties).create_infer_request()
            request.infer(floats)
        result: Codes = np.array(request.get_output_tensor(0).data)
        return result

    return run


def _quantized_input(model: Any, given: Any, codes: Codes) -> None:
    """Put a FakeQuantize before the integer input `given`, as there is one before every layer of a whole file.

    In a graph without any FakeQuantize, OpenVINO assumes a layer with compressed weights, and quantizes its input a
    second time, dynamically.
    """
    from openvino import opset13

    limits = np.iinfo(codes.dtype)
    ends = [np.float32(limits.min), np.float32(limits.max)] * 2
    floats = opset13.parameter(list(codes.shape), np.float32)
    quantizer = opset13.fake_quantize(floats, *ends, levels=limits.max - limits.min + 1)
    given.output(0).replace(opset13.convert(quantizer, given.get_element_type()).output(0))
    model.add_parameters([floats])
    model.remove_parameter(given)


def warm_up(options: SessionOptions) -> None:
    """Run one convolution."""
    _one_convolution(options)()


def _one_convolution(options: SessionOptions) -> Callable[[], None]:
    """Compile one small convolution: a function that runs it."""
    import openvino as ov
    from openvino import opset13

    shape = [1, 8, 8, 8]
    x = opset13.parameter(shape, np.float32)
    y = opset13.convolution(x, opset13.constant(np.ones((8, 8, 1, 1), np.float32)), [1, 1], [0, 0], [0, 0], [1, 1])
    compiled = ov.Core().compile_model(ov.Model([y], [x], "one operator"), "CPU", _properties(options, "f32"))
    request, ones = compiled.create_infer_request(), np.ones(shape, np.float32)
    return lambda: request.infer([ones], share_inputs=True)


def _properties(options: SessionOptions, precision: str) -> dict[str, object]:
    """The options that are set explicitly. By default OpenVINO runs f32 models in bf16 where the CPU can."""
    return {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": options.threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }


def _channels_last(model: Any, artifact: Artifact) -> bool:
    sizes = tuple(size.get_length() if size.is_static else -1 for size in model.input(0).get_partial_shape())
    return is_channels_last(sizes, artifact.input_shape)


_MOVES = ("Reshape", "Squeeze", "Transpose", "Unsqueeze")  # the numbers are the same behind them


def _input_grid(model: Any) -> _IntegerPort | None:
    """Scale and zero point of an integer input, read as Parameter → Convert → FakeQuantize, moves between them.

    The FakeQuantize maps integers (inputs 1, 2: lowest, highest) to real values (inputs 3, 4).
    """
    port = model.input(0)
    if port.get_element_type().is_real():
        return None
    node = port.get_node()
    while node.get_type_name() in ("Parameter", "Convert", *_MOVES):
        node = next(iter(node.output(0).get_target_inputs())).get_node()
    return _grid(port, node, integers=(1, 2), reals=(3, 4))


def _output_grid(model: Any) -> _IntegerPort | None:
    """Scale and zero point of an integer output, written as FakeQuantize → Convert → Result, moves between them."""
    port = model.output(0)
    if port.get_element_type().is_real():
        return None
    node = port.get_node()
    while node.get_type_name() in ("Result", "Convert", *_MOVES):
        node = node.input_value(0).get_node()
    return _grid(port, node, integers=(3, 4), reals=(1, 2))


def _grid(port: Any, node: Any, integers: tuple[int, int], reals: tuple[int, int]) -> _IntegerPort:
    unknown = UnsupportedError(f"the file works on {port.get_element_type().get_type_name()} and tells no scale for it")
    if node.get_type_name() != "FakeQuantize":
        raise unknown
    low, high, real_low, real_high = (
        float(node.input_value(place).get_node().get_data().item()) for place in (*integers, *reals)
    )
    if not (low.is_integer() and high.is_integer() and high - low > 1):  # another quantizer, of real values
        raise unknown
    scale = (real_high - real_low) / (high - low)
    return _IntegerPort(np.dtype(port.get_element_type().to_dtype()), scale, round(low - real_low / scale))


def _fact(op: Any, key: str) -> str:
    facts = op.get_rt_info()
    return str(facts[key].astype(str)) if key in facts else ""


def _operator(op: Any, batch: int) -> OpPrecision:
    """Read an executed operator. Its primitive's name ends in _I8 or _i8 where it read u8 or s8 and computed on them.

    `runtimePrecision` does not tell: it says i8 for integer weights that are multiplied as floats.
    """
    op_type, primitive = _fact(op, "layerType"), _fact(op, "primitiveType")
    integer = primitive.endswith(("_I8", "_i8"))
    kinds = [_SHORT.get(kind, kind) for port in op.inputs()[:2] if (kind := port.get_element_type().get_type_name())]
    macs = _macs(op, op_type) // batch
    computed = primitive.rpartition("_")[2].lower()
    return OpPrecision(
        name=op.get_friendly_name(),
        op_type=op_type,
        precision="".join(kinds) if integer and macs else computed,
        integer=integer,
        macs=macs,
        reason="" if integer else _why_float(primitive, computed, kinds, bool(macs)),
        fused=tuple(name for name in _fact(op, "originalLayersNames").split(",") if name),
        kernel=primitive,
    )


def _why_float(primitive: str, computed: str, kinds: list[str], multiplies: bool) -> str:
    """`kinds`: the types of the first two inputs."""
    if multiplies:
        return f"runs as {primitive} on {kinds[0]} activations and {kinds[1]} weights"
    return f"computes in {computed}" if kinds and kinds[0][0] in "su" else "its values are float"


def _macs(op: Any, op_type: str) -> int:
    """Multiply-accumulates; grouped weights are [G, O / G, I / G, …], whose product is the same."""
    shapes: list[tuple[int, ...]] = [tuple(port.get_shape()) for port in op.inputs()]
    out: tuple[int, ...] = tuple(op.output(0).get_shape())
    if op_type in _CONVOLUTIONS:
        return out[0] * prod(shapes[1]) * prod(out[2:])
    if op_type == "Deconvolution":
        return shapes[0][0] * prod(shapes[1]) * prod(shapes[0][2:])
    if op_type in _PRODUCTS:  # [..., M, K], or transposed [..., K, M]
        return prod(out) * (shapes[0][-1] if len(out) < 2 else prod(shapes[0][-2:]) // out[-2])
    return 0
