"""Convolutions, poolings and resizing: LiteRT's are channels last, ONNX's channels first."""

from functools import partial

import numpy as np

from lowbit.formats.litert.reading.builder import LAST_TO_FIRST, Builder
from lowbit.formats.litert.reading.content import LiteRTOperator
from lowbit.formats.litert.reading.pointwise import Rule, activated

_SAME = 0  # the schema's Padding


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Zeros before and after one axis of `size`, so that there are ceil(size / stride) windows (TensorFlow's SAME)."""
    reach = dilation * (kernel - 1) + 1
    total = max(((size - 1) // stride) * stride + reach - size, 0)
    return total // 2, total - total // 2


def _pads(to: Builder, operator: LiteRTOperator, kernel: tuple[int, int], dilations: tuple[int, int]) -> list[int]:
    """ONNX's pads: both beginnings, then both ends."""
    options = operator.options
    if options.padding != _SAME:
        return [0, 0, 0, 0]
    _, height, width, _ = to.shape(operator.inputs[0])
    (top, bottom), (left, right) = (
        same_padding(height, kernel[0], options.strideH, dilations[0]),
        same_padding(width, kernel[1], options.strideW, dilations[1]),
    )
    return [top, left, bottom, right]


def _conv(to: Builder, operator: LiteRTOperator) -> str:
    """Weight [O, h, w, I / groups] → [O, I / groups, h, w]."""
    _, height, width, depth = to.shape(operator.inputs[1])
    groups = to.shape(operator.inputs[0])[3] // depth
    return _convolved(to, operator, to.turned(operator.inputs[1], LAST_TO_FIRST), (height, width), groups)


def _depthwise(to: Builder, operator: LiteRTOperator) -> str:
    """Weight [1, h, w, O] → [O, 1, h, w]."""
    _, height, width, _ = to.shape(operator.inputs[1])
    groups = to.shape(operator.inputs[0])[3]
    return _convolved(to, operator, to.turned(operator.inputs[1], (3, 0, 1, 2)), (height, width), groups)


def _convolved(to: Builder, operator: LiteRTOperator, weight: str, kernel: tuple[int, int], groups: int) -> str:
    options = operator.options
    dilations = (int(options.dilationHFactor), int(options.dilationWFactor))
    value = to.add(
        "Conv",
        [to.turned(operator.inputs[0], LAST_TO_FIRST), weight, *_bias(to, operator, 2)],
        kernel_shape=list(kernel),
        strides=[int(options.strideH), int(options.strideW)],
        dilations=list(dilations),
        group=groups,
        pads=_pads(to, operator, kernel, dilations),
    )
    return to.turned_back(activated(to, value, options.fusedActivationFunction))


def _bias(to: Builder, operator: LiteRTOperator, place: int) -> list[str]:
    there = len(operator.inputs) > place and operator.inputs[place] >= 0
    return [to.value(operator.inputs[place])] if there else []


def _transpose_conv(to: Builder, operator: LiteRTOperator) -> str:
    """Weight [O, h, w, I] → [I, O, h, w]; operands: the result's shape, the weight, x and, since version 3, a bias."""
    options, (_, height, width, _) = operator.options, to.shape(operator.inputs[1])
    _, *made, _ = to.shape(operator.outputs[0])
    _, *given, _ = to.shape(operator.inputs[2])
    steps, pads, missing = (int(options.strideH), int(options.strideW)), [], []
    for size, into, kernel, stride in zip(made, given, (height, width), steps, strict=True):
        whole = (into - 1) * stride + kernel
        total = max(whole - size, 0)
        pads.append((total // 2, total - total // 2))
        missing.append(max(size - whole, 0))
    value = to.add(
        "ConvTranspose",
        [
            to.turned(operator.inputs[2], LAST_TO_FIRST),
            to.turned(operator.inputs[1], (3, 0, 1, 2)),
            *_bias(to, operator, 3),
        ],
        kernel_shape=[height, width],
        strides=list(steps),
        pads=[pads[0][0], pads[1][0], pads[0][1], pads[1][1]],
        output_padding=missing,
    )
    return to.turned_back(activated(to, value, options.fusedActivationFunction))


def _pool(kind: str, to: Builder, operator: LiteRTOperator) -> str:
    """A mean is taken over the entries inside x alone, as ONNX does without count_include_pad."""
    options = operator.options
    kernel = (int(options.filterHeight), int(options.filterWidth))
    value = to.add(
        kind,
        [to.turned(operator.inputs[0], LAST_TO_FIRST)],
        kernel_shape=list(kernel),
        strides=[int(options.strideH), int(options.strideW)],
        pads=_pads(to, operator, kernel, (1, 1)),
    )
    return to.turned_back(activated(to, value, options.fusedActivationFunction))


def _resize(kind: str, to: Builder, operator: LiteRTOperator) -> str:
    options, sizes = operator.options, to.ints(operator, 1)
    where = "align_corners" if options.alignCorners else "half_pixel" if options.halfPixelCenters else "asymmetric"
    attributes = {"mode": kind, "coordinate_transformation_mode": where}
    if kind == "nearest":
        attributes["nearest_mode"] = "floor" if where == "asymmetric" else "round_prefer_ceil"
    scales = [_scale(old, new) for old, new in zip(to.shape(operator.inputs[0])[1:3], sizes, strict=True)]
    value = to.add(
        "Resize",
        [to.turned(operator.inputs[0], LAST_TO_FIRST), "", to.array(np.array([1, 1, *scales], np.float32))],
        **attributes,
    )
    return to.turned_back(value)


def _scale(old: int, new: int) -> np.float32:
    """The scale by which ONNX makes `new` of `old`: it multiplies in float32 and cuts."""
    scale = np.float32(new / old)
    return scale if int(np.float32(old) * scale) >= new else np.nextafter(scale, np.float32(np.inf))


def _blocks(kind: str, to: Builder, operator: LiteRTOperator) -> str:
    value = to.add(kind, [to.turned(operator.inputs[0], LAST_TO_FIRST)], blocksize=int(operator.options.blockSize))
    return to.turned_back(value)


def _local_response(to: Builder, operator: LiteRTOperator) -> str:
    """LiteRT sums over the 2 · radius + 1 neighbours, ONNX takes their mean."""
    options = operator.options
    size = 2 * int(options.radius) + 1
    value = to.add(
        "LRN",
        [to.turned(operator.inputs[0], LAST_TO_FIRST)],
        size=size,
        alpha=float(options.alpha) * size,
        beta=float(options.beta),
        bias=float(options.bias),
    )
    return to.turned_back(value)


RULES: dict[str, Rule] = {
    "AVERAGE_POOL_2D": partial(_pool, "AveragePool"),
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "DEPTH_TO_SPACE": partial(_blocks, "DepthToSpace"),
    "LOCAL_RESPONSE_NORMALIZATION": _local_response,
    "MAX_POOL_2D": partial(_pool, "MaxPool"),
    "RESIZE_BILINEAR": partial(_resize, "linear"),
    "RESIZE_NEAREST_NEIGHBOR": partial(_resize, "nearest"),
    "SPACE_TO_DEPTH": partial(_blocks, "SpaceToDepth"),
    "TRANSPOSE_CONV": _transpose_conv,
}
