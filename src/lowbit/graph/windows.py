"""Where the windows of a pooling lie: the padding around x, and by how much the last window hangs over it."""

from dataclasses import dataclass

import onnx_ir as ir

from lowbit.graph.values import shape_of


@dataclass(frozen=True, slots=True)
class PoolWindows:
    """The windows of a pooling, with one entry per spatial axis.

    - before, after: padding, in entries
    - over: how far the last window reaches beyond the padding when the output's size is rounded up
    - outputs: the output's sizes
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    over: tuple[int, ...]
    outputs: tuple[int, ...]


def pool_windows(node: ir.Node) -> PoolWindows | None:
    """The windows of an AveragePool or MaxPool; None where the size of what it reads is not known.

    A window begins inside x or in the padding before it: one that would begin behind x is dropped, in torch and in ONNX
    (whose shape inference forgets it before operator set 22; OpenVINO's MaxPool forgets it too).
    """
    kernel = node.attributes["kernel_shape"].as_ints()
    ones = [1] * len(kernel)
    strides, dilations, pads = (
        list(node.attributes[name].as_ints()) if name in node.attributes else default
        for name, default in (("strides", ones), ("dilations", ones), ("pads", [0] * 2 * len(kernel)))
    )
    kind, rounds_up = node.attributes.get_string("auto_pad", "NOTSET"), node.attributes.get_int("ceil_mode", 0)
    axes = []
    for axis, size in enumerate((shape_of(node.inputs[0]) or [None] * (len(kernel) + 2))[2:]):
        if size is None:
            return None
        stride, extent = strides[axis], dilations[axis] * (kernel[axis] - 1) + 1
        before, after = pads[axis], pads[len(kernel) + axis]
        if kind.startswith("SAME"):
            total = max(0, (-(-size // stride) - 1) * stride + extent - size)
            before = total // 2 if kind == "SAME_UPPER" else total - total // 2
            after = total - before
        free = size + before + after - extent
        steps = -(-free // stride) if rounds_up else free // stride
        if steps * stride >= size + before:
            steps -= 1
        axes.append((before, after, max(0, steps * stride - free), steps + 1))
    return PoolWindows(*zip(*axes, strict=True))
