"""Our own engine: any width from 8 to 2 bits, as ONNX, OpenVINO IR or LiteRT files.

Recipes are named wNaM, weights of N bits and activations of M, with `-ir` or `-tflite` behind for the other formats.
"""

import fnmatch
import logging
import re
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from lowbit.core.adapter import BuildRequest, Built, ToolchainInfo
from lowbit.core.codec import save_json
from lowbit.core.errors import BadInput, UnsupportedError
from lowbit.core.model import FloatModel
from lowbit.core.recipe import Recipe
from lowbit.data.cache import batches
from lowbit.measure.imports import ImportTimer
from lowbit.toolchains._edge import metadata

if TYPE_CHECKING:
    import onnx_ir as ir

    from lowbit.quant.model import QuantizedModel
    from lowbit.quant.plan.plan import QuantPlan

_WEIGHTS = (8, 7, 6, 5, 4, 3, 2)
_ACTIVATIONS = (8, 7, 6, 5, 4, 3, 2, 16)
_FORMATS = {"": "onnx", "-ir": "openvino-ir", "-tflite": "tflite"}
_MADE_FOR = {"onnx": ("onnxruntime", "openvino"), "openvino-ir": ("openvino",), "tflite": ("litert",)}
_USUAL = ("w8a8", "w4a8", "w4a4", "w8a8-tflite")

PLAN = "plan.json"
PROGRESS = re.compile(r"layer (\d+) of (\d+) (\S+)$", re.MULTILINE)  # the layer at work, of how many, its name
ROUNDED = "rounded"  # stands for a name when all layers are done


def _recipe(weights: int, activations: int, ending: str) -> Recipe:
    name = f"w{weights}a{activations}{ending}"
    made = _FORMATS[ending]
    note = ""
    if activations == 16:
        note = "ONNX Runtime and OpenVINO have no 16-bit integer kernels on CPUs: they compute in fp32"
    elif made == "tflite" and weights in (5, 6, 7):
        note = "LiteRT has no packed storage between 4 and 8 bits: weights take a byte each"
    return Recipe(
        name, weights, activations, "integer",
        note=note, made_for=_MADE_FOR[made], makes=made, on_request=name not in _USUAL,
        series=f"wNa{activations}{ending}",
    )  # fmt: skip


INFO = ToolchainInfo(
    name="lowbit",
    packages=("lowbit", "torch", "onnx", "onnx-ir"),
    extra="torch",
    makes="onnx",
    made_for=("onnxruntime", "openvino"),
    recipes=tuple(_recipe(w, a, ending) for ending in _FORMATS for w in _WEIGHTS for a in _ACTIVATIONS),
    families=tuple(f"wNaM{ending}" for ending in _FORMATS),
)


def build(request: BuildRequest) -> Built:
    """Write `model.onnx`, `model.xml` and `.bin`, or `model.tflite`; and beside it the plan that was carried out.

    Recipe options: `plan`, a plan's file; or fields of `quant.scheme.Scheme` that differ from its defaults.
    """
    graph, plan = plan_of(request.model, request.recipe)  # before torch is: what does not fit is told at once
    import torch

    from lowbit.quant import engine
    from lowbit.quant.plan import files
    from lowbit.quant.ranges.observe import Images

    torch.set_num_threads(request.threads)
    images = Images(len(request.calibration), lambda size: batches(request.calibration, request.preprocess, size))
    request.cache.mkdir(exist_ok=True, parents=True)
    start = perf_counter()
    with ImportTimer() as imports:
        quantized = engine.quantize(graph, plan, images, seed=request.seed, scratch=request.cache, progress=_log)
    calibration_s = perf_counter() - start - imports.seconds
    main, notes = _export(quantized, request)
    save_json(request.out / PLAN, quantized.plan)
    return Built(
        main,
        calibration_s=calibration_s,
        notes=(*files.notes_of(quantized.plan), *notes),
        beside=(request.out / PLAN,),
        quantized=quantized,
    )


def plan_of(model: FloatModel, recipe: Recipe) -> tuple["ir.Model", "QuantPlan"]:
    """The graph as the engine sees it, and what `recipe` makes of it; nothing is measured yet.

    Raises BadInput for options or a plan that do not fit, and for an override that matches no layer.
    """
    from lowbit.quant.plan import files
    from lowbit.quant.prepare import prepare

    graph = prepare(model.path)
    plan = files.plan_for(graph, model.digest, recipe.name, recipe.options)
    names = [layer.node for layer in plan.layers]
    for override in recipe.options.get("overrides", ()):
        pattern = override["pattern"]
        if not fnmatch.filter(names, pattern):
            raise BadInput(f"--layer {pattern!r}: no layer is called like that; there are {', '.join(names)}")
    return graph, plan


def _export(model: "QuantizedModel", request: BuildRequest) -> tuple[Path, tuple[str, ...]]:
    made, about = INFO.format_of(request.recipe), metadata(request.preprocess)
    if made == "openvino-ir":
        _need("openvino", "openvino", request.recipe.name)
        from lowbit.formats.openvino.write import export_openvino

        export_openvino(model, request.out / "model.xml", metadata=about)
        return request.out / "model.xml", ()
    if made == "tflite":
        _need("litert_torch", "litert", request.recipe.name)
        from lowbit.formats.litert.write import export_litert

        path = request.out / "model.tflite"
        return path, export_litert(model, path, batch_size=request.batch_size, metadata=about)
    from lowbit.formats.onnx.write import export_onnx

    export_onnx(model, request.out / "model.onnx", metadata=about)
    return request.out / "model.onnx", ()


def _log(done: int, total: int, name: str) -> None:
    """What `PROGRESS` finds in a log."""
    logging.getLogger(__name__).info("layer %d of %d %s", min(done + 1, total), total, name or ROUNDED)


def _need(module: str, extra: str, recipe: str) -> None:
    """The engine itself needs torch only; a format's writer is another extra."""
    if find_spec(module) is None:
        raise UnsupportedError(f"{recipe} needs {module}, which is not installed", f"pip install 'lowbit[{extra}]'")
