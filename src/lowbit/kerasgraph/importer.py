"""The importer: converts a float ONNX graph to a functional Keras model of plain, trainable layers: its twin.

Layers have the names of the ONNX nodes. Images are kept with their channels last, as TensorFlow wants them, and a
Transpose becomes an operator only where somebody needs the axes in another order. The model is made for one batch size,
so that all arithmetic of sizes is done here. What Keras has no layer for is an `Operation`.
"""

from pathlib import Path
from typing import Any

import onnx_ir as ir
import tf_keras

from lowbit.core.errors import BadInput, UnsupportedError
from lowbit.core.text import said
from lowbit.graph.refused import FOLDED_IF_CONSTANT, REFUSED
from lowbit.kerasgraph.builder import Builder, Handler
from lowbit.kerasgraph.gelu import find_gelu
from lowbit.kerasgraph.operators import (
    activations,
    attention,
    gather,
    images,
    layers,
    math,
    normalizations,
    pooling,
    recurrent,
    reductions,
    resize,
    shapes,
)
from lowbit.kerasgraph.values import Constant, ImportedOp, Tensor, Value
from lowbit.reference.floats.evaluate import evaluate

OPERATORS: dict[str, Handler] = {
    **layers.OPERATORS,
    **normalizations.OPERATORS,
    **activations.OPERATORS,
    **pooling.OPERATORS,
    **resize.OPERATORS,
    **images.OPERATORS,
    **math.OPERATORS,
    **reductions.OPERATORS,
    **recurrent.OPERATORS,
    **attention.OPERATORS,
    **shapes.OPERATORS,
    **gather.OPERATORS,
}
"""Operator type → its rule. Of constants, and of sizes, which are constant too, everything is folded."""

_OLDEST_OPSET = 13  # gave Softmax its present meaning, and Squeeze, Unsqueeze, Split and ReduceSum their second inputs


def import_graph(path: Path, batch_size: int) -> Any:
    """The ONNX graph at `path` as a tf_keras model: one image input, its outputs with their axes in ONNX's order.

    The graph must have opset 13 or newer, nodes in topological order, no local functions, and one input [batch, C, H,
    W], which the model takes as [batch_size, H, W, C] (or as it is, where nobody could tell the two apart).

    Raises BadInput for an older opset or another input. Raises UnsupportedError, which names the operator and its node,
    for an operator that cannot be imported.
    """
    model = ir.load(path)
    opset = model.opset_imports.get("", 0)
    if opset < _OLDEST_OPSET:
        raise BadInput(
            f"{path} has ONNX opset {opset}; expected {_OLDEST_OPSET} or newer, since older operators mean other "
            "things by the same name: convert it with onnx.version_converter"
        )
    find_gelu(model.graph)
    builder = Builder(batch_size)
    values: dict[ir.Value, Value] = {
        value: Constant(name, value.const_value.numpy())
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
    }
    image = _image(model, path)
    values[image] = source = builder.image("x", _sizes(image))
    for node in model.graph:
        if node.outputs[0] not in values:  # an Add or a Relu may have been taken into the layer before it
            _import_node(builder, node, values, opset)
    outputs = []
    for output in model.graph.outputs:
        result = values[output]
        if isinstance(result, Constant):  # it depends on the image's size alone
            outputs.append(builder.call(lambda _, numbers: numbers, source.value, result.array))
        else:
            outputs.append(builder.plain(result))
    return tf_keras.Model(source.value, outputs[0] if len(outputs) == 1 else outputs, name="twin")


def _image(model: ir.Model, path: Path) -> ir.Value:
    inputs = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    if len(inputs) != 1:
        names = ", ".join(str(value.name) for value in inputs)
        raise BadInput(f"{path} has {len(inputs)} inputs ({names}); expected one, an image [batch, C, H, W]")
    return inputs[0]


def _sizes(value: ir.Value) -> tuple[int, ...]:
    stated = [] if value.shape is None else list(value.shape)[1:]
    sizes = tuple(size for size in stated if isinstance(size, int))
    if not sizes or len(sizes) != len(stated):
        raise BadInput(
            f"the input {value.name!r} has shape {value.shape}; expected [batch, C, H, W] with fixed C, H and W: "
            "export the model with a fixed image size"
        )
    return sizes


