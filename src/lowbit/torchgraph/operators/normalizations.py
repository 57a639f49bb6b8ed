"""Normalizations: by running statistics, by the statistics of each image, by a norm. torch.nn layers are used."""

from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional

from lowbit.torchgraph.builder import Builder, Handler, to_torch
from lowbit.torchgraph.operators.layers import give_parameters
from lowbit.torchgraph.values import Constant, ImportedOp, Value

_BATCH_NORMS: dict[int, type[nn.Module]] = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
_INSTANCE_NORMS: dict[int, type[nn.Module]] = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}


def batch_norm(b: Builder, op: ImportedOp) -> Value:
    """BatchNormalization at inference: (x − mean) / √(variance + epsilon) · scale + bias, all per channel.

    Raises UnsupportedError in training mode.
    """
    if op.attribute("training_mode", 0):
        raise op.unsupported("it is in training mode")
    x = op.tensor(0)
    scale, bias, mean, var = (op.constant(i) for i in range(1, 5))
    momentum = 1 - op.attribute("momentum", 0.9)  # ONNX weighs the old value, torch the new one
    layer = _BATCH_NORMS[b.rank(x)](
        scale.array.size, eps=op.attribute("epsilon", 1e-5), momentum=momentum, device="meta"
    )
    give_parameters(b, layer, scale, bias)
    layer.running_mean, layer.running_var = to_torch(mean.array), to_torch(var.array)
    layer.num_batches_tracked = torch.tensor(0)
    return b.layer(layer, x)


def layer_norm(b: Builder, op: ImportedOp) -> Value | tuple[Value, ...]:
    """LayerNormalization over the axes from `axis` on.

    Where the node has more outputs, the mean and 1 / standard deviation follow the result.
    """
    x, scale, bias = op.tensor(0), op.constant(1), op.optional_constant(2)
    axis, epsilon = op.attribute("axis", -1) % b.rank(x), op.attribute("epsilon", 1e-5)
    normalized = b.fixed_shape(x, axis)
    layer = nn.LayerNorm(normalized, eps=epsilon, bias=bias is not None, device="meta")
    give_parameters(b, layer, _broadcast(scale, normalized), None if bias is None else _broadcast(bias, normalized))
    y = b.layer(layer, x)
    if op.n_outputs == 1:
        return y
    axes = list(range(axis, b.rank(x)))
    variance = b.call(torch.var, x, axes, correction=0, keepdim=True)
    return y, b.call(torch.mean, x, axes, keepdim=True), b.call(torch.rsqrt, b.call(torch.add, variance, epsilon))


def rms_norm(b: Builder, op: ImportedOp) -> Value:
    """RMSNormalization (opset 23): x / √(mean of x² + epsilon) · scale, over the axes from `axis` on."""
    x, scale = op.tensor(0), op.constant(1)
    normalized = b.fixed_shape(x, op.attribute("axis", -1) % b.rank(x))
    layer = nn.RMSNorm(normalized, eps=op.attribute("epsilon", 1e-5), device="meta")
    give_parameters(b, layer, _broadcast(scale, normalized), None)
    return b.layer(layer, x)


def _broadcast(constant: Constant, shape: list[int]) -> Constant:
    """The constant in `shape`, which it broadcasts to."""
    if list(constant.array.shape) == shape:
        return constant
    return Constant(constant.name, np.broadcast_to(constant.array, shape))


def instance_norm(b: Builder, op: ImportedOp) -> Value:
    """InstanceNormalization: over the spatial axes of each image and channel; scale and bias are per channel."""
    x, scale, bias = op.tensor(0), op.constant(1), op.constant(2)
    kwargs: dict[str, Any] = {"eps": op.attribute("epsilon", 1e-5), "affine": True, "device": "meta"}
    layer = _INSTANCE_NORMS[b.rank(x)](scale.array.size, **kwargs)
    give_parameters(b, layer, scale, bias)
    return b.layer(layer, x)


def group_norm(b: Builder, op: ImportedOp) -> Value:
    """GroupNormalization: over the channels of a group and the spatial axes, for each image.

    Scale and bias are per channel since opset 21, and per group before.
    """
    x, scale, bias = op.tensor(0), op.constant(1), op.constant(2)
    channels, groups = b.fixed_shape(x, 1)[0], op.attribute("num_groups", 1)
    if op.opset < 21:
        scale = Constant(scale.name, np.repeat(scale.array, channels // groups))
        bias = Constant(bias.name, np.repeat(bias.array, channels // groups))
    layer = nn.GroupNorm(groups, channels, eps=op.attribute("epsilon", 1e-5), device="meta")
    give_parameters(b, layer, scale, bias)
    return b.layer(layer, x)


def local_response_norm(b: Builder, op: ImportedOp) -> Value:
    """LRN: x / (bias + alpha / size · sum of x² over `size` neighbouring channels) ** beta.

    It is written as arithmetic. For an even size, torch's layer takes one channel more below than above, and ONNX one
    more above; and its average over three axes is no operator of LiteRT.
    """
    x, size = op.tensor(0), op.attribute("size", 1)
    alpha, beta, bias = (op.attribute(k, d) for k, d in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    channels = b.fixed_shape(x, 1)[0]
    squares = b.call(torch.mul, x, x)
    around = [0, 0] * (b.rank(x) - 2) + [(size - 1) // 2, size // 2]
    padded = b.call(functional.pad, squares, around)
    total: fx.Node | None = None
    for offset in range(size):
        part = b.call(torch.narrow, padded, 1, offset, channels)
        total = part if total is None else b.call(torch.add, total, part)
    scale = b.call(torch.add, b.call(torch.mul, total, alpha / size), bias)
    return b.call(torch.div, x, b.call(torch.pow, scale, beta))


def lp_normalization(b: Builder, op: ImportedOp) -> Value:
    """LpNormalization: x divided by its 1-norm or 2-norm along one axis; a norm of 0 leaves zeros."""
    x = op.tensor(0)
    norm = b.call(torch.linalg.vector_norm, x, op.attribute("p", 2), op.attribute("axis", -1), True)
    return b.call(torch.div, x, b.call(torch.where, b.call(torch.eq, norm, 0.0), 1.0, norm))


def mean_variance(b: Builder, op: ImportedOp) -> Value:
    """MeanVarianceNormalization: (x − mean) / (standard deviation + 1e-9), over `axes`.

    By default these are all axes but the channels, the batch included.
    """
    x, axes = op.tensor(0), op.attribute("axes", [0, 2, 3])
    mean = b.call(torch.mean, x, axes, keepdim=True)
    variance = b.call(torch.var, x, axes, correction=0, keepdim=True)
    return b.call(torch.div, b.call(torch.sub, x, mean), b.call(torch.add, b.call(torch.sqrt, variance), 1e-9))


OPERATORS: dict[str, Handler] = {
    "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm,
    "RMSNormalization": rms_norm,
    "InstanceNormalization": instance_norm,
    "GroupNormalization": group_norm,
    "LRN": local_response_norm,
    "LpNormalization": lp_normalization,
    "MeanVarianceNormalization": mean_variance,
}
