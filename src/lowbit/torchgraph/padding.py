"""Windows that slide over the spatial axes: kernel, strides, dilations and padding as ONNX states them."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import fx
from torch.nn import functional

from lowbit.torchgraph.builder import Builder
from lowbit.torchgraph.values import ImportedOp


@dataclass(frozen=True, slots=True)
class Window:
    """One entry a spatial axis; `pads` are (begin, end) pairs."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]

    @property
    def even(self) -> bool:
        """Whether both ends of every axis are padded alike, which is all that torch's layers can do."""
        return all(begin == end for begin, end in self.pads)


def window(b: Builder, op: ImportedOp, x: fx.Node, kernel: Sequence[int]) -> Window:
    """The window of a convolution or pooling over x [N, C, *spatial], `auto_pad` resolved."""
    n = len(kernel)
    strides = tuple(op.attribute("strides", [1] * n))
    dilations = tuple(op.attribute("dilations", [1] * n))
    auto_pad = op.attribute("auto_pad", "NOTSET")
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        pads = tuple(
            same_padding(size, k, stride, dilation, upper=auto_pad == "SAME_UPPER")
            for size, k, stride, dilation in zip(b.fixed_shape(x, 2), kernel, strides, dilations, strict=True)
        )
    else:
        flat = [0] * (2 * n) if auto_pad == "VALID" else op.attribute("pads", [0] * (2 * n))
        pads = tuple(zip(flat[:n], flat[n:], strict=True))
    return Window(tuple(kernel), strides, dilations, pads)


def same_padding(size: int, kernel: int, stride: int, dilation: int, *, upper: bool) -> tuple[int, int]:
    """SAME padding of one axis: as many outputs as ceil(size / stride); an odd remainder goes to the named end."""
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return (total // 2, total - total // 2) if upper else (total - total // 2, total // 2)


def outputs(sizes: Sequence[int], w: Window, *, ceil: bool) -> list[int]:
    """How many windows lie along each axis. With `ceil` the last may reach beyond the padding, but not begin in it."""
    found = []
    columns = zip(sizes, w.kernel, w.strides, w.dilations, w.pads, strict=True)
    for size, kernel, stride, dilation, (begin, end) in columns:
        free = size + begin + end - dilation * (kernel - 1) - 1
        steps = -(-free // stride) if ceil else free // stride
        if ceil and steps * stride >= size + begin:
            steps -= 1
        found.append(steps + 1)
    return found


def pad_or_defer(
    b: Builder,
    x: fx.Node,
    pads: Sequence[tuple[int, int]],
    value: float = 0.0,
    most: Sequence[int] | None = None,
) -> tuple[fx.Node, tuple[int, ...]]:
    """x and the padding to leave to the layer: even pads are left to it, uneven ones put before it with `value`.

    most: how much the layer can pad each axis by, where it has a limit.
    """
    fits = most is None or all(begin <= limit for (begin, _), limit in zip(pads, most, strict=True))
    if fits and all(begin == end for begin, end in pads):
        return x, tuple(begin for begin, _ in pads)
    return pad(b, x, pads, value), (0,) * len(pads)


def pad(b: Builder, x: fx.Node, pads: Sequence[tuple[int, int]], value: float = 0.0) -> fx.Node:
    """Pad the last axes of x by (begin, end) pairs; torch's list starts from the last axis."""
    flat = [amount for pair in reversed(pads) for amount in pair]
    return b.call(functional.pad, x, flat, value=value) if value else b.call(functional.pad, x, flat)