def _import_node(builder: Builder, node: ir.Node, values: dict[ir.Value, Value], opset: int) -> None:
    """Import one node: bind each of its outputs to a folded constant, or to a new tensor of the model."""
    inputs = [None if value is None else values[value] for value in node.inputs]
    last = node
    if node.op_type == "MatMul" and (add := _bias_behind(node, values)) is not None:
        inputs.append(next(values[v] for v in add.inputs if v is not None and v is not node.outputs[0]))
        last = add
    relu = _relu_behind(last) if node.op_type in layers.TAKES_RELU else None
    outputs = list((relu or last).outputs)
    builder.op = op = ImportedOp(
        name=node.name or str(node.outputs[0].name),
        type=node.op_type,
        opset=opset,
        inputs=tuple(inputs),
        attributes={name: attribute.value for name, attribute in node.attributes.items()},
        n_outputs=len(outputs),
        relu=relu is not None,
        for_products=_only_products_read(node, values),
    )
    if node.domain not in ("", "ai.onnx"):
        raise op.unsupported(f"its domain {node.domain!r} is not ONNX's own")
    results = _results(builder, node, op)
    if any(output.uses() or output.is_graph_output() for output in outputs[len(results) :]):
        raise op.unsupported(f"more than its first {len(results)} outputs are used")
    for output, result in zip(outputs, results):  # noqa: B905 - outputs that nobody uses need no value
        values[output] = result


def _results(builder: Builder, node: ir.Node, op: ImportedOp) -> tuple[Value, ...]:
    constant = all(isinstance(value, Constant) for value in op.inputs if value is not None)
    if op.type in REFUSED and not (constant and op.type in FOLDED_IF_CONSTANT):
        raise op.unsupported(REFUSED[op.type])
    if constant:
        return _fold(node, op)
    handler = OPERATORS.get(op.type)
    if handler is None:
        raise op.unsupported("the importer has no rule for it")
    results = handler(builder, op)
    return results if isinstance(results, tuple) else (results,)


def _fold(node: ir.Node, op: ImportedOp) -> tuple[Value, ...]:
    """The outputs of a node whose inputs are all constant."""
    arrays = [value.array if isinstance(value, Constant) else None for value in op.inputs[: len(node.inputs)]]
    try:
        results = evaluate(ir.to_proto(node), arrays, {"": op.opset})
    except (NotImplementedError, RuntimeError, ValueError) as error:
        raise op.unsupported(f"its inputs are constant, but folding it fails: {said(error)}") from error
    except UnsupportedError as error:
        raise op.unsupported(f"its inputs are constant, but folding it fails: {error.reason}") from error
    named = zip(node.outputs, results, strict=True)
    return tuple(Constant(str(value.name), result) for value, result in named)


def _bias_behind(node: ir.Node, values: dict[ir.Value, Value]) -> ir.Node | None:
    """The Add that follows a MatMul and can be its bias, so that the two become one Dense; None where there is none.

    The MatMul multiplies by a constant matrix [I, O], the Add adds a constant vector [O], and nothing else reads the
    MatMul's result.
    """
    x, weight = (None if value is None else values.get(value) for value in node.inputs)
    uses = node.outputs[0].uses()
    if not isinstance(x, Tensor) or not isinstance(weight, Constant):
        return None
    if len(uses) != 1 or node.outputs[0].is_graph_output():
        return None
    add = next(iter(uses)).node
    others = [values.get(value) for value in add.inputs if value is not None and value is not node.outputs[0]]
    if add.op_type != "Add" or len(others) != 1 or not isinstance(others[0], Constant):
        return None
    is_dense = weight.array.ndim == 2 and others[0].array.shape == weight.array.shape[1:]
    return add if is_dense else None


def _relu_behind(node: ir.Node) -> ir.Node | None:
    """The Relu that alone reads what `node` gives, so that one layer computes both."""
    value = node.outputs[0]
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output() or uses[0].node.op_type != "Relu":
        return None
    return uses[0].node


def _only_products_read(node: ir.Node, values: dict[ir.Value, Value]) -> bool:
    """Whether only products read what `node` gives, on the left of a constant matrix."""
    value = node.outputs[0]
    uses = list(value.uses())
    if not uses or value.is_graph_output():
        return False
    return all(_is_product(use.node, use.idx, values) for use in uses)


def _is_product(node: ir.Node, index: int, values: dict[ir.Value, Value]) -> bool:
    weight = values.get(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] is not None else None
    if index != 0 or not isinstance(weight, Constant) or weight.array.ndim != 2:
        return False
    if node.op_type == "MatMul":
        return True
    if node.op_type != "Gemm" or node.attributes.get_int("transA", 0) == 1:
        return False
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    row = None if bias is None else values.get(bias)
    return bias is None or (isinstance(row, Constant) and row.array.size in (1, *row.array.shape[-1:]))
