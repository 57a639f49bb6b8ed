"""The importer: converts a float ONNX graph to a torch.fx.GraphModule of plain, trainable torch layers.

Layers have the names of the ONNX nodes, in which an underscore stands for what is no letter, digit or underscore.
Constant subgraphs are folded, and shape arithmetic becomes Python integers. Only the batch size stays free, so that
torch.export (with a dynamic batch), torch.jit.trace, FX quantization and litert-torch accept the module. Its argument
is called `x`.
"""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from torch import fx

from lowbit.core.errors import BadInput, UnsupportedError
from lowbit.core.text import said
from lowbit.graph.refused import FOLDED_IF_CONSTANT, REFUSED
from lowbit.reference.floats.evaluate import evaluate
from lowbit.torchgraph.builder import Builder, Handler
from lowbit.torchgraph.operators import (
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
    sizes,
)
from lowbit.torchgraph.values import Constant, ImportedOp, Value

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
    "Shape": sizes.shape,
    "Size": sizes.size,
}
"""Operator type → its rule. `refused.REFUSED` says why the standard's other operators have none."""

VALUES = "onnx_values"  # key in an fx node's meta: the names of the ONNX values that the node's result stands for

OLDEST_OPSET = 13  # gave Softmax its present meaning, and Squeeze, Unsqueeze, Split and ReduceSum their second inputs


def import_graph(path: Path, *, inputs: int = 1) -> fx.GraphModule:
    """The ONNX graph at `path` as a module in eval mode: x [batch, C, H, W] → its output, or a tuple of its outputs.

    The graph must have opset 13 or newer, nodes in topological order, and no local functions. `inputs` is the number of
    inputs that it must have; the module's arguments are x, x1, x2 …

    Raises BadInput for an older opset, another number of inputs, or an input whose size is not fixed. Raises
    UnsupportedError, which names the operator and its node, for an operator that cannot be imported.
    """
    model = ir.load(path)
    opset = model.opset_imports.get("", 0)
    if opset < OLDEST_OPSET:
        raise BadInput(
            f"{path} has ONNX opset {opset}; expected {OLDEST_OPSET} or newer, since older operators mean other "
            "things by the same name: convert it with onnx.version_converter"
        )
    builder = Builder()
    values: dict[ir.Value, Value] = _initializers(model.graph)
    for number, value in enumerate(_inputs(model, path, inputs)):
        values[value] = placeholder = _placeholder(builder, value, f"x{number or ''}")
        placeholder.meta[VALUES] = [str(value.name)]
    for node in model.graph:
        if node.outputs[0] not in values:  # an Add may have been taken into the Linear before it
            _import_node(builder, node, values, opset)
    outputs = [builder.tensor(values[output]) for output in model.graph.outputs]
    builder.graph.output(outputs[0] if len(outputs) == 1 else tuple(outputs))
    module = fx.GraphModule(builder.root, builder.graph, class_name="ImportedGraph")
    module.graph.eliminate_dead_code()  # sizes that were asked for on the way and turned out to be fixed
    return fx.GraphModule(module, module.graph, class_name="ImportedGraph").eval()  # keeps only what is used


def _initializers(graph: ir.Graph) -> dict[ir.Value, Value]:
    found: dict[ir.Value, Value] = {}
    for name, value in graph.initializers.items():
        if value.const_value is not None:
            found[value] = Constant(name, value.const_value.numpy())
    return found


def _inputs(model: ir.Model, path: Path, count: int) -> list[ir.Value]:
    inputs = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    if len(inputs) != count:
        names = ", ".join(str(value.name) for value in inputs)
        wanted = "one, an image [batch, C, H, W]" if count == 1 else f"{count}"
        raise BadInput(f"{path} has {len(inputs)} inputs ({names}); expected {wanted}")
    return inputs


def _placeholder(builder: Builder, value: ir.Value, name: str) -> fx.Node:
    stated = [] if value.shape is None else list(value.shape)[1:]
    sizes = [size for size in stated if isinstance(size, int)]
    if not sizes or len(sizes) != len(stated):
        raise BadInput(
            f"the input {value.name!r} has shape {value.shape}; expected [batch, C, H, W] with fixed C, H and W: "
            "export the model with a fixed image size"
        )
    dtype = ir.DataType.FLOAT if value.dtype is None else value.dtype
    return builder.input(name, tuple(sizes), torch.from_numpy(np.empty(0, dtype.numpy())).dtype)


