"""Weights in an ONNX file: packed codes, and the standard operators that take them apart while a runtime loads them.

| bits    | stored                  | becomes int8 code − zero_point [O, …] by                           |
|---------|-------------------------|--------------------------------------------------------------------|
| 8       | int8, code − zero_point | nothing                                                            |
| 2, 4    | bytes                   | Cast int32 → Gather from a table int8 [256, 8/bits] → Reshape      |
| 3, 5…7  | bytes, one run a field  | Cast → Gather for each field, Add (int8), Reshape                  |

A Slice cuts the last byte's filling where there is any. Asymmetric weights: Add of an int8 offset [O, 1, …].
ONNX Runtime and OpenVINO fold all of it into one int8 constant. Other forms (Div and Mod, BitShift, INT4 behind
DequantizeLinear) cost more memory, or leave a runtime computing in float. The tables are shared by all layers.
"""

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from lowbit.formats.onnx.builder import GraphWriter
from lowbit.quant import packing
from lowbit.quant.model import QTensor


def weight_name(node: str, field: int = 0) -> str:
    """The initializer with the weight codes of the layer `node`, or with field number `field` of them."""
    return f"{node}:w{field or ''}"


def stored_weight(weight: QTensor) -> npt.NDArray[np.int8]:
    """What an int8 initializer holds: code − zero_point; for `group` code − the format's middle, zero points apart."""
    qparams = weight.qparams
    if qparams.format.granularity == "group":
        return (weight.codes - qparams.format.middle).astype(np.int8)
    return qparams.centred(weight.codes).astype(np.int8)


def write_weight(writer: GraphWriter, node: str, weight: QTensor, *, packed: bool) -> str:
    """The int8 value code − zero_point, of the weight's own shape."""
    form = weight.qparams.format
    if not packed or form.bits == 8:
        return writer.constant(stored_weight(weight), weight_name(node))
    centred = _unpacked(writer, node, weight)
    offset = form.middle - weight.qparams.zero_point
    if not offset.any():
        return centred
    return writer.emit("Add", [centred, writer.constant(offset.astype(np.int8))])


def write_dequantized(writer: GraphWriter, integers: str, weight: QTensor) -> str:
    """The real weights that kernels take the integers of `write_weight` for."""
    scale, axis = weight.qparams.scale, weight.qparams.axis
    if axis is not None:
        scale = scale.reshape(-1)  # DequantizeLinear wants [C] and the axis
    # With one zero point for a convolution and a Gemm, OpenVINO 2026.4 computes most of a reshaped network in float.
    zero = writer.constant(np.zeros(scale.shape, np.int8), owner=integers)
    along = {} if axis is None else {"axis": axis}
    return writer.emit("DequantizeLinear", [integers, writer.constant(scale), zero], **along)


def write_grouped(writer: GraphWriter, node: str, weight: QTensor, *, packed: bool) -> str:
    """The real weights [O, K] of granularity `group`: scale and zero point [O, K / group_size] (opset 21)."""
    qparams = weight.qparams
    form = qparams.format
    assert form.group_size is not None
    if packed and form.bits < 8:
        integers = _unpacked(writer, node, weight)
    else:
        integers = writer.constant(stored_weight(weight), weight_name(node))
    zero_point = (qparams.zero_point - form.middle).astype(np.int8)
    operands = [integers, writer.constant(qparams.scale), writer.constant(zero_point)]
    return writer.emit("DequantizeLinear", operands, axis=1, block_size=form.group_size)


def _unpacked(writer: GraphWriter, node: str, weight: QTensor) -> str:
    """int8 code − the format's middle, of the weight's own shape."""
    form, shape, count = weight.qparams.format, weight.codes.shape, weight.codes.size
    runs = packing.pack(weight.codes - form.lowest, form.bits)
    widths = packing.fields(form.bits)
    together = 8 // widths[-1]  # so many codes stand in one byte of the narrowest field
    whole = count % together == 0
    parts = []
    for index, (run, width) in enumerate(zip(runs, widths, strict=True)):
        # Axes of 2 after the first make the parts of all fields equal in shape, so that Add needs no Reshape before.
        grid = (-1, *_twos(width // widths[-1])) if whole else (-1,)
        data = writer.constant(run.reshape(grid), weight_name(node, index))
        table = packing.table(form.bits, index).reshape(256, *_twos(8 // width))
        part = writer.emit("Gather", [writer.constant(table), writer.emit("Cast", [data], to=TensorProto.INT32)])
        parts.append(part if whole else _cut(writer, part, count, filled=count * width % 8 != 0))
    total = parts[0]
    for part in parts[1:]:
        total = writer.emit("Add", [total, part])
    return _reshape(writer, total, shape)


def _twos(size: int) -> list[int]:
    """A power of two as axes of 2."""
    return [2] * (size.bit_length() - 1)


def _cut(writer: GraphWriter, part: str, count: int, *, filled: bool) -> str:
    """int8 [count], without the filling of the last byte."""
    flat = _reshape(writer, part, (-1,))
    ends = [writer.constant(np.array([end], np.int64)) for end in (0, count)]
    return writer.emit("Slice", [flat, *ends]) if filled else flat


def _reshape(writer: GraphWriter, value: str, shape: tuple[int, ...]) -> str:
    return writer.emit("Reshape", [value, writer.constant(np.array(shape, np.int64))])
