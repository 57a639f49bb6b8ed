"""Our own engine: any width from 8 to 2 bits, as ONNX, OpenVINO IR or LiteRT files.

Recipes are named wNaM for weights of N bits and activations of M bits; `-ir` or `-tflite` is appended for the other
formats, `-qat` where training follows the closed form.
"""

import fnmatch
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from lowbit.core.adapter import BuildRequest, Built, Floats, ToolchainInfo
from lowbit.core.artifact import PLAN
from lowbit.core.codec import save_json
from lowbit.core.errors import BadInput
from lowbit.core.files import aside
from lowbit.core.format import ONNX, OPENVINO_IR, TFLITE, FileFormat
from lowbit.core.model import FloatModel
from lowbit.core.recipe import Recipe
from lowbit.core.training import Training, TrainingOptions
from lowbit.data.cache import batches
from lowbit.measure.host import facts, int8_sums_saturate
from lowbit.measure.imports import ImportTimer
from lowbit.measure.memory import available_bytes, resident_bytes
from lowbit.toolchains._edge import metadata, right_outputs

if TYPE_CHECKING:
    import onnx_ir as ir

    from lowbit.quant.model import QuantizedModel
    from lowbit.quant.plan.plan import QuantPlan

_WEIGHTS = (8, 7, 6, 5, 4, 3, 2)
_ACTIVATIONS = (8, 7, 6, 5, 4, 3, 2, 16)
_SAFE = 64  # of code − zero_point: 2 · 255 · 64 < 2¹⁵
_WHY = "this CPU has no int8 dot product, and its sums of u8 × s8 products saturate in 16 bits"
_USUAL = ("w8a8", "w4a8", "w4a4", "w8a8-tflite")
_EPOCHS = 3  # of `-qat` recipes, where --epochs does not say otherwise
_TRAINING = tuple(field.name for field in fields(TrainingOptions) if field.name != "epochs")


@dataclass(frozen=True, slots=True)
class Target:
    """A format that the engine writes.

    - format: the file format
    - ending: appended to the recipes' names
    - made_for: the runtimes that its files are meant for
    - packages: PyPI names that its writer needs in addition to the engine's
    - extra: the pip extra of lowbit that installs them
    """

    format: FileFormat
    ending: str
    made_for: tuple[str, ...]
    packages: tuple[str, ...] = ()
    extra: str | None = None


TARGETS = (
    Target(ONNX, "", ("onnxruntime", "openvino")),
    Target(OPENVINO_IR, "-ir", ("openvino",), ("openvino",), "openvino"),
    Target(TFLITE, "-tflite", ("litert",), ("ai-edge-litert", "litert-torch", "jax"), "litert"),
)


def recipe_name(weights: int, activations: int, target: Target) -> str:
    """The recipe's name, such as w4a8-ir."""
    return f"w{weights}a{activations}{target.ending}"


def _recipe(weights: int, activations: int, target: Target) -> Recipe:
    name = recipe_name(weights, activations, target)
    note = ""
    if activations == 16:
        note = "ONNX Runtime and OpenVINO have no 16-bit integer kernels on CPUs: they compute in fp32"
    elif target.format is TFLITE and weights in (5, 6, 7):
        note = "LiteRT has no packed storage between 4 and 8 bits: weights take a byte each"
    return Recipe(
        name, weights, activations, "integer",
        note=note, made_for=target.made_for, makes=target.format.name, on_request=name not in _USUAL,
        series=f"wNa{activations}{target.ending}", packages=target.packages, extra=target.extra,
    )  # fmt: skip


def _trained_recipe(recipe: Recipe) -> Recipe:
    """The same widths, trained on from the closed form."""
    return replace(
        recipe,
        name=f"{recipe.name}-qat",
        on_request=True,
        series=f"{recipe.series}-qat",
        epochs=_EPOCHS,
        control=recipe.name,
    )


