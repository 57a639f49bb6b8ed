"""Operators with weights: convolutions and matrix products. With constant weights each becomes a torch.nn layer."""

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
    """Give `module` its weight, transposed where `t`, and its bias.

    The module was made on the meta device, so that no memory was taken and no random numbers were drawn for them.
    """
    if weight is not None:
        module.weight = b.parameter(weight, transpose=t)
    if bias is not None:
        module.bias = b.parameter(bias)


def conv(b: Builder, op: ImportedOp) -> Value:
    """Conv with one, two or three spatial axes; weight [O, I / group, *kernel], as in torch.

    Where an axis is padded differently at its two ends, x is padded before the layer.
    """
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
    """ConvTranspose with one, two or three spatial axes; weight [I, O / group, *kernel], as in torch.

    ONNX's padding is what is cut from the ends of the result. Where the two ends of an axis differ, or any stride is
    above 1, which litert-torch does not convert together with padding, the layer gets no padding, and a negative pad
    behind it cuts.
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
    """How many entries are cut from both ends of each axis of the result.

    They follow from `output_shape` or `auto_pad` where the node has them, and are `pads` otherwise.
    """
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
    """A Linear from x [..., I] to [..., O]; its weight is [I, O] where `t`, and [O, I] otherwise."""
    outputs, inputs = weight.array.shape[::-1] if t else weight.array.shape
    layer = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")
    give_parameters(b, layer, weight, bias, t=t)
    return b.layer(layer, x)


def gemm(b: Builder, op: ImportedOp) -> Value:
    """Gemm: alpha · A B + beta · C, where A and B may be transposed.

    With a constant B, and a constant C that is the same for every row, it becomes a Linear: alpha is multiplied into
    its weight and beta into its bias.
    """
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
    """Whether Gemm's C is constant and the same for every row of the result, as a Linear's bias is."""
    if not isinstance(bias, Constant):
        return False
    shape = bias.array.shape
    return shape in ((), (1,), (1, 1)) or shape[-1] == bias.array.size == weight.array.shape[0 if transposed else 1]


def _row(bias: Value | None, weight: Constant, transposed: bool, beta: float) -> Constant | None:
    """Gemm's C as the bias [O] of a Linear, multiplied by beta; None where it is absent."""
    if not isinstance(bias, Constant):
        return None
    outputs = weight.array.shape[0 if transposed else 1]
    if bias.array.shape != (outputs,):
        bias = Constant(bias.name, np.broadcast_to(bias.array.reshape(-1), (outputs,)))
    return _scaled(bias, beta)


def _scaled(constant: Constant, factor: float) -> Constant:
    return constant if factor == 1 else Constant(constant.name, (constant.array * factor).astype(constant.array.dtype))


def matmul(b: Builder, op: ImportedOp) -> Value:
    """MatMul. With a constant matrix on the right it becomes a Linear.

    Its third input is the Linear's bias; the importer puts it there where an Add of a constant vector follows.
    """
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
