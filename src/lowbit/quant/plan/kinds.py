"""What kind of operator a node is to a quantizer."""

from collections.abc import Container

import onnx_ir as ir

from lowbit.graph.values import constant
from lowbit.quant.model import PRODUCTS

PASSING = frozenset(
    {"Compress", "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherND", "GlobalMaxPool", "Identity"}
    | {"MaxPool", "Pad", "ReduceMax", "ReduceMin", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile"}
    | {"Transpose", "Unsqueeze"}
)  # the result holds nothing but entries of the inputs (and zeros): codes and scale stay
_COMMUTING = frozenset(
    {"DepthToSpace", "Flatten", "GlobalMaxPool", "Identity", "MaxPool", "Reshape", "Slice", "SpaceToDepth", "Squeeze"}
    | {"Transpose", "Unsqueeze"}
)  # of those, the ones with one input that a Relu or Clip may stand before or behind (a Pad's zeros are no Clip's)
SIZES = frozenset({"Shape", "Size"})  # they read how large a tensor is, and none of its numbers
ARITHMETIC = frozenset({"Add", "AveragePool", "GlobalAveragePool", "Mul", "ReduceMean", "Sub"})
POINTWISE = frozenset(
    {"Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Elu", "Erf"}
    | {"Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Mish", "Neg", "PRelu", "Pow"}
    | {"Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign"}
    | {"Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu"}
)
_MASK = 1e4  # exporters write -inf, the lowest float32 or float16, -1e9, -10000
POINTWISE_OF_TWO = frozenset({"Add", "Div", "Max", "Min", "Mul", "Sub"})


def is_float(value: ir.Value | None) -> bool:
    """Whether the value holds float numbers (sizes and indices do not)."""
    return value is not None and value.dtype in (None, ir.DataType.FLOAT)


def inputs_of(node: ir.Node) -> list[ir.Value]:
    """The float tensors that the node computes from: no constants, sizes or indices."""
    return [value for value in node.inputs if value is not None and is_float(value) and constant(value) is None]


def seen_in(node: ir.Node, values: Container[ir.Value]) -> list[ir.Value]:
    """Those results of the node that depend on `values`: its float results, if it reads one of them.

    Sizes and indices are integers and do not count: a shape that is computed from a tensor says nothing about its
    numbers.
    """
    if not any(value in values for value in node.inputs if value is not None):
        return []
    return [value for value in node.outputs if is_float(value)]


def float_constants(node: ir.Node) -> list[ir.Value]:
    """The float constants that the node computes from."""
    return [value for value in node.inputs if value is not None and is_float(value) and constant(value) is not None]


def has_weight(node: ir.Node) -> bool:
    """Whether it is a convolution or matrix product with constant weight and bias, or an embedding."""
    if node.op_type in ("Conv", "ConvTranspose", "Gemm"):
        fixed = all(value is None or constant(value) is not None for value in node.inputs[1:])
        return fixed and constant(node.inputs[0]) is None and not node.attributes.get_int("transA", 0)
    return node.op_type == "Gather" and constant(node.inputs[0]) is not None and is_float(node.inputs[0])


def is_product(node: ir.Node) -> bool:
    """Whether it multiplies and accumulates, in a form that integer kernels know."""
    if node.op_type == "MatMul":
        return all(constant(value) is None for value in node.inputs)
    return node.op_type in PRODUCTS and has_weight(node)


def is_arithmetic(node: ir.Node) -> bool:
    """Whether it adds, multiplies or averages what an 8-bit range can hold."""
    return node.op_type in ARITHMETIC and not is_mask(node)


def is_mask(node: ir.Node) -> bool:
    """Whether it adds a constant that excludes entries from a softmax: infinite, or far beyond any score."""
    if node.op_type not in ("Add", "Sub"):
        return False
    constants = [constant(value) for value in float_constants(node)]
    return any(array is not None and array.size > 1 and bool((abs(array) >= _MASK).any()) for array in constants)


def is_scale_and_shift(node: ir.Node) -> bool:
    """Whether it is a convolution with one weight a channel: any width is exact, since each has its own scale."""
    weight = constant(node.inputs[1]) if node.op_type == "Conv" else None
    return weight is not None and weight.size == weight.shape[0] == node.attributes.get_int("group", 1)


def adds_products(node: ir.Node) -> bool:
    """Whether kernels may add neighbouring products in 16 bits before they widen the sum.

    Tables are only looked up. Depthwise convolutions widen their operands first, in ONNX Runtime and OpenVINO alike.
    """
    if node.op_type != "Conv":
        return node.op_type != "Gather"
    weight, groups = constant(node.inputs[1]), node.attributes.get_int("group", 1)
    return weight is None or groups == 1 or weight.shape[:2] != (groups, 1)


def is_passing(node: ir.Node) -> bool:
    """Whether codes pass through unchanged."""
    if node.op_type == "Pad":
        fill = constant(node.inputs[2]) if len(node.inputs) > 2 else None
        mode = node.attributes.get_string("mode", "constant")
        return mode != "constant" or len(node.inputs) < 3 or node.inputs[2] is None or not (fill is None or fill.any())
    return node.op_type in PASSING and bool(inputs_of(node)) and all(is_float(value) for value in node.outputs[:1])


def is_clamp(node: ir.Node) -> bool:
    """Whether it is a Relu, or a Clip with constant limits, that a saturating quantizer may do."""
    if node.op_type == "Relu":
        return True
    return node.op_type == "Clip" and all(value is None or constant(value) is not None for value in node.inputs[1:])


def is_pointwise(node: ir.Node) -> bool:
    """Whether each entry of its result depends on the same entry of its inputs (and on single constant numbers)."""
    if any((array := constant(value)) is None or array.size != 1 for value in float_constants(node)):
        return False
    return node.op_type in POINTWISE or node.op_type in POINTWISE_OF_TWO


def clamp_behind(value: ir.Value) -> ir.Node | None:
    """The Relu or Clip that is the only reader of `value`."""
    reader = _only_reader(value)
    return reader if reader is not None and reader.op_type in ("Relu", "Clip") else None


def before_clamp(clamp: ir.Node) -> list[ir.Value]:
    """The values that a Relu or Clip cuts, followed back through nodes that only move entries.

    The first is the one that is computed, the last the one that the clamp reads. Empty where another node reads one of
    them.
    """
    value, found = clamp.inputs[0], list[ir.Value]()
    while value is not None and _only_reader(value) is not None:
        found.insert(0, value)
        mover = value.producer()
        if mover is None or not _commutes(mover):
            return found
        value = mover.inputs[0]
    return []


def clamp_of(value: ir.Value) -> ir.Node | None:
    """The Relu or Clip that is the only use of `value`, after nodes that only move entries."""
    reader = _only_reader(value)
    while reader is not None and _commutes(reader):
        reader = _only_reader(reader.outputs[0])
    return reader if reader is not None and is_clamp(reader) else None


def _commutes(node: ir.Node) -> bool:
    """Whether a Relu or Clip may stand before or after it. It may not for places of maxima, which cutting changes."""
    return node.op_type in _COMMUTING and not any(value.uses() for value in node.outputs[1:])


def _only_reader(value: ir.Value) -> ir.Node | None:
    """The one node that reads `value`, as its first input."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    reader, place = next(iter(uses))
    return reader if place == 0 else None
