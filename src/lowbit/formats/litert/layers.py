"""Layers with weights in a .tflite file: finds our layer for an operator, and writes its weights and bias."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from lowbit.formats.litert.file import RELU, Array, TFLiteFile
from lowbit.formats.litert.forms import Forms, IntegerGrid
from lowbit.quant.model import QuantizedLayer, QuantizedModel

WEIGHTED = {  # operator → places of activation, weight and bias among its inputs; the weight's axis of outputs
    "CONV_2D": (0, 1, 2, 0),
    "DEPTHWISE_CONV_2D": (0, 1, 2, 3),
    "FULLY_CONNECTED": (0, 1, 2, 0),
    "TRANSPOSE_CONV": (2, 1, 3, 0),
}
_FOUR_BITS = ("CONV_2D", "FULLY_CONNECTED")  # kernels that read weights of which two share a byte
_INT32 = np.iinfo(np.int32)
_SMALL_BIAS = 2**20
_LARGEST_BIAS_BESIDE_INT4 = 2**26  # XNNPACK sums 16 times the product of int4 weights in 32 bits, and says nothing


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Our layer for an operator: code − zero_point in the file's layout, and scales [O]."""

    node: ir.Node
    layer: QuantizedLayer
    weight: npt.NDArray[np.int8] = field(repr=False)
    scale: npt.NDArray[np.float32] = field(repr=False)
    bias: npt.NDArray[np.float64] = field(repr=False)  # [O], what stands in the file: real numbers on the bias's grid


def find_layer(
    file: TFLiteFile, kind: str, operator: Any, names: tuple[str, ...], model: QuantizedModel
) -> Found | None:
    """The layer whose float weights the operator has; of several equal ones that which writes one of `names`."""
    _, place, bias_place, axis = WEIGHTED[kind]
    weight = file.constant(int(operator.inputs[place]))
    if weight is None:
        return None
    given = int(operator.inputs[bias_place]) if len(operator.inputs) > bias_place else -1
    bias = None if given < 0 else file.constant(given)
    found = []
    for node in model.graph.graph:
        layer = model.layers.get(str(node.name))
        if layer is None or layer.bias is None or layer.bias.size != weight.shape[axis]:
            continue
        original = _numbers(node.inputs[1])
        for move in _moves(kind, original.ndim):
            if original.size == weight.size and np.array_equal(move(original).reshape(weight.shape), weight):
                found.append(_found(node, layer, move, weight.shape, bias))
                break
    written = [one for one in found if _writes(one.node) & set(names)]
    return next(iter(written or found), None)


def _found(
    node: ir.Node, layer: QuantizedLayer, move: Callable[[Array], Array], shape: tuple[int, ...], bias: Array | None
) -> Found:
    q, codes = layer.weight.qparams, layer.weight.codes
    integers = move(q.centred(codes)).reshape(shape).astype(np.int8)
    assert layer.bias is not None
    assert layer.bias_scale is not None
    scale = np.broadcast_to(q.scale.reshape(-1), layer.bias.shape)
    # A constant that the converter has added to the bias stays in it.
    added = 0 if bias is None else bias.astype(np.float64) - _numbers(node.inputs[2])
    return Found(node, layer, integers, scale, layer.bias.astype(np.float64) * layer.bias_scale + added)


def _numbers(value: ir.Value | None) -> Array:
    assert value is not None
    assert value.const_value is not None
    return value.const_value.numpy()


def _writes(node: ir.Node) -> set[str]:
    """The node's output, and those of its readers: an activation may have been taken into the operator."""
    readers = (use.node for use in node.outputs[0].uses())
    return {str(node.outputs[0].name), *(str(reader.outputs[0].name) for reader in readers)}


def _moves(kind: str, rank: int) -> Iterator[Callable[[Array], Array]]:
    """Ways from ONNX's layout of a weight to the operator's, but for axes of size 1."""
    if rank == 2:
        yield lambda w: w
    elif kind == "DEPTHWISE_CONV_2D":
        yield lambda w: np.moveaxis(w, 0, -1)
    elif kind == "TRANSPOSE_CONV":
        yield lambda w: np.moveaxis(w, 0, -1)
        yield lambda w: np.flip(np.moveaxis(w, 0, -1), tuple(range(1, rank - 1)))
    else:
        yield lambda w: np.moveaxis(w, 1, -1)


def write_integer(
    forms: Forms, kind: str, operator: Any, found: Found, reads: IntegerGrid, writes: IntegerGrid, *, packed: bool
) -> str:
    """Append the layer on int8 kernels; returns how its weights are stored: int4 where `packed` and they fit, or int8.

    A 1 × 1 convolution with int4 weights becomes a FULLY_CONNECTED over the channels: XNNPACK takes int4 there only,
    and LiteRT's own convolution is several times slower.
    """
    file = forms.file
    source, place, bias_place, axis = WEIGHTED[kind]
    inputs = [int(index) for index in operator.inputs]
    inputs[source] = forms.integers(inputs[source], reads)
    scale = _weight_scale(found, reads, axis)
    bias_scale = (np.float32(reads.scale) * scale).astype(np.float32)
    bias = np.clip(np.rint(found.bias / bias_scale), _INT32.min, _INT32.max).astype(np.int32)
    four = packed and kind in _FOUR_BITS and _fits_four_bits(found, bias)
    shape = found.weight.shape
    if four and kind == "CONV_2D" and _is_pointwise(file, operator, shape):
        kind, shape = "FULLY_CONNECTED", (shape[0], shape[3])
        file.set_options(
            operator, kind, fusedActivationFunction=operator.builtinOptions.fusedActivationFunction, keepNumDims=True
        )
    kept, data = (file.types.INT4, _packed(found.weight)) if four else (file.types.INT8, found.weight)
    inputs[place] = file.add(f"{found.node.name}/weight", shape, kept, data)
    file.set_type(inputs[place], kept, scale, axis=axis)
    added = file.add(f"{found.node.name}/bias", bias.shape, file.types.INT32, bias)
    file.set_type(added, file.types.INT32, bias_scale)
    operator.inputs = [*inputs[:bias_place], added]
    floor = -np.inf
    if writes.zero_point == writes.lowest:  # a grid that begins at zero: the kernel's own clamp ends there too
        floor = 0.0
        if operator.builtinOptions.fusedActivationFunction == 0:
            operator.builtinOptions.fusedActivationFunction = RELU
    forms.write(kind, operator, writes, floor)
    return "int4" if four else "int8"