def _import_node(builder: Builder, node: ir.Node, values: dict[ir.Value, Value], opset: int) -> None:
    """Import one node: bind each of its outputs to a folded constant, to sizes, or to a new node of the fx graph."""
    inputs = [None if value is None else values[value] for value in node.inputs]
    outputs = list(node.outputs)
    if node.op_type == "MatMul" and (add := _bias_behind(node, values)) is not None:
        inputs.append(next(values[v] for v in add.inputs if v is not None and v is not node.outputs[0]))
        outputs = list(add.outputs)
    builder.op = op = ImportedOp(
        name=node.name or str(node.outputs[0].name),
        type=node.op_type,
        opset=opset,
        inputs=tuple(inputs),
        attributes={name: attribute.value for name, attribute in node.attributes.items()},
        n_outputs=len(outputs),
    )
    if node.domain not in ("", "ai.onnx"):
        raise op.unsupported(f"its domain {node.domain!r} is not ONNX's own")
    results = _results(builder, node, op)
    if any(output.uses() or output.is_graph_output() for output in outputs[len(results) :]):
        raise op.unsupported(f"more than its first {len(results)} outputs are used")
    for output, result in zip(outputs, results):  # noqa: B905 - outputs that nobody uses need no value
        values[output] = result
        if isinstance(result, fx.Node):
            result.meta.setdefault(VALUES, []).append(str(output.name))


def _results(builder: Builder, node: ir.Node, op: ImportedOp) -> tuple[Value, ...]:
    given = [value for value in op.inputs if value is not None]
    constant = all(isinstance(value, Constant) for value in given)
    if op.type in REFUSED and not (constant and op.type in FOLDED_IF_CONSTANT):
        raise op.unsupported(REFUSED[op.type])
    if constant:
        return _fold(node, op)
    handler = OPERATORS.get(op.type)
    if not any(isinstance(value, fx.Node) for value in given) and op.type in sizes.OPERATORS:
        handler = sizes.OPERATORS[op.type]
    if handler is None:
        raise op.unsupported("the importer has no rule for it")
    results = handler(builder, op)
    return results if isinstance(results, tuple) else (results,)


def _fold(node: ir.Node, op: ImportedOp) -> tuple[Value, ...]:
    """The outputs of a node whose inputs are all constant."""
    arrays = [value.array if isinstance(value, Constant) else None for value in op.inputs]
    try:
        results = evaluate(ir.to_proto(node), arrays, {"": op.opset})
    except (NotImplementedError, RuntimeError, ValueError) as error:
        raise op.unsupported(f"its inputs are constant, but folding it fails: {said(error)}") from error
    except UnsupportedError as error:
        raise op.unsupported(f"its inputs are constant, but folding it fails: {error.reason}") from error
    named = zip(node.outputs, results, strict=True)
    return tuple(Constant(str(value.name), result) for value, result in named)


def _bias_behind(node: ir.Node, values: dict[ir.Value, Value]) -> ir.Node | None:
    """The Add that follows a MatMul and can be its bias, so that the two become one Linear; None where there is none.

    The MatMul multiplies by a constant matrix [I, O], the Add adds a constant vector [O], and nothing else reads the
    MatMul's result.
    """
    x, weight = (None if value is None else values.get(value) for value in node.inputs)
    uses = node.outputs[0].uses()
    if not isinstance(x, fx.Node) or not isinstance(weight, Constant):
        return None
    if len(uses) != 1 or node.outputs[0].is_graph_output():
        return None
    add = next(iter(uses)).node
    others = [values.get(value) for value in add.inputs if value is not None and value is not node.outputs[0]]
    if add.op_type != "Add" or len(others) != 1 or not isinstance(others[0], Constant):
        return None
    is_linear = weight.array.ndim == 2 and others[0].array.shape == weight.array.shape[1:]
    return add if is_linear else None
