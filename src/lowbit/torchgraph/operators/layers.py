"""Operators that hold weights: convolutions, matrix products, normalizations. Each becomes a torch.nn layer."""

from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional

from lowbit.torchgraph.builder import Builder, Handler, to_torch
from lowbit.torchgraph.padding import pad_or_defer, window
from lowbit.torchgraph.values import Constant, ImportedOp, Value

_CONVOLUTIONS: dict[int, type[nn.Module]] = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
_TRANSPOSED: dict[int, type[nn.Module]] = {3: nn.ConvTranspose1d, 4: nn.ConvTranspose2d, 5: nn.ConvTranspose3d}
_BATCH_NORMS: dict[int, type[nn.Module]] = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
_INSTANCE_NORMS: dict[int, type[nn.Module]] = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}


def _weigh(b: Builder, module: nn.Module, weight: Constant | None, bias: Constant | None, *, t: bool = False) -> None:
    """Give a layer that was made on the meta device (no memory, no random numbers drawn) its parameters."""
    if weight is not None:
        module.weight = b.parameter(weight, transpose=t)
    if bias is not None:
        module.bias = b.parameter(bias)


def conv(b: Builder, op: ImportedOp) -> Value:
    """Conv 1-D, 2-D, 3-D: weight [O, I/group, *kernel] as in torch. Uneven padding becomes a pad before the layer."""
    x, weight, bias = op.tensor(0), op.constant(1), op.optional_constant(2)
    w = window(b, op, x, kernel=weight.array.shape[2:])
    x, padding = pad_or_defer(b, x, w.pads)
    group = op.attribute("group", 1)
    layer = _CONVOLUTIONS[b.rank(x)](
        weight.array.shape[1] * group,
        weight.array.shape[0],
        w.kernel,
        stride=w.strides,
        padding=padding,
        dilation=w.dilations,
        groups=group,
        bias=bias is not None,
        device="meta",
    )
    _weigh(b, layer, weight, bias)
    return b.layer(layer, x)


def conv_transpose(b: Builder, op: ImportedOp) -> Value:
    """ConvTranspose: weight [I, O/group, *kernel]. Uneven padding becomes a crop (a negative pad) behind the layer, and
    so does padding beside a stride, which litert-torch does not convert.
    """
    x, weight, bias = op.tensor(0), op.constant(1), op.optional_constant(2)
    kernel = weight.array.shape[2:]
    n = len(kernel)
    strides, dilations = op.attribute("strides", [1] * n), op.attribute("dilations", [1] * n)
    extra = op.attribute("output_padding", [0] * n)
    pads = _transposed_pads(b, op, x, list(kernel), strides, dilations, extra)
    even = all(0 <= p == q for p, q in pads) and (max(strides) == 1 or not any(map(any, pads)))
    if not even and all(q >= more for (_, q), more in zip(pads, extra, strict=True)):
        pads, extra = [(p, q - more) for (p, q), more in zip(pads, extra, strict=True)], [0] * n
    group = op.attribute("group", 1)
    layer = _TRANSPOSED[b.rank(x)](
        weight.array.shape[0],
        weight.array.shape[1] * group,
        kernel,
        stride=strides,
        padding=[p for p, _ in pads] if even else 0,
        output_padding=extra,
        groups=group,
        bias=bias is not None,
        dilation=dilations,
        device="meta",
    )
    _weigh(b, layer, weight, bias)
    y = b.layer(layer, x)
    if even:
        return y
    return b.call(functional.pad, y, [-p for pair in reversed(pads) for p in pair])


