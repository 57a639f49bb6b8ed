"""The LiteRT toolchain: float ONNX → torch modules → `.tflite` (litert-torch), quantized by ai-edge-quantizer."""

import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from lowbit.core.adapter import BuildRequest, Built, ToolchainInfo
from lowbit.core.digest import of_value
from lowbit.core.discover import versions
from lowbit.core.files import aside
from lowbit.core.recipe import Recipe
from lowbit.core.refusal import vendor_call
from lowbit.formats.litert.metadata import with_metadata
from lowbit.toolchains._edge import Calibration, metadata

INFO = ToolchainInfo(
    name="litert",
    packages=("ai-edge-litert", "ai-edge-quantizer", "litert-torch", "jax", "torch", "onnx-ir", "numpy"),
    extra="litert",
    makes="tflite",
    made_for=("litert",),
    recipes=(
        Recipe("fp32", 32, 32, "float"),
        Recipe(
            "fp16",
            16,
            32,
            "float",
            {"add": "weight_only", "num_bits": 16, "algorithm_key": "float_casting"},
            note="storage only: on a CPU LiteRT casts the weights back to fp32 and computes in fp32",
        ),
        Recipe("int8-dynamic", 8, 8, "dynamic", {"add": "dynamic", "num_bits": 8}),
        Recipe("int8-static", 8, 8, "integer", {"add": "static", "activation_num_bits": 8, "weight_num_bits": 8}),
        Recipe(
            "int16x8",
            8,
            16,
            "integer",
            {"add": "static", "activation_num_bits": 16, "weight_num_bits": 8},
            note="XNNPACK has no 16-bit integer kernels: LiteRT's own ones are many times slower",
            slow_in=("litert",),
        ),
        Recipe("int8-weight-only", 8, 32, "weight-only", {"add": "weight_only", "num_bits": 8}),
    ),
    refuses={
        "bf16": "ai-edge-quantizer has no bfloat16, and LiteRT's CPU kernels compute float in 32 bits",
        "int8-mixed": "int8-static is that already: symmetric weights, asymmetric activations",
    },
)

_ERRORS = (RuntimeError, ValueError)  # what the vendors' packages raise where they refuse a model


_MOVES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "GATHER", "MINIMUM", "MAXIMUM")


def build(request: BuildRequest) -> Built:
    """Convert once per batch size, then quantize. Raises UnsupportedError in the vendor's words if a step refuses."""
    import torch

    torch.set_num_threads(request.threads)
    calibration = Calibration(request, 1)
    content = _floats(request, request.batch_size)
    if request.recipe.options:
        content = _quantize(content, request, calibration)
    main = request.out / "model.tflite"
    main.write_bytes(with_metadata(content, metadata(request.preprocess)))
    return Built(main=main, calibration_s=calibration.seconds or None)


def _floats(request: BuildRequest, batch_size: int) -> bytes:
    """The float graph as a .tflite file with a fixed batch size, converted once per study. Its input stays NCHW.

    The file's name contains the vendors' versions, so that a file that an older converter made is not reused.
    """
    path = request.cache / f"{request.model.digest}-{of_value(versions(INFO.packages))}-b{batch_size}.tflite"
    if not path.exists():
        with aside(path) as temporary:
            _convert(request, batch_size, temporary)
    return path.read_bytes()


def _convert(request: BuildRequest, batch_size: int, path: Path) -> None:
    import litert_torch
    import torch

    from lowbit.torchgraph.importer import import_graph

    module = import_graph(request.model.path)
    example = torch.zeros(batch_size, *request.model.input_shape)
    with vendor_call("litert-torch cannot convert the model", request.model.path, errors=_ERRORS):
        litert_torch.convert(module, (example,)).export(str(path))


def _quantize(content: bytes, request: BuildRequest, calibration: Calibration) -> bytes:
    """Quantize a float .tflite file as the recipe's options say; what needs ranges is calibrated first.

    A SOFTMAX or LOGISTIC that ends the graph stays in float: 8 bits of a probability know nothing between 0 and 1/256.
    """
    from ai_edge_quantizer import quantizer, recipe_manager
    from ai_edge_quantizer.qtyping import TFLOperationName

    options = dict(request.recipe.options)
    recipe = recipe_manager.RecipeManager()
    add = {
        "dynamic": recipe.add_dynamic_config,
        "static": recipe.add_static_config,
        "weight_only": recipe.add_weight_only_config,
    }[options.pop("add")]
    with _refused(request):
        add(regex=".*", operation_name=TFLOperationName.ALL_SUPPORTED, **options)
        for name in _closing_tensors(content):
            recipe.add_quantization_config(
                f"^{re.escape(name)};$", TFLOperationName.ALL_SUPPORTED, algorithm_key="no_quantize"
            )
        vendor = quantizer.Quantizer(content, recipe.get_quantization_recipe())
    ranges = _ranges(recipe, request, calibration) if vendor.need_calibration else None
    with _refused(request):
        result = vendor.quantize(ranges, enable_progress_report=False)
    return bytes(result.quantized_model)


def _closing_tensors(content: bytes) -> list[str]:
    """Names of the results of the SOFTMAX or LOGISTIC that makes the scores, and of what only moves them after it.

    Empty for logits. The vendor identifies operators by the names of their results.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    graph = model.subgraphs[0]
    makers = {int(operator.outputs[0]): operator for operator in graph.operators}
    operator, names = makers.get(int(graph.outputs[0])), []
    while operator is not None:
        kind = flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex)
        names.append(graph.tensors[operator.outputs[0]].name.decode())
        if kind in ("SOFTMAX", "LOGISTIC"):
            return names
        operator = makers.get(int(operator.inputs[0])) if kind in _MOVES else None
    return []


def _refused(request: BuildRequest) -> AbstractContextManager[None]:
    """Turn what a call of ai-edge-quantizer raises into a refusal, with the vendor's words."""
    return vendor_call("ai-edge-quantizer cannot quantize the model", request.model.path, errors=_ERRORS)


def _ranges(recipe: Any, request: BuildRequest, calibration: Calibration) -> Any:
    """Tensor name → the smallest and the largest value over all images.

    Min-max, as in the other toolchains: the vendor's default is a moving average over the images, which depends on
    their order and forgets early ones. Images run one by one through the file with batch size 1, whose tensors have the
    same names, so the ranges do not depend on the batch size that is timed. `Quantizer.calibrate` would copy all data
    into a list first; its `Calibrator` keeps its state between calls, so memory does not grow.
    """
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import calibrator
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    content = _floats(request, 1)
    ((signature, names),) = Interpreter(model_content=content).get_signature_list().items()
    (name,) = names["inputs"]
    with _refused(request):
        observer = calibrator.Calibrator(content, num_threads=request.threads, qsv_update_func=min_max_update)
    for image in calibration:
        with _refused(request):
            observer.calibrate({signature: [{name: image}]}, recipe)
    return observer.get_model_qsvs()
