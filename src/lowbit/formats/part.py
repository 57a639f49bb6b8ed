"""Parts of a quantized model that read codes and give codes, each as a model of its own: what verification runs alone.

| part                                               | reads            | gives                              |
|----------------------------------------------------|------------------|------------------------------------|
| a layer with weights, and the Relu or Clip behind  | codes            | codes, or floats where no quantizer follows |
| another operator on integers (Add, pooling …)      | codes            | codes                              |
| what is computed in float between quantizers       | codes            | codes                              |

What only puts entries elsewhere (Reshape, Transpose …) is no part, but Concat, Pad, Slice and MaxPool are.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import onnx_ir as ir

from lowbit.core.adapter import CodePorts
from lowbit.core.errors import BadInput
from lowbit.graph.values import constant
from lowbit.quant.model import QuantizedModel
from lowbit.quant.plan import kinds

_COMPUTING = frozenset({"Concat", "GlobalMaxPool", "MaxPool", "Pad", "Slice"})  # of kinds.PASSING


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A few nodes of a model, in a graph of their own.

    - node, op_type: the layer, or the last node that computes
    - reads: for every input of `model`'s graph, the node of the whole model that reads these codes, and the number of
      the input by which it reads them
    - model: the part. Every input that is read as codes has its quantizer in `main`, and so has the output.
    """

    node: str
    op_type: str
    reads: tuple[tuple[str, int], ...]
    model: QuantizedModel

    @property
    def ports(self) -> CodePorts:
        """How a runtime finds the part's inputs and reads its result."""
        graph, main = self.model.graph.graph, self.model.main
        result = main.get(str(graph.outputs[0].name))
        names = [str(value.name) for value in graph.inputs]
        inputs = tuple((name, int(main[name].zero_point) if name in main else 0) for name in names)
        return CodePorts(inputs, None if result is None else int(result.zero_point))


def parts(model: QuantizedModel) -> tuple[tuple[Part, ...], dict[str, str]]:
    """All parts in the graph's order; and the layers with weights that are in none → why."""
    found: dict[str, Part] = {}
    left: dict[str, str] = {}
    for node in model.graph.graph:
        name = str(node.name)
        if name in model.layers:
            if node.op_type == "Gather":
                left[name] = "a table: its rows are looked up, nothing is computed"
            elif node.inputs[0] is None or model.read_as(node, node.inputs[0]) is None:
                left[name] = "it reads float values"
            else:
                found[name] = _layer(model, node)
        elif node.outputs and node.outputs[0].name in model.main and not _only_moves(node):
            part = _computed(model, node)
            if part is not None:
                found.setdefault(part.node, part)
    return tuple(found.values()), left


def part_of(model: QuantizedModel, name: str) -> Part:
    """The part of that name. A layer that reads floats is one too; BadInput where the node is in no part."""
    node = next((node for node in model.graph.graph if node.name == name), None)
    if node is not None and name in model.layers and node.op_type != "Gather":
        return _layer(model, node)
    found = {part.node: part for part in parts(model)[0]}
    if name not in found:
        raise BadInput(
            f"{name!r} computes nothing on codes that could run alone: expected one of {', '.join(found) or 'none'}"
        )
    return found[name]


def _only_moves(node: ir.Node) -> bool:
    return kinds.is_passing(node) and node.op_type not in _COMPUTING


def _layer(model: QuantizedModel, node: ir.Node) -> Part:
    """The layer with what clamps its result."""
    nodes, result = [node], node.outputs[0]
    while str(result.name) not in model.main and (behind := kinds.clamp_behind(result)) is not None:
        nodes.append(behind)
        result = behind.outputs[0]
    assert node.inputs[0] is not None
    return _alone(model, node, nodes, {node.inputs[0]: (node, 0)}, result)


def _computed(model: QuantizedModel, last: ir.Node) -> Part | None:
    """What computes `last`'s result from codes; None where it reads floats from outside, or is a layer's clamp."""
    inside: set[ir.Node] = set()
    reads: dict[ir.Value, tuple[ir.Node, int]] = {}
    todo = [last]
    while todo:
        node = todo.pop()
        if node in inside:
            continue
        inside.add(node)
        for place, value in enumerate(node.inputs):
            if value is None or constant(value) is not None:
                continue
            maker = value.producer()
            if model.read_as(node, value) is not None:
                reads.setdefault(value, (node, place))
            elif maker is None or node.name in model.layers:
                return None
            else:
                todo.append(maker)
    nodes = [node for node in model.graph.graph if node in inside]
    if not reads or (nodes[0].name in model.layers and all(kinds.is_clamp(node) for node in nodes[1:])):
        return None
    named = next((node for node in reversed(nodes) if node.name not in model.absorbed), nodes[-1])
    return _alone(model, named, nodes, reads, last.outputs[0])


def _alone(
    model: QuantizedModel,
    named: ir.Node,
    nodes: list[ir.Node],
    reads: dict[ir.Value, tuple[ir.Node, int]],
    result: ir.Value,
) -> Part:
    values = {value: _copy(value, ir.TensorType(ir.DataType.FLOAT)) for value in reads}
    for value in (value for node in nodes for value in node.inputs if value is not None):
        if constant(value) is not None and value not in values:
            values[value] = _copy(value, value.type)
    copies = []
    for old in nodes:
        inputs = [None if value is None else values[value] for value in old.inputs]
        attributes = list(old.attributes.values())
        copies.append(ir.Node("", old.op_type, inputs, attributes, num_outputs=len(old.outputs), name=old.name))
        for before, after in zip(old.outputs, copies[-1].outputs, strict=True):
            values[before] = after
            after.name, after.shape, after.type = before.name, before.shape, before.type
    graph = ir.Graph(
        [values[value] for value in reads],
        [values[result]],
        nodes=copies,
        initializers=[value for value in values.values() if value.const_value is not None],
        opset_imports=dict(model.graph.opset_imports),
        name="part",
    )
    quantizers = {str(value.name): model.read_as(node, value) for value, (node, _) in reads.items()}
    quantizers[str(result.name)] = model.main.get(str(result.name))
    kept = {str(node.name) for node in nodes}
    alone = replace(
        model,
        graph=ir.Model(graph, ir_version=model.graph.ir_version),
        layers={name: layer for name, layer in model.layers.items() if name in kept},
        main={name: qparams for name, qparams in quantizers.items() if qparams is not None},
        product={},
    )
    return Part(str(named.name), named.op_type, _places(reads.values()), alone)


def _copy(value: ir.Value, kind: ir.TypeProtocol | None) -> ir.Value:
    return ir.Value(name=value.name, shape=value.shape, type=kind, const_value=value.const_value)


def _places(reads: Iterable[tuple[ir.Node, int]]) -> tuple[tuple[str, int], ...]:
    return tuple((str(node.name), place) for node, place in reads)
