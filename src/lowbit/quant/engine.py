"""The engine: from a prepared float graph and a plan to codes and scales, in one walk through the network.

First, ranges are calibrated in the float network, and the error of quantizing activations alone is measured. Then
layers are rounded in order, each from statistics of its inputs in the float network and in the network quantized so
far, so that later layers compensate for the error of earlier ones.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
import torch
from torch import fx, nn

from lowbit.core.errors import BadInput
from lowbit.graph.values import constant
from lowbit.quant.columns import from_matrix, to_matrix
from lowbit.quant.even_channels import even_channels
from lowbit.quant.finish import absorbed_nodes, quantize_constants, widened, with_bias
from lowbit.quant.formats import Floats, Format, QParams, qparams_of_range
from lowbit.quant.loss import activation_loss
from lowbit.quant.model import QTensor, QuantizedLayer, QuantizedModel
from lowbit.quant.parallel import one_thread_an_operator
from lowbit.quant.plan.plan import LayerPlan, QuantPlan, Role
from lowbit.quant.ranges.observe import Images, chunk_size, observe_ranges
from lowbit.quant.rounding.closed_form import closed_form
from lowbit.quant.rounding.nearest import nearest
from lowbit.quant.rounding.scales import Doubles, Rounded
from lowbit.quant.simulate import Simulator, channels_last
from lowbit.quant.walk import Walk, layer_calls
from lowbit.torchgraph.importer import import_graph

LayerListener: TypeAlias = Callable[[int, int, str], None]  # layers done, layers in all, the name of the next
_Shared: TypeAlias = tuple[str | None, str, Format | None]  # a weight, as what kind of layer, rounded to which format


def quantize(
    model: ir.Model,
    plan: QuantPlan,
    images: Images,
    *,
    seed: int = 0,
    scratch: Path | None = None,
    progress: LayerListener = lambda _done, _total, _name: None,
    targets: dict[str, Floats] | None = None,
) -> QuantizedModel:
    """Carry out `plan` on a prepared graph. The result's plan contains the calibrated ranges.

    `scratch`: the folder for temporary files (default: the system's). `targets` is filled: layer → the real numbers,
    of its weight's shape, that its codes were rounded from; training starts from them. Raises BadInput for an empty
    calibration set and for images that drive the network to NaN or infinity.
    """
    if images.count < 1:
        raise BadInput("no calibration images: expected at least one; give more data or --calibration-samples")
    with (
        tempfile.TemporaryDirectory(prefix="lowbit-", dir=scratch) as folder,
        one_thread_an_operator() as workers,
        torch.no_grad(),
    ):
        floats = Simulator(_imported(model, Path(folder)))
        floats, plan, images = _calibrated(model, floats, plan, images, Path(folder), workers)
        main = quantizers_of(plan, "main")
        draft = QuantizedModel(
            graph=model,
            plan=plan,
            layers={},
            main=main,
            product=quantizers_of(plan, "product"),
            constants=quantize_constants(model, plan, main),
            absorbed=frozenset(),
        )
        simulated = _runner(draft, Path(folder))
        loss = activation_loss(floats, simulated, images, chunk_size(floats, images), workers).note
        walk = Walk(floats, simulated, images, seed, Path(folder), workers)
        layers, notes = _round_layers(draft, walk, simulated, progress, {} if targets is None else targets)
        notes = [*([] if loss is None else [loss]), *notes]
        finished = replace(draft, layers=layers, plan=replace(plan, notes=(*plan.notes, *notes)))
    return replace(finished, absorbed=absorbed_nodes(finished))


def _calibrated(
    model: ir.Model, floats: Simulator, plan: QuantPlan, images: Images, folder: Path, workers: int
) -> tuple[Simulator, QuantPlan, Images]:
    """The float network with even channels, the plan with ranges, and the images that are fit for calibration."""
    observed = observe_ranges(floats, model, plan, images, workers=workers)
    notes = [said] if (said := observed.coverage.note(plan)) else []
    if observed.outlying:
        notes.append(
            f"{len(observed.outlying)} of {images.count} calibration images are left out: somewhere in the network "
            f"their numbers are up to {observed.times:.0f} times as large as those of the others, and will be cut off"
        )
        images = images.without(observed.outlying)
    even = even_channels(model, floats, images)
    if even:
        floats = Simulator(_imported(model, folder))
    if even or observed.outlying:
        observed = observe_ranges(floats, model, plan, images, workers=workers)
    found = observed.plan
    return floats, replace(found, notes=(*found.notes, *notes)), images


def simulator(model: QuantizedModel) -> Simulator:
    """The quantized network in float arithmetic on torch: what exported files are compared with."""
    runner = runner_of(model)
    calls = layer_calls(runner)
    for name, layer in model.layers.items():
        if name in calls:
            _put(runner, calls[name], layer)
    return runner


def float_runner(model: ir.Model) -> Simulator:
    """The float network of a prepared graph."""
    with tempfile.TemporaryDirectory(prefix="lowbit-") as folder:
        return Simulator(_imported(model, Path(folder)))


def runner_of(model: QuantizedModel) -> Simulator:
    """Runs the network with its quantizers and constants; its layers still have float weights."""
    with tempfile.TemporaryDirectory(prefix="lowbit-") as folder:
        return _runner(model, Path(folder))


def _runner(model: QuantizedModel, folder: Path) -> Simulator:
    return Simulator(_imported(model.graph, folder, model.constants), model.main, model.product, model.narrow)


def _imported(model: ir.Model, folder: Path, constants: Mapping[str, QTensor] | None = None) -> fx.GraphModule:
    """The graph as a torch module; `constants`: initializers to put in place as their codes say."""
    given = {name: model.graph.initializers[name].const_value for name in constants or {}}
    try:
        for name, tensor in (constants or {}).items():
            rounded = tensor.qparams.dequantize(tensor.codes)
            model.graph.initializers[name].const_value = ir.tensor(rounded, name=name)
        ir.save(model, folder / "graph.onnx")
    finally:
        for name, value in given.items():
            model.graph.initializers[name].const_value = value
    return import_graph(folder / "graph.onnx")


def quantizers_of(plan: QuantPlan, role: Role) -> dict[str, QParams]:
    """Value → its quantizer of that role, from the plan's limits."""
    return {
        tensor.tensor: qparams_of_range(tensor.format, *tensor.limits)
        for tensor in plan.tensors
        if tensor.role == role and tensor.limits is not None
    }


def _round_layers(
    draft: QuantizedModel,
    walk: Walk,
    simulated: Simulator,
    progress: LayerListener,
    targets: dict[str, Floats],
) -> tuple[dict[str, QuantizedLayer], list[str]]:
    """Round every layer with weights, in the order of the walk; also returns the changes to the plan's reasons."""
    nodes = {str(node.name): node for node in draft.graph.graph}
    plans = {layer.node: layer for layer in draft.plan.layers if layer.format is not None}
    calls = layer_calls(simulated)
    order = [name for name in calls if name in plans]
    weights: dict[_Shared, QTensor] = {}
    layers: dict[str, QuantizedLayer] = {}
    widened_in: dict[str, int] = {}
    for done, name in enumerate(order):
        progress(done, len(order), name)
        layers[name], wide = _round_layer(plans[name], nodes[name], draft, walk, weights, targets)
        if wide:
            widened_in[name] = wide
        _put(simulated, calls[name], layers[name])
    for name in plans:  # in the plan's order
        if name not in layers:
            layers[name] = _round_table(plans[name], nodes[name])
    progress(len(order), len(order), "")
    return layers, _notes(widened_in)


def _notes(widened_in: Mapping[str, int]) -> list[str]:
    if not widened_in:
        return []
    channels, where = sum(widened_in.values()), ", ".join(widened_in)
    return [f"{channels} channels have wider scales, so that their bias fits 32 bits: in {where}"]


def _round_layer(
    plan: LayerPlan,
    node: ir.Node,
    draft: QuantizedModel,
    walk: Walk,
    weights: dict[_Shared, QTensor],
    targets: dict[str, Floats],
) -> tuple[QuantizedLayer, int]:
    """Codes and bias of one layer, and how many channels got larger scales so that the bias fits."""
    array, bias, value = constant(node.inputs[1]), constant(node.inputs[2]), node.inputs[0]
    assert plan.format is not None
    assert array is not None
    assert bias is not None
    assert value is not None
    reads = draft.read_as(node, value)
    if reads is None:
        raise BadInput(
            f"the plan gives no quantizer to {value.name!r}, which layer {plan.node!r} reads as integers; "
            "expected an entry under tensors"
        )
    layer = walk.layer(plan.node)
    matrix = to_matrix(layer, array.astype(np.float64))
    rows = bias.astype(np.float64).reshape(len(matrix), -1)
    shared = plan.weight, plan.op_type, plan.format
    if shared in weights:  # by two layers: the codes of the first one, a bias of its own
        weight = weights[shared]
        if plan.rounding == "closed-form":
            rows = _shared_bias(layer, matrix, rows, weight, walk, plan.node)
    else:
        if plan.rounding == "nearest":
            result = nearest(matrix, rows, plan.format)
        else:
            result = closed_form(matrix, rows, *walk.moments(plan.node), plan.format)
        rows = result.bias
        targets[plan.node] = from_matrix(layer, result.target, array.shape).astype(np.float32)
        weight = weights[shared] = _weight(plan, layer, result, array.shape)
    weight, wide = widened(weight, rows.reshape(-1), reads)
    return with_bias(plan.node, weight, rows.reshape(-1), reads), wide


def _shared_bias(layer: nn.Module, matrix: Doubles, bias: Doubles, weight: QTensor, walk: Walk, name: str) -> Doubles:
    """The bias b + W E[f] − Ŵ E[q], which keeps the mean of the result."""
    rounded = to_matrix(layer, weight.qparams.dequantize(weight.codes).astype(np.float64))
    fit, _ = walk.moments(name)
    seen = [fit.of(block) for block in range(len(fit.blocks))]
    mean_d = np.concatenate([s.mean_d for s in seen], axis=1)
    mean_q = np.concatenate([s.mean_q for s in seen], axis=1)
    change: Doubles = (matrix @ (mean_d + mean_q)[..., None] - rounded @ mean_q[..., None])[..., 0]
    return bias + change


def _weight(plan: LayerPlan, layer: nn.Module, result: Rounded, shape: tuple[int, ...]) -> QTensor:
    assert plan.format is not None
    codes = from_matrix(layer, result.codes, shape).astype(np.int32)
    scale, zero_point = result.scale, result.zero_point
    if plan.format.granularity == "tensor":
        return QTensor(codes, QParams(plan.format, scale[0, 0, 0].reshape(()), zero_point[0, 0, 0].reshape(())))
    if plan.format.granularity == "group":
        return QTensor(codes, QParams(plan.format, scale[0], zero_point[0]))
    axis = 1 if plan.op_type == "ConvTranspose" else 0
    channels = scale.reshape(-1), zero_point.reshape(-1)
    return QTensor(codes, QParams.of_channels(plan.format, *channels, axis, codes.ndim))


def _round_table(plan: LayerPlan, node: ir.Node) -> QuantizedLayer:
    """Round an embedding, with one scale for the whole table."""
    array = constant(node.inputs[0])
    assert plan.format is not None
    assert array is not None
    qparams = qparams_of_range(plan.format, float(array.min()), float(array.max()))
    return QuantizedLayer(plan.node, QTensor(qparams.quantize(array.astype(np.float32)), qparams), None, None)


def _put(runner: Simulator, call: fx.Node, layer: QuantizedLayer) -> None:
    """Give a torch layer the weights and the bias that the codes represent."""
    module = runner.layer(call)
    assert layer.bias is not None
    assert layer.bias_scale is not None
    weight = layer.weight.qparams.dequantize(layer.weight.codes)
    module.weight = nn.Parameter(channels_last(torch.from_numpy(weight)), requires_grad=False)
    bias = (layer.bias * layer.bias_scale.astype(np.float64)).astype(np.float32)
    module.bias = nn.Parameter(torch.from_numpy(bias), requires_grad=False)