_CLOSED_FORM = tuple(_recipe(w, a, target) for target in TARGETS for w in _WEIGHTS for a in _ACTIVATIONS)

INFO = ToolchainInfo(
    name="lowbit",
    packages=("torch", "numpy", "onnx", "onnx-ir"),
    extra="torch",
    makes="onnx",
    made_for=("onnxruntime", "openvino"),
    recipes=tuple(each for recipe in _CLOSED_FORM for each in (recipe, _trained_recipe(recipe))),
    families=tuple(f"wNaM{target.ending}{qat}" for target in TARGETS for qat in ("", "-qat")),
)


def build(request: BuildRequest) -> Built:
    """Write `model.onnx`, `model.xml` and `.bin`, or `model.tflite`; and beside it the plan that was carried out.

    Recipe options: `plan`, a plan's file; or fields of `quant.scheme.Scheme` that differ from its defaults. Where the
    recipe has epochs, the fields of `core.training.TrainingOptions` too.
    """
    graph, plan = plan_of(request.model, request.recipe)  # before torch is: what does not fit is told at once
    import torch

    from lowbit.quant.plan import files
    from lowbit.quant.stored import save_quantized

    torch.set_num_threads(request.threads)
    request.cache.mkdir(exist_ok=True, parents=True)
    start, training = perf_counter(), None
    with ImportTimer() as imports:
        if request.recipe.epochs is None:
            quantized = _closed_form(graph, plan, request)
        else:
            quantized, training = _trained(graph, plan, request, request.recipe.epochs)
    calibration_s = perf_counter() - start - imports.seconds
    main, notes = _export(quantized, request)
    if request.evidence is not None:
        save_quantized(quantized, request.evidence)
    save_json(request.out / PLAN, quantized.plan)
    return Built(
        main,
        calibration_s=calibration_s,
        notes=(*files.notes_of(quantized.plan), *_range_notes(graph, quantized.plan, request.recipe), *notes),
        beside=(request.out / PLAN,),
        verifiable=request.evidence is not None,
        training=training,
    )


def _closed_form(
    graph: "ir.Model",
    plan: "QuantPlan",
    request: BuildRequest,
    targets: dict[str, Floats] | None = None,
    most: int | None = None,
) -> "QuantizedModel":
    """`most`: how many calibration images may be used, the first ones; None: all."""
    from lowbit.quant import engine
    from lowbit.quant.ranges.observe import Images

    every = request.calibration
    some = replace(every, images=every.images[:most], labels=every.labels[:most])
    images = Images(len(some), lambda size: batches(some, request.preprocess, size))
    return engine.quantize(
        graph, plan, images, seed=request.seed, scratch=request.cache, progress=request.progress, targets=targets
    )


def _trained(
    graph: "ir.Model", plan: "QuantPlan", request: BuildRequest, epochs: int
) -> tuple["QuantizedModel", Training]:
    """The closed form and what training makes of it; both go on from the checkpoints, where there are any."""
    import numpy as np

    from lowbit.quant.stored import load_quantized, save_quantized
    from lowbit.training.pictures import Pictures
    from lowbit.training.train import Trainer

    given = {name: value for name, value in request.recipe.options.items() if name in _TRAINING}
    options = TrainingOptions(epochs, **given)
    samples = request.calibration if request.training is None else request.training
    answers = right_outputs(samples, request.classes, request.model.outputs) if request.classes else None
    pictures = Pictures(samples, request.preprocess, answers, request.seed)
    with ExitStack() as stack:
        folder = request.checkpoints or Path(stack.enter_context(tempfile.TemporaryDirectory(dir=request.cache)))
        begun = folder / "closed-form"
        if not begun.exists():
            targets: dict[str, Floats] = {}
            # Pictures that the closed form was fitted to would praise it, and no training.
            begin = _closed_form(graph, plan, request, targets, most=pictures.count)
            with aside(folder / "targets.npz") as path:
                np.savez(path, allow_pickle=False, **targets)
            save_quantized(begin, begun)
        with np.load(folder / "targets.npz") as arrays:
            targets = dict(arrays)
        trainer = Trainer(
            load_quantized(begun),
            targets,
            pictures,
            options,
            folder=folder,
            allowed=(options.max_memory or available_bytes() + resident_bytes()) - resident_bytes(),
            probabilities=request.model.probabilities,
            progress=request.training_progress,
        )
        found, training = trainer.run()
    return replace(found, plan=replace(found.plan, notes=(*found.plan.notes, *_training_notes(training)))), training


