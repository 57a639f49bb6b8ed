"""Rounding that gradients pass through, and that a scale learns from.

Both are autograd functions of few passes over memory. The same from plain operators keeps several times as much for the
backward pass and takes several times as long.
"""

from typing import Any

import torch

_within = torch.ops.aten.hardtanh_backward  # (gradient, x, low, high): the gradient where low < x < high, 0 elsewhere


class _Fixed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: float, low: float, high: float) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.limits = (low - 0.5) * scale, (high + 0.5) * scale
        return (x / scale).round_().clamp_(low, high).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return _within(grads[0], ctx.saved_tensors[0], *ctx.limits), None, None, None


class _Fine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: float, low: float, high: float) -> torch.Tensor:
        y = (x / scale).round_().clamp_(low, high).mul_(scale)
        ctx.save_for_backward(y)
        ctx.limits = low * scale, high * scale
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return _within(grads[0], ctx.saved_tensors[0], *ctx.limits), None, None, None


class _Learned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, log_scale: torch.Tensor, low: float, high: float) -> torch.Tensor:
        scale = float(log_scale.exp())
        y = (x / scale).round_().clamp_(low, high).mul_(scale)
        ctx.save_for_backward(x, y)
        ctx.limits = (low - 0.5) * scale, (high + 0.5) * scale
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, y = ctx.saved_tensors
        passed = _within(grads[0], x, *ctx.limits)
        return passed, (grads[0] * y).addcmul_(passed, x, value=-1).sum(), None, None


def fixed(x: torch.Tensor, scale: float, low: float, high: float) -> torch.Tensor:
    """scale · k for the nearest integer k from low to high.

    The gradient passes unchanged where x is within the limits (Bengio et al. 2013, the straight-through estimator).
    """
    return _Fixed.apply(x, scale, low, high)  # type: ignore[no-any-return, no-untyped-call]


def fine(x: torch.Tensor, scale: float, low: float, high: float) -> torch.Tensor:
    """The same where there are many codes: no gradient passes at the lowest and the highest code either.

    So nothing but the result is kept for the backward pass, which what reads it keeps anyway.
    """
    return _Fine.apply(x, scale, low, high)  # type: ignore[no-any-return, no-untyped-call]


def learned(x: torch.Tensor, log_scale: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """The same with the scale exp(log_scale), a parameter.

    When the logarithm grows by ε, the result y moves by ε · (y − x) within the limits and by ε · y beyond them (Esser
    et al. 2020, "Learned Step Size Quantization", equation 3, times the scale).
    """
    return _Learned.apply(x, log_scale, low, high)  # type: ignore[no-any-return, no-untyped-call]