def _transposed_pads(
    b: Builder,
    op: ImportedOp,
    x: fx.Node,
    kernel: list[int],
    strides: list[int],
    dilations: list[int],
    extra: list[int],
) -> list[tuple[int, int]]:
    """What is cut from both ends of each axis, from `output_shape` or `auto_pad` where these are given."""
    n = len(kernel)
    auto_pad = op.attribute("auto_pad", "NOTSET")
    wanted = op.attribute("output_shape", None)
    if wanted is None and auto_pad.startswith("SAME"):
        wanted = [size * stride for size, stride in zip(b.fixed_shape(x, 2), strides, strict=True)]
    if wanted is None:
        pads = [0] * (2 * n) if auto_pad == "VALID" else op.attribute("pads", [0] * (2 * n))
        return list(zip(pads[:n], pads[n:], strict=True))
    totals = [
        stride * (size - 1) + more + (k - 1) * dilation + 1 - want
        for size, stride, more, k, dilation, want in zip(
            b.fixed_shape(x, 2), strides, extra, kernel, dilations, wanted[-n:], strict=True
        )
    ]
    if auto_pad == "SAME_UPPER":
        return [(total // 2, total - total // 2) for total in totals]
    return [(total - total // 2, total // 2) for total in totals]


def _linear(b: Builder, x: fx.Node, weight: Constant, bias: Constant | None, *, t: bool) -> fx.Node:
    """x [..., I] → [..., O]; weight is [I, O] when t, else [O, I]."""
    rows, columns = weight.array.shape[::-1] if t else weight.array.shape
    layer = nn.Linear(columns, rows, bias=bias is not None, device="meta")
    _weigh(b, layer, weight, bias, t=t)
    return b.layer(layer, x)


def gemm(b: Builder, op: ImportedOp) -> Value:
    """Gemm: alpha A' B' + beta C. With a constant weight it is a Linear, alpha and beta drawn into its parameters."""
    x = b.tensor(op.get(0))
    alpha, beta = op.attribute("alpha", 1.0), op.attribute("beta", 1.0)
    if op.attribute("transA", 0):
        x = b.call(torch.transpose, x, 0, 1)
    weight, bias = op.get(1), op.get(2)
    transposed = bool(op.attribute("transB", 0))
    if isinstance(weight, Constant) and (bias is None or _is_row(bias, weight, transposed)):
        weight = _scaled(weight, alpha)
        return _linear(b, x, weight, _row(bias, weight, transposed, beta), t=not transposed)
    w = b.tensor(weight)
    y = b.call(torch.matmul, x, b.call(torch.transpose, w, 0, 1) if transposed else w)
    y = y if alpha == 1 else b.call(torch.mul, y, alpha)
    if bias is None:
        return y
    c = b.operand(bias)
    return b.call(torch.add, y, c if beta == 1 else b.call(torch.mul, c, beta))


def _is_row(bias: Value, weight: Constant, transposed: bool) -> bool:
    """Whether Gemm's C is constant and the same for every row, as a Linear's bias is."""
    if not isinstance(bias, Constant):
        return False
    shape = bias.array.shape
    return shape in ((), (1,), (1, 1)) or shape[-1] == bias.array.size == weight.array.shape[0 if transposed else 1]


def _row(bias: Value | None, weight: Constant, transposed: bool, beta: float) -> Constant | None:
    if not isinstance(bias, Constant):
        return None
    outputs = weight.array.shape[0 if transposed else 1]
    if bias.array.shape != (outputs,):
        bias = Constant(bias.name, np.broadcast_to(bias.array.reshape(-1), (outputs,)))
    return _scaled(bias, beta)


def _scaled(constant: Constant, factor: float) -> Constant:
    return constant if factor == 1 else Constant(constant.name, (constant.array * factor).astype(constant.array.dtype))


def matmul(b: Builder, op: ImportedOp) -> Value:
    """MatMul; with a constant matrix on the right a Linear, whose bias is a third input the importer found behind."""
    weight = op.get(1)
    if isinstance(op.get(0), fx.Node) and isinstance(weight, Constant) and weight.array.ndim == 2:
        return _linear(b, op.tensor(0), weight, op.optional_constant(2), t=True)
    return b.call(torch.matmul, b.tensor(op.get(0)), b.tensor(weight))


def batch_norm(b: Builder, op: ImportedOp) -> Value:
    """BatchNormalization in inference form: x, scale, bias, mean, variance, all per channel."""
    if op.attribute("training_mode", 0):
        raise op.unsupported("it is in training mode")
    x = op.tensor(0)
    scale, bias, mean, var = (op.constant(i) for i in range(1, 5))
    momentum = 1 - op.attribute("momentum", 0.9)  # ONNX weighs the old value, torch the new one
    layer = _BATCH_NORMS[b.rank(x)](
        scale.array.size, eps=op.attribute("epsilon", 1e-5), momentum=momentum, device="meta"
    )
    _weigh(b, layer, scale, bias)
    layer.running_mean, layer.running_var = to_torch(mean.array), to_torch(var.array)
    layer.num_batches_tracked = torch.tensor(0)
    return b.layer(layer, x)


def layer_norm(b: Builder, op: ImportedOp) -> Value:
    """LayerNormalization over the axes from `axis` on."""
    x, scale, bias = op.tensor(0), op.constant(1), op.optional_constant(2)
    axis = op.attribute("axis", -1) % b.rank(x)
    normalized = b.fixed_shape(x, axis)
    layer = nn.LayerNorm(normalized, eps=op.attribute("epsilon", 1e-5), bias=bias is not None, device="meta")
    _weigh(b, layer, _broadcast(scale, normalized), None if bias is None else _broadcast(bias, normalized))
    return b.layer(layer, x)


def _broadcast(constant: Constant, shape: list[int]) -> Constant:
    if list(constant.array.shape) == shape:
        return constant
    return Constant(constant.name, np.broadcast_to(constant.array, shape))


def instance_norm(b: Builder, op: ImportedOp) -> Value:
    """InstanceNormalization: scale and bias per channel."""
    x, scale, bias = op.tensor(0), op.constant(1), op.constant(2)
    kwargs: dict[str, Any] = {"eps": op.attribute("epsilon", 1e-5), "affine": True, "device": "meta"}
    layer = _INSTANCE_NORMS[b.rank(x)](scale.array.size, **kwargs)
    _weigh(b, layer, scale, bias)
    return b.layer(layer, x)


def group_norm(b: Builder, op: ImportedOp) -> Value:
    """GroupNormalization: scale and bias per channel (opset 21), before that per group."""
    x, scale, bias = op.tensor(0), op.constant(1), op.constant(2)
    channels, groups = b.fixed_shape(x, 1)[0], op.attribute("num_groups", 1)
    if op.opset < 21:
        scale = Constant(scale.name, np.repeat(scale.array, channels // groups))
        bias = Constant(bias.name, np.repeat(bias.array, channels // groups))
    layer = nn.GroupNorm(groups, channels, eps=op.attribute("epsilon", 1e-5), device="meta")
    _weigh(b, layer, scale, bias)
    return b.layer(layer, x)


def local_response_norm(b: Builder, op: ImportedOp) -> Value:
    """LRN across channels; for an even size torch's window lies one channel lower than ONNX's."""
    size = op.attribute("size", 1)
    if size % 2 == 0:
        raise op.unsupported(f"an even window ({size}) lies differently in torch")
    alpha, beta, bias = (op.attribute(k, d) for k, d in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    return b.layer(nn.LocalResponseNorm(size, alpha, beta, bias), op.tensor(0))


OPERATORS: dict[str, Handler] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "MatMul": matmul,
    "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm,
    "InstanceNormalization": instance_norm,
    "GroupNormalization": group_norm,
    "LRN": local_response_norm,
}
