"""Computes what follows from ranges and codes: quantized constants, biases, and which clamps the quantizers replace."""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from lowbit.core.errors import UnsupportedError
from lowbit.graph.values import constant
from lowbit.quant.formats import Format, QParams, along, qparams_of_range
from lowbit.quant.model import QTensor, QuantizedLayer, QuantizedModel
from lowbit.quant.plan import kinds
from lowbit.quant.plan.plan import QuantPlan

Doubles = npt.NDArray[np.float64]

_LARGEST_BIAS = 2**30  # half of int32's range: the other half is for the sum of products
_FINE_BIAS = 2**20  # of a layer of zeros, which has no sum of products
_ROUNDED = 1 + 2**-22  # times as wide, so that a scale and its product, rounded to float32, are not too small


def constants_of(model: ir.Model, plan: QuantPlan) -> Iterator[tuple[ir.Node, ir.Value]]:
    """The constant operands that are quantized: of additions and products, and what Concat puts beside a tensor."""
    floats = {entry.node for entry in plan.floats}
    for node in model.graph:
        if node.name not in floats and (node.op_type in kinds.ARITHMETIC or node.op_type == "Concat"):
            for value in kinds.float_constants(node):
                yield node, value


def quantize_constants(model: ir.Model, plan: QuantPlan, main: Mapping[str, QParams]) -> dict[str, QTensor]:
    """Initializer → codes: by the range of what Concat gives, or by the constant's own at 8 bits."""
    found: dict[str, QTensor] = {}
    for node, value in constants_of(model, plan):
        array = constant(value)
        assert array is not None
        if node.op_type == "Concat":
            qparams = main[str(node.outputs[0].name)]
        else:
            qparams = qparams_of_range(Format(8), float(array.min()), float(array.max()))
        found[str(value.name)] = QTensor(qparams.quantize(array.astype(np.float32)), qparams)
    return found


def with_bias(node: str, weight: QTensor, bias: Doubles, reads: QParams) -> QuantizedLayer:
    """The layer with its bias [O] in int32, in units of scale_x · scale_w (Jacob et al. 2018, section 2.4)."""
    scale = _bias_scale(weight, len(bias), reads)
    codes = np.rint(bias / scale)
    largest = np.abs(codes).max(initial=0)
    if not largest < 2**31:
        raise UnsupportedError(
            f"{node}: its bias is {largest:.3g} steps of its products, expected less than 2^31, what int32 holds",
            "leave the layer in float, or give its weights more bits",
        )
    return QuantizedLayer(node, weight, codes.astype(np.int32), scale)


def widened(weight: QTensor, bias: Doubles, reads: QParams) -> tuple[QTensor, int]:
    """`weight` with larger scales where its bias [O] would not fit int32 otherwise, and how many channels those are.

    Such a channel has weights that are tiny beside its bias; its codes are rounded again with the larger scale. A
    channel of zeros has no scale of its own: it gets the layer's largest, and in a layer of zeros a scale that
    represents its bias finely.
    """
    weight = _with_scales_for_dead(weight)
    old, real = weight.qparams, weight.qparams.dequantize(weight.codes)
    scale, dead = _bias_scale(weight, len(bias), reads).astype(np.float64), not real.any()
    factor = np.abs(bias) / ((_FINE_BIAS if dead else _LARGEST_BIAS) * scale)
    factor = np.where(bias == 0, 1.0, factor) if dead else np.where(factor > 1, factor * _ROUNDED, 1.0)
    if old.scale.ndim == 0:
        factor = np.full_like(factor, factor.max())
    if (factor == 1).all():
        return weight, 0
    grown = old.scale * (factor.max() if old.scale.ndim == 0 else along(factor, old.axis or 0, old.scale.ndim))
    grown = np.maximum(grown, np.finfo(np.float32).tiny).astype(np.float32)
    qparams = QParams(old.format, grown, old.zero_point, old.axis)
    return QTensor(qparams.quantize(real), qparams), 0 if dead else int((factor > 1).sum())


def _with_scales_for_dead(weight: QTensor) -> QTensor:
    old = weight.qparams
    if old.axis is None:
        return weight
    others = tuple(axis for axis in range(weight.codes.ndim) if axis != old.axis)
    dead = ~old.dequantize(weight.codes).any(axis=others, keepdims=True)
    if not dead.any() or dead.all():
        return weight
    scale = np.where(dead, old.scale[~dead].max(), old.scale).astype(np.float32)
    return QTensor(weight.codes, QParams(old.format, scale, old.zero_point, old.axis))


def _bias_scale(weight: QTensor, outputs: int, reads: QParams) -> npt.NDArray[np.float32]:
    """[O]: scale_x · scale_w, of groups the smallest scale_w of an output."""
    scale = weight.qparams.scale
    if weight.qparams.format.granularity == "group":
        scale = scale.min(axis=1)
    return np.broadcast_to(scale.reshape(-1) * reads.scale, (outputs,)).astype(np.float32)


def absorbed_nodes(model: QuantizedModel) -> frozenset[str]:
    """Relu and Clip nodes that change nothing once their result is quantized directly from their input.

    That is so where the quantizer's limits lie within the node's limits, and the input either has the same quantizer,
    or has none and no other reader.
    """
    found = set()
    for node in model.graph.graph:
        qparams = model.main.get(str(node.outputs[0].name))
        x = node.inputs[0] if node.inputs else None
        if qparams is None or x is None or not kinds.is_clamp(node):
            continue
        if not (model.main[str(x.name)].equals(qparams) if x.name in model.main else len(x.uses()) == 1):
            continue
        lo, hi = (
            float(qparams.scale) * (code - int(qparams.zero_point))
            for code in (qparams.format.lowest, qparams.format.highest)
        )
        low, high = clamp_limits(node)
        if low <= lo and hi <= high * (1 + 1e-6):
            found.add(str(node.name))
    return frozenset(found)


def clamp_limits(node: ir.Node) -> tuple[float, float]:
    """The limits between which a Relu or Clip does not change its input."""
    if node.op_type == "Relu":
        return 0.0, np.inf
    limits = [constant(value) for value in node.inputs[1:]]
    low, high = [*limits, None, None][:2]
    return (
        -np.inf if low is None else float(low.reshape(-1)[0]),
        np.inf if high is None else float(high.reshape(-1)[0]),
    )