def plan_of(model: FloatModel, recipe: Recipe) -> tuple["ir.Model", "QuantPlan"]:
    """The graph prepared for the engine, and the plan that `recipe` means for it; nothing is calibrated yet.

    Where the recipe does not say whether weights use only 7 bits (`reduce_range`), this processor decides. Raises
    BadInput for options or a plan that do not fit, and for an override that matches no layer.
    """
    from lowbit.quant.plan import files
    from lowbit.quant.prepare import prepare

    graph = prepare(model.path)
    options = {name: value for name, value in recipe.options.items() if name not in _TRAINING}
    if "plan" not in options:
        options.setdefault("reduce_range", _may_saturate(recipe))
    plan = files.plan_for(graph, model.digest, recipe.name, options)
    names = [layer.node for layer in plan.layers]
    for override in recipe.options.get("overrides", ()):
        pattern = override["pattern"]
        if not fnmatch.filter(names, pattern):
            raise BadInput(f"--layer {pattern!r}: no layer is called like that; there are {', '.join(names)}")
    return graph, plan


def _may_saturate(recipe: Recipe) -> bool:
    """Whether kernels of this processor may saturate with 8-bit weights. LiteRT's never do: they widen to 16 bits."""
    return INFO.format_of(recipe) != TFLITE.name and int8_sums_saturate(facts())


def _range_notes(graph: "ir.Model", plan: "QuantPlan", recipe: Recipe) -> tuple[str, ...]:
    """What the user should know about 7- and 8-bit weights where this processor's kernels may saturate."""
    from lowbit.quant.plan import kinds

    saturates = _may_saturate(recipe)
    adding = {str(node.name) for node in graph.graph if kinds.adds_products(node)}
    formats = [layer.format for layer in plan.layers if layer.format is not None and layer.node in adding]
    wide = sum(form.farthest > _SAFE for form in formats)
    if saturates and wide:
        return (f"{wide} layers with weights beyond 7 bits: {_WHY}",)
    if any(form.reduced for form in formats):
        return (f"weights within 7 bits: {_WHY}" if saturates else "weights within 7 bits, as asked",)
    return ()


def _export(model: "QuantizedModel", request: BuildRequest) -> tuple[Path, tuple[str, ...]]:
    made, about = INFO.format_of(request.recipe), metadata(request.preprocess)
    if made == OPENVINO_IR.name:
        from lowbit.formats.openvino.write import export_openvino

        export_openvino(model, request.out / "model.xml", metadata=about)
        return request.out / "model.xml", ()
    if made == TFLITE.name:
        from lowbit.formats.litert.write import export_litert

        path = request.out / "model.tflite"
        return path, export_litert(model, path, batch_size=request.batch_size, metadata=about)
    from lowbit.formats.onnx.write import export_onnx

    export_onnx(model, request.out / "model.onnx", metadata=about)
    return request.out / "model.onnx", ()


def _training_notes(training: Training) -> tuple[str, ...]:
    """What the user should know of a training."""
    notes = [
        f"{training.images:,} pictures trained on and {training.held_out:,} held out: the file is the best moment by "
        "their distance to the float network"
    ]
    if not training.gained:
        notes.append("training gained nothing on the held-out pictures: the file is the closed form")
    if training.at_a_time < training.batch:
        notes.append(
            f"memory does for {training.at_a_time} pictures at a time: their gradients are added up to a step of "
            f"{training.batch}"
        )
    return tuple(notes)
