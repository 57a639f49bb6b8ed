"""Small edits of a graph that every rewrite needs: a fresh constant, one node in the place of another, sizes anew."""

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes import common


def initializer(graph: ir.Graph, name: str, array: npt.NDArray[np.generic]) -> ir.Value:
    """A new constant that holds `array`, called `name`, with underscores behind it where the name is taken."""
    while name in graph.initializers:
        name += "_"
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def replace(graph: ir.Graph, old: ir.Node, *new: ir.Node) -> None:
    """Put `new` in the place of `old`; the last one's first output takes over old's name, type, shape and readers."""
    before, after = old.outputs[0], new[-1].outputs[0]
    after.name, after.type, after.shape = before.name, before.type, before.shape
    graph.insert_before(old, list(new))
    ir.convenience.replace_all_uses_with(before, after, replace_graph_outputs=True)
    graph.remove(old, safe=True)


def only_reader(value: ir.Value) -> ir.Node | None:
    """The node that alone reads `value`; None where there are several, none, or the graph gives the value out."""
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def infer_shapes_again(model: ir.Model) -> None:
    """Forget every inferred size, since a wrong one spreads; an output keeps its own where none is found."""
    declared = [(value, value.shape) for value in model.graph.outputs]
    for node in model.graph:
        for value in node.outputs:
            value.shape = None
    common.ShapeInferencePass()(model)
    for value, shape in declared:
        if value.shape is None:
            value.shape = shape
