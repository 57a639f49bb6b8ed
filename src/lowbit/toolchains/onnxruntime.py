"""ONNX Runtime's own quantization tools: ONNX files."""

import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from lowbit.core.adapter import BuildRequest, Built, Floats, ToolchainInfo
from lowbit.core.files import TEMPORARY
from lowbit.core.recipe import Recipe
from lowbit.core.refusal import vendor_call
from lowbit.graph.nested import with_nested
from lowbit.measure.host import facts, int8_sums_saturate
from lowbit.toolchains._edge import Calibration, metadata

INFO = ToolchainInfo(
    name="onnxruntime",
    packages=("onnxruntime", "onnx", "numpy"),
    extra=None,
    makes="onnx",
    made_for=("onnxruntime", "openvino"),
    recipes=(
        Recipe("fp32", 32, 32, "float"),
        Recipe(
            "fp16",
            16,
            32,
            "float",
            note="storage only: on a CPU ONNX Runtime casts fp16 back to fp32 and computes in fp32",
            made_for=("onnxruntime",),
        ),
        Recipe(
            "int8-dynamic",
            8,
            8,
            "dynamic",
            options={"weight_type": "QUInt8"},  # with QInt8 weights, convolutions land in a kernel many times slower
            note="ranges are taken over the whole batch, so scores depend on its size; one scale for a whole weight",
            made_for=("onnxruntime",),
        ),
        Recipe("int8-static", 8, 8, "integer", options={"activation_type": "QUInt8", "weight_type": "QInt8"}),
        Recipe(
            "int16x8",
            8,
            16,
            "integer",
            options={"activation_type": "QInt16", "weight_type": "QInt8"},
            note="ONNX Runtime has no 16-bit integer kernels on CPUs: it rounds to 16 bits and computes in fp32",
            made_for=("onnxruntime",),
        ),
    ),
    refuses={
        "bf16": "ONNX Runtime has no bfloat16 kernels for convolutions on CPUs",
        "int8-mixed": "int8-static is that already: symmetric weights, asymmetric activations",
        "int8-weight-only": "ONNX Runtime's tool for it (MatMulNBits) takes matrix products only, no convolutions",
    },
)

_CALIBRATION_BATCH = 1  # image: the tool reads every tensor twice more, which is faster while it lies in the cache


def build(request: BuildRequest) -> Built:
    """Write `model.onnx`."""
    import onnx

    main = request.out / "model.onnx"
    recipe = request.recipe
    notes: tuple[str, ...] = ()
    calibration = Calibration(request, _CALIBRATION_BATCH)
    if recipe.claim == "float" and recipe.weight_bits == 32:
        model = onnx.load(request.model.path)
    elif recipe.claim == "float":
        model = _half(request)
    else:
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=request.out) as folder:
            prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "quantized.onnx"
            _prepare(request.model.path, prepared)
            if request.recipe.claim == "dynamic":
                _quantize_dynamic(request, prepared, quantized)
            else:
                notes = _quantize_static(request, calibration, prepared, quantized)
            model = onnx.load(quantized)
        _shorten(model)
    onnx.helper.set_model_props(model, metadata(request.preprocess))
    onnx.save(model, main)
    return Built(main, calibration_s=calibration.seconds or None, notes=notes)


def _half(request: BuildRequest) -> Any:
    """The graph with fp16 weights and arithmetic between a float32 input and float32 outputs."""
    import onnx
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = ONNXModel(convert_float_to_float16(onnx.load(request.model.path), keep_io_types=True))
    model.topological_sort()  # the converter appends its casts at the end
    return model.model


def _prepare(path: Path, prepared: Path) -> None:
    """Fold BatchNorm and constants and infer shapes.

    The symbolic step is left out: it needs sympy, and a classifier's shapes are known without it. Shapes that a file
    states for its weights go too: the tool transposes some weights and then trips over their old shapes.
    """
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    model = onnx.load(path)
    weights = {initializer.name for initializer in model.graph.initializer}
    stated = [value for value in model.graph.value_info if value.name not in weights]
    del model.graph.value_info[:]
    model.graph.value_info.extend(stated)
    onnx.save(model, prepared)  # given a model instead of a file, the tool moves its weights out and loses them
    with _refused(path):
        quant_pre_process(str(prepared), str(prepared), skip_symbolic_shape=True)


def _refused(path: Path) -> AbstractContextManager[None]:
    """Turn what a call of ONNX Runtime's quantization tool raises, for the model in `path`, into a refusal."""
    return vendor_call("ONNX Runtime cannot quantize the model", path, errors=(RuntimeError, ValueError))


def _quantize_dynamic(request: BuildRequest, prepared: Path, quantized: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    weight_type = QuantType[request.recipe.options["weight_type"]]
    with _refused(request.model.path):
        quantize_dynamic(prepared, quantized, weight_type=weight_type)


def _quantize_static(
    request: BuildRequest, calibration: Calibration, prepared: Path, quantized: Path
) -> tuple[str, ...]:
    """QDQ with min-max ranges and one scale a channel of a weight; returns notes.

    A Softmax that ends the graph stays in float: 8 bits of a probability know no number between 0 and 1/256.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static

    from lowbit.graph.scores import closing_nodes

    closing = list(closing_nodes(onnx.load(prepared)))
    reduce_range = int8_sums_saturate(facts())
    reader = _Reader(request.model.input_name, calibration)
    types = {name: QuantType[request.recipe.options[name]] for name in ("activation_type", "weight_type")}
    with _refused(request.model.path):
        quantize_static(
            prepared, quantized, reader, per_channel=True, reduce_range=reduce_range, nodes_to_exclude=closing, **types
        )
    return ("7-bit weights (reduce_range): this CPU has no int8 dot product",) if reduce_range else ()


class _Reader:
    """The interface by which ONNX Runtime reads calibration data: `get_next` gives one batch per call, then None."""

    def __init__(self, input_name: str, calibration: Calibration) -> None:
        self._input_name = input_name
        self._batches = iter(calibration)

    def get_next(self) -> dict[str, Floats] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._input_name: np.ascontiguousarray(batch)}


def _shorten(model: Any) -> None:
    """Drop what only costs bytes: tensor names, names of quantizing nodes, exporters' notes, shapes, unused domains.

    Names of all other nodes stay, since a report speaks of them, and so do those of inputs and outputs. Without this,
    a ResNet-20 in int8 is a third larger than its weights. A name is exchanged in every graph of the file alike: the
    branches of If and the bodies of Loop may read values of the graphs around them.
    """
    fixed = {value.name for value in (*model.graph.input, *model.graph.output)} | {""}
    short: dict[str, str] = {name: name for name in fixed}
    names = (name for number in range(10**9) if (name := np.base_repr(number, 36).lower()) not in fixed)

    def renamed(name: str) -> str:
        if name not in short:
            short[name] = next(names)
        return short[name]

    used = {""}
    for graph in with_nested(model.graph):
        for node in graph.node:
            node.input[:] = [renamed(name) for name in node.input]
            node.output[:] = [renamed(name) for name in node.output]
            if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
                node.name = ""
            node.doc_string = ""
            del node.metadata_props[:]
            used.add(node.domain)
        for value in (*graph.initializer, *graph.input, *graph.output):
            value.name = renamed(value.name)
        for sparse in graph.sparse_initializer:
            sparse.values.name = renamed(sparse.values.name)
        del graph.value_info[:]
        del graph.metadata_props[:]
    kept = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
