"""Operators that hold weights: convolutions and matrix products. Each becomes a torch.nn layer."""

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional

from lowbit.torchgraph.builder import Builder, Handler
from lowbit.torchgraph.padding import pad_or_defer, window
from lowbit.torchgraph.values import Constant, ImportedOp, Value

_CONVOLUTIONS: dict[int, type[nn.Module]] = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
_TRANSPOSED: dict[int, type[nn.Module]] = {3: nn.ConvTranspose1d, 4: nn.ConvTranspose2d, 5: nn.ConvTranspose3d}


def give_parameters(
    b: Builder, module: nn.Module, weight: Constant | None, bias: Constant | None, *, t: bool = False
) -> None:
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
    give_parameters(b, layer, weight, bias)
    return b.layer(layer, x)


def conv_transpose(b: Builder, op: ImportedOp) -> Value:
    """ConvTranspose: weight [I, O/group, *kernel].

    Padding that is uneven becomes a crop behind the layer, a negative pad; so does padding beside a stride, which
    litert-torch does not convert.
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
    give_parameters(b, layer, weight, bias)
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
    give_parameters(b, layer, weight, bias, t=t)
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


OPERATORS: dict[str, Handler] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "MatMul": matmul,
}
