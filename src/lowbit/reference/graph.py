"""Integer-only arithmetic: what a QDQ ONNX file means, apart from any runtime. The engine's specification.

DequantizeLinear computes nothing here: it says which real numbers codes stand for, and the operators behind it work on
the codes (`operators`). Products are exact, as in int32 accumulators; an accumulator that would overflow is an error
and never wraps. QuantizeLinear turns sums into codes by a `Requantize`, since runtimes differ there. Jacob et al. 2018,
"Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", section 2.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import onnx
from onnx import helper, numpy_helper

from lowbit.core.errors import BadInput, UnsupportedError
from lowbit.reference.floats.evaluate import evaluate
from lowbit.reference.op import ReferenceOp
from lowbit.reference.operators import apply
from lowbit.reference.values import Array, Codes, Requantize, Value, by_float

Read = tuple[str, int]  # a node's name, and which of its inputs
Observe = Callable[[onnx.NodeProto, Sequence[Value | None], Sequence[Value]], None]


@dataclass(frozen=True, slots=True, eq=False)
class IntegerGraph:
    """A QDQ graph, ready to run. `nodes` depend on an input; `constants` holds all that depends on constants only."""

    nodes: tuple[onnx.NodeProto, ...] = field(repr=False)
    constants: Mapping[str, Value] = field(repr=False)
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opsets: Mapping[str, int]

    def run(
        self,
        feeds: Mapping[str, Array],
        *,
        keep: Sequence[str] = (),
        requantize: Requantize = by_float,
        observe: Observe | None = None,
    ) -> dict[str, Value]:
        """The graph's outputs and the values named in `keep`; `observe` sees every node with its inputs and outputs.

        Raises UnsupportedError for an operator that ONNX's reference lacks too, and where an int32 would overflow.
        """
        wanted = {*self.outputs, *keep}
        last = {name: number for number, node in enumerate(self.nodes) for name in node.input}
        values: dict[str, Value] = {**self.constants, **feeds}
        for number, node in enumerate(self.nodes):
            inputs = [values[name] if name else None for name in node.input]
            outputs = _run(node, inputs, self.opsets, requantize)
            values.update(zip(node.output, outputs, strict=False))
            if observe:
                observe(node, inputs, outputs)
            for name in set(node.input) - wanted:
                if last[name] == number:
                    values.pop(name, None)
        return {name: values[name] for name in wanted}

    def run_and_keep(
        self, feeds: Mapping[str, Array], reads: Collection[Read], most: int
    ) -> tuple[dict[str, Value], dict[Read, Array]]:
        """The graph's outputs, and the codes that nodes read: (node, number of its input) → codes of the first images.

        most: the largest number of codes to keep per read, in whole images, but at least one image. Raises BadInput
        where a node is missing, or does not read codes there.
        """
        kept: dict[Read, Array] = {}

        def keep(node: onnx.NodeProto, inputs: Sequence[Value | None], _: Sequence[Value]) -> None:
            for place, value in enumerate(inputs):
                if (node.name, place) in reads and isinstance(value, Codes):
                    count = max(1, most * len(value.array) // max(1, value.array.size))
                    kept[node.name, place] = value.array[:count].copy()

        values = self.run(feeds, observe=keep)
        missing = ", ".join(f"{node} (input {place})" for node, place in reads if (node, place) not in kept)
        if missing:
            raise BadInput(f"these read no codes in the file: {missing}; expected nodes behind a DequantizeLinear")
        return values, kept


def load_integer_graph(model: onnx.ModelProto) -> IntegerGraph:
    """The graph of a QDQ (or float) model, with all that is constant folded: packed weights come out as codes."""
    graph, opsets = model.graph, {opset.domain: opset.version for opset in model.opset_import}
    if model.functions:
        raise UnsupportedError(f"the file has functions of its own ({model.functions[0].name} …)", "inline them first")
    constants: dict[str, Value] = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    inputs = tuple(value.name for value in graph.input if value.name not in constants)
    nodes = []
    for node in graph.node:
        if any(
            attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for attribute in node.attribute
        ):
            raise UnsupportedError(f"{node.op_type} {node.name}: an operator with a graph inside")
        if all(name in constants for name in node.input if name):
            arrays = [constants[name] if name else None for name in node.input]
            constants.update(zip(node.output, _run(node, arrays, opsets, by_float), strict=False))
        else:
            nodes.append(node)
    outputs = tuple(value.name for value in graph.output)
    read = {*outputs, *(name for node in nodes for name in node.input)}
    kept = {name: value for name, value in constants.items() if name in read}
    return IntegerGraph(tuple(nodes), kept, inputs, outputs, opsets)


def _run(
    node: onnx.NodeProto, inputs: Sequence[Value | None], opsets: Mapping[str, int], requantize: Requantize
) -> list[Value]:
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return apply(ReferenceOp(node, attributes, requantize, lambda arrays: evaluate(node, arrays, opsets)), inputs)
