"""Activation functions. Where torch has a layer for one it is used, so that it can be found, fused and quantized."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from lowbit.torchgraph.builder import Builder, Handler
from lowbit.torchgraph.values import Constant, ImportedOp, Value

_SELU_ALPHA, _SELU_GAMMA = 1.6732632423543772, 1.0507009873554805


def _plain(make: Callable[[], nn.Module]) -> Handler:
    """The rule for an operator without attributes that is a torch layer without arguments."""
    return lambda b, op: b.layer(make(), op.tensor(0))


def leaky_relu(b: Builder, op: ImportedOp) -> Value:
    """LeakyRelu: x where x ≥ 0, alpha · x below."""
    return b.layer(nn.LeakyReLU(op.attribute("alpha", 0.01)), op.tensor(0))


def prelu(b: Builder, op: ImportedOp) -> Value:
    """PRelu: x where x ≥ 0, slope · x below.

    A constant slope with one entry in all, or with one per channel ([C, 1, 1] for images), becomes torch's layer. Any
    other slope that broadcasts against x is written as arithmetic.
    """
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
    """Elu: x where x ≥ 0, alpha · (exp(x) − 1) below."""
    return b.layer(nn.ELU(op.attribute("alpha", 1.0)), op.tensor(0))


def clip(b: Builder, op: ImportedOp) -> Value:
    """Clip: entries below `min` become min, entries above `max` become max; each limit may be absent, or be computed.

    Constant limits of 0 and 6 make a ReLU6; 0 without an upper limit, with infinity or with float32's largest number
    makes a ReLU.
    """
    x = op.tensor(0)
    limits = [op.get(1), op.get(2)]
    if any(limit is not None and not isinstance(limit, Constant) for limit in limits) or not b.is_float(x):
        for limit, function in zip(limits, (torch.maximum, torch.minimum), strict=True):
            x = x if limit is None else b.call(function, x, b.tensor(limit))
        return x
    low, high = op.scalar(1, "min", None), op.scalar(2, "max", None)
    if low == 0 and high == 6:
        return b.layer(nn.ReLU6(), x)
    if low == 0 and high in (None, math.inf, float(np.finfo(np.float32).max)):
        return b.layer(nn.ReLU(), x)
    return x if low is None and high is None else b.call(torch.clamp, x, low, high)


def selu(b: Builder, op: ImportedOp) -> Value:
    """Selu: gamma · x where x > 0, gamma · alpha · (exp(x) − 1) below.

    With the constants of Klambauer et al. 2017 it is torch's layer, which has no others.
    """
    x, alpha, gamma = op.tensor(0), op.attribute("alpha", _SELU_ALPHA), op.attribute("gamma", _SELU_GAMMA)
    if math.isclose(alpha, _SELU_ALPHA, rel_tol=1e-6) and math.isclose(gamma, _SELU_GAMMA, rel_tol=1e-6):
        return b.layer(nn.SELU(), x)
    return b.call(torch.mul, b.layer(nn.ELU(alpha), x), gamma)


def celu(b: Builder, op: ImportedOp) -> Value:
    """Celu: x where x ≥ 0, alpha · (exp(x / alpha) − 1) below."""
    return b.layer(nn.CELU(op.attribute("alpha", 1.0)), op.tensor(0))


def thresholded_relu(b: Builder, op: ImportedOp) -> Value:
    """ThresholdedRelu: x where x > alpha, 0 elsewhere."""
    return b.layer(nn.Threshold(op.attribute("alpha", 1.0), 0.0), op.tensor(0))


def shrink(b: Builder, op: ImportedOp) -> Value:
    """Shrink: x − bias where x > lambd, x + bias where x < −lambd, 0 between the two."""
    x, lambd, bias = op.tensor(0), op.attribute("lambd", 0.5), op.attribute("bias", 0.0)
    if bias == 0:
        return b.layer(nn.Hardshrink(lambd), x)
    if bias == lambd:
        return b.layer(nn.Softshrink(lambd), x)
    nearer = b.call(torch.sub, x, b.call(torch.mul, b.call(torch.sign, x), bias))
    return b.call(torch.where, b.call(torch.gt, b.call(torch.abs, x), lambd), nearer, 0.0)


def hardmax(b: Builder, op: ImportedOp) -> Value:
    """Hardmax: 1 at the first largest entry along an axis, 0 elsewhere."""
    x, axis = op.tensor(0), op.attribute("axis", -1)
    place = b.call(torch.argmax, x, axis, True)
    return b.call(torch.scatter, b.call(torch.zeros_like, x), axis, place, 1.0)


def hard_sigmoid(b: Builder, op: ImportedOp) -> Value:
    """HardSigmoid: max(0, min(1, alpha · x + beta)). With alpha 1/6 and beta 1/2 it is torch's layer."""
    x, alpha, beta = op.tensor(0), op.attribute("alpha", 0.2), op.attribute("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return b.layer(nn.Hardsigmoid(), x)
    return b.call(torch.clamp, b.call(torch.add, b.call(torch.mul, x, alpha), beta), 0.0, 1.0)


def softmax(b: Builder, op: ImportedOp) -> Value:
    """Softmax along one axis, as it is defined since opset 13."""
    return b.layer(nn.Softmax(op.attribute("axis", -1)), op.tensor(0))


def log_softmax(b: Builder, op: ImportedOp) -> Value:
    """LogSoftmax along one axis, as it is defined since opset 13."""
    return b.layer(nn.LogSoftmax(op.attribute("axis", -1)), op.tensor(0))


def gelu(b: Builder, op: ImportedOp) -> Value:
    """Gelu: x · Φ(x) with the normal distribution's Φ, computed exactly or approximated with tanh."""
    return b.layer(nn.GELU(op.attribute("approximate", "none")), op.tensor(0))


def swish(b: Builder, op: ImportedOp) -> Value:
    """Swish (opset 24): x · sigmoid(alpha · x)."""
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
    "Softsign": _plain(nn.Softsign),
    "Selu": selu,
    "Celu": celu,
    "ThresholdedRelu": thresholded_relu,
    "Shrink": shrink,
    "Hardmax": hardmax,
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
