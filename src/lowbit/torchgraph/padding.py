"""Sliding windows of convolutions and poolings: kernel, strides, dilations and padding as ONNX defines them."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import fx
from torch.nn import functional

from lowbit.torchgraph.builder import Builder
from lowbit.torchgraph.values import ImportedOp


@dataclass(frozen=True, slots=True)
class Window:
    """A window that slides over the spatial axes; each field has one entry per axis.

    - kernel: number of entries in the window
    - strides: distance from one window to the next
    - dilations: distance from one entry of the window to the next
    - pads: number of entries added to the input, as pairs (begin, end)
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]

    @property
    def even(self) -> bool:
        """Whether every axis is padded equally at both ends; torch's layers have no other padding."""
        return all(begin == end for begin, end in self.pads)


def window(b: Builder, op: ImportedOp, x: fx.Node, kernel: Sequence[int]) -> Window:
    """The window of a convolution or pooling over x [N, C, *spatial], with `auto_pad` resolved to numbers."""
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
    """The padding (begin, end) of one axis by which ONNX's SAME gives ceil(size / stride) outputs.

    An odd total puts one entry more at the end (`upper`, SAME_UPPER) or at the beginning (SAME_LOWER).
    """
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return (total // 2, total - total // 2) if upper else (total - total // 2, total // 2)


def outputs(sizes: Sequence[int], w: Window, *, ceil: bool) -> list[int]:
    """How many windows lie along each axis.

    With `ceil` (ONNX's ceil_mode) the last window may reach beyond the padding, but it must not begin in the padding at
    the end or behind it.
    """
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
    """x, and the padding that is left to the layer behind it, one number per axis.

    Padding that the layer can do is left to it. Where the two ends of an axis differ, or an axis needs more than `most`
    allows, x is padded with `value` here, and none is left to the layer.
    """
    fits = most is None or all(begin <= limit for (begin, _), limit in zip(pads, most, strict=True))
    if fits and all(begin == end for begin, end in pads):
        return x, tuple(begin for begin, _ in pads)
    return pad(b, x, pads, value), (0,) * len(pads)


def pad(b: Builder, x: fx.Node, pads: Sequence[tuple[int, int]], value: float = 0.0) -> fx.Node:
    """Pad the last axes of x with `value`, by a pair (begin, end) per axis; negative amounts cut entries off.

    Axes that have no pair stay. torch's own list of amounts starts with the last axis.
    """
    flat = [amount for pair in reversed(pads) for amount in pair]
    return b.call(functional.pad, x, flat, value=value) if value else b.call(functional.pad, x, flat)
