"""Activation functions, as layers where torch has one, so that they can be found, fused and quantized."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from lowbit.torchgraph.builder import Builder, Handler
from lowbit.torchgraph.values import Constant, ImportedOp, Value


def _plain(make: Callable[[], nn.Module]) -> Handler:
    return lambda b, op: b.layer(make(), op.tensor(0))


def leaky_relu(b: Builder, op: ImportedOp) -> Value:
    """LeakyRelu."""
    return b.layer(nn.LeakyReLU(op.attribute("alpha", 0.01)), op.tensor(0))


def prelu(b: Builder, op: ImportedOp) -> Value:
    """PRelu: slope for all, per channel ([C, 1, 1]), or, as plain arithmetic, of any shape that broadcasts."""
    x, slope = op.tensor(0), op.get(1)
    shape = b.shape(x)
    if isinstance(slope, Constant):
        per_channel = (1,) * (len(shape) - slope.array.ndim) + slope.array.shape
        if slope.array.size == 1 or per_channel == (1, shape[1], *(1,) * (len(shape) - 2)):
            layer = nn.PReLU(slope.array.size, device="meta")
            layer.weight = b.parameter(Constant(slope.name, slope.array.reshape(-1)))
            return b.layer(layer, x)
    below = b.call(torch.mul, b.tensor(slope), b.call(torch.clamp, x, max=0.0))
    return b.call(torch.add, b.call(torch.relu, x), below)


def elu(b: Builder, op: ImportedOp) -> Value:
    """Elu."""
    return b.layer(nn.ELU(op.attribute("alpha", 1.0)), op.tensor(0))


def clip(b: Builder, op: ImportedOp) -> Value:
    """Clip with constant limits; [0, 6] is ReLU6, [0, ∞) ReLU."""
    x = op.tensor(0)
    low, high = op.scalar(1, "min", None), op.scalar(2, "max", None)
    if low == 0 and high == 6:
        return b.layer(nn.ReLU6(), x)
    if low == 0 and high in (None, math.inf, float(np.finfo(np.float32).max)):
        return b.layer(nn.ReLU(), x)
    return x if low is None and high is None else b.call(torch.clamp, x, low, high)


def hard_sigmoid(b: Builder, op: ImportedOp) -> Value:
    """HardSigmoid: max(0, min(1, alpha x + beta)); torch's layer has alpha 1/6, beta 1/2."""
    x, alpha, beta = op.tensor(0), op.attribute("alpha", 0.2), op.attribute("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return b.layer(nn.Hardsigmoid(), x)
    return b.call(torch.clamp, b.call(torch.add, b.call(torch.mul, x, alpha), beta), 0.0, 1.0)


def softmax(b: Builder, op: ImportedOp) -> Value:
    """Softmax over one axis (opset 13)."""
    return b.layer(nn.Softmax(op.attribute("axis", -1)), op.tensor(0))


def log_softmax(b: Builder, op: ImportedOp) -> Value:
    """LogSoftmax over one axis (opset 13)."""
    return b.layer(nn.LogSoftmax(op.attribute("axis", -1)), op.tensor(0))


def gelu(b: Builder, op: ImportedOp) -> Value:
    """Gelu, exact or by tanh."""
    return b.layer(nn.GELU(op.attribute("approximate", "none")), op.tensor(0))


def swish(b: Builder, op: ImportedOp) -> Value:
    """Swish (opset 24): x sigmoid(alpha x)."""
    x, alpha = op.tensor(0), op.attribute("alpha", 1.0)
    if alpha == 1:
        return b.layer(nn.SiLU(), x)
    return b.call(torch.mul, x, b.call(torch.sigmoid, b.call(torch.mul, x, alpha)))


OPERATORS: dict[str, Handler] = {
    "Relu": _plain(nn.ReLU),
    "Sigmoid": _plain(nn.Sigmoid),
    "Tanh": _plain(nn.Tanh),
    "HardSwish": _plain(nn.Hardswish),
    "Mish": _plain(nn.Mish),
    "Softplus": _plain(nn.Softplus),
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "Elu": elu,
    "Clip": clip,
    "HardSigmoid": hard_sigmoid,
    "Softmax": softmax,
    "LogSoftmax": log_softmax,
    "Gelu": gelu,
    "Swish": swish,
}