def _weight_scale(found: Found, reads: IntegerGrid, axis: int) -> npt.NDArray[np.float32]:
    """The weights' scales. A channel of zeros, for which any scale is right, gets one that keeps its bias small."""
    dead = ~found.weight.any(axis=tuple(other for other in range(found.weight.ndim) if other != axis))
    enough = np.abs(found.bias) / (_SMALL_BIAS * reads.scale)
    return np.where(dead, np.maximum(found.scale, enough), found.scale).astype(np.float32)


def _fits_four_bits(found: Found, bias: npt.NDArray[np.int32]) -> bool:
    small = bool(
        found.weight.min() >= -8 and found.weight.max() <= 7 and np.abs(bias).max() <= _LARGEST_BIAS_BESIDE_INT4
    )
    return small and found.layer.weight.qparams.format.bits <= 4


def _is_pointwise(file: TFLiteFile, operator: Any, shape: tuple[int, ...]) -> bool:
    """Whether a convolution is a matrix product over the channels of each place."""
    source, options = file.shape(int(operator.inputs[0])), operator.builtinOptions
    return shape[1:] == (1, 1, source[-1]) and options.strideH == options.strideW == 1


def write_accumulators(forms: Forms, operator: Any, found: Found, reads: IntegerGrid) -> None:
    """Append a matrix product with float results, as its int32 sums times their scales.

    FULLY_CONNECTED writes int8 only; BATCH_MATMUL of int8 by int8 writes the sums. It takes codes as they are, so that
    the zero point's share, the same for every input, goes into the bias.
    """
    file, types, name = forms.file, forms.file.types, str(found.node.name)
    source, target = int(operator.inputs[0]), int(operator.outputs[0])
    codes, (columns, rows) = forms.integers(source, reads), found.weight.shape
    shape = (*file.shape(target)[:-1], rows)
    shape = shape if len(shape) > 1 else (1, rows)
    sizes = file.add(f"{name}/shape", (len(shape),), types.INT32, np.array(shape, np.int32))
    plain = file.add(f"{name}/plain", shape, types.INT8)
    file.new("RESHAPE", [codes, sizes], plain, newShape=list(shape))
    weight = file.add(f"{name}/weight", found.weight.shape, types.INT8, found.weight)
    product = (*shape[:-1], columns)
    sums, whole, real = (
        file.add(f"{name}/{part}", product, kind)
        for part, kind in (("sums", types.INT32), ("whole", types.INT32), ("real", types.FLOAT32))
    )
    file.new("BATCH_MATMUL", [plain, weight], sums, adjY=True)
    scale = (np.float32(reads.scale) * found.scale).astype(np.float32)
    offset = np.rint(found.bias / scale) - reads.zero_point * found.weight.astype(np.float64).sum(axis=1)
    bias = np.clip(offset, _INT32.min, _INT32.max).astype(np.int32)
    file.new("ADD", [sums, file.add(f"{name}/bias", bias.shape, types.INT32, bias)], whole)
    file.new("CAST", [whole], real, inDataType=types.INT32, outDataType=types.FLOAT32)
    factor = file.add(f"{name}/scale", scale.shape, types.FLOAT32, scale)
    fused = operator.builtinOptions.fusedActivationFunction
    file.new("MUL", [real, factor], target, fusedActivationFunction=fused)


def write_float(forms: Forms, kind: str, operator: Any, found: Found) -> None:
    """Append the layer on float kernels, with its weights as they are quantized."""
    file = forms.file
    source, place, bias_place, axis = WEIGHTED[kind]
    inputs = [int(index) for index in operator.inputs]
    inputs[source] = forms.floats(inputs[source])
    codes = file.add(f"{found.node.name}/weight", found.weight.shape, file.types.INT8, found.weight)
    file.set_type(codes, file.types.INT8, found.scale, axis=axis)
    inputs[place] = file.add(f"{found.node.name}/weight/float", found.weight.shape, file.types.FLOAT32)
    file.new("DEQUANTIZE", [codes], inputs[place])
    bias = file.add(f"{found.node.name}/bias", found.bias.shape, file.types.FLOAT32, found.bias.astype(np.float32))
    operator.inputs = [*inputs[:bias_place], bias]
    file.append_float(operator)


def _packed(integers: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    """Two to a byte, the first in the lower half."""
    flat = integers.reshape(-1).astype(np.uint8) & 15
    flat = np.append(flat, np.zeros(flat.size % 2, np.uint8))
    return (flat[0::2] | flat[1::2] << 4).astype(np.uint8)
