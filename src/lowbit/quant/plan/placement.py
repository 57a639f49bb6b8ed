"""Placement: from a prepared graph and a scheme to a plan. Which tensors are quantized, at which width, and why.

1. Layers, additions, products and averages compute on integers; what they read and give is quantized. What only moves
   entries about (Reshape, Concat, MaxPool …) keeps the codes, so its inputs and outputs share one range.
2. A Relu or Clip behind such an operator is done by the quantizer's saturation, through what only moves entries too.
3. A function of one tensor, entry by entry (Sigmoid, x · Sigmoid(x), GELU …), stays float between integer tensors.
4. A tensor that only convolutions and matrix products read has the width they ask for. The network's input, and what
   an addition, a pooling or a float operator reads, has 8 bits; layers below 8 bits read a narrower copy of it.
5. What a Concat joins shares a range until the range pass has seen whether that costs precision (`undecided`).
6. Sizes are no activations: what is computed from them, and from constants alone, is not quantized.
"""

from collections.abc import Iterable
from dataclasses import replace

import onnx_ir as ir

from lowbit.core.errors import BadInput
from lowbit.graph.values import constant
from lowbit.quant.formats import Format, Granularity
from lowbit.quant.plan import kinds
from lowbit.quant.plan.plan import FloatNode, LayerPlan, QuantPlan, RangeMethod, TensorPlan
from lowbit.quant.plan.scheme import Scheme

_WIDE = 8


def make_plan(model: ir.Model, graph_digest: str, scheme: Scheme) -> QuantPlan:
    """The plan for a prepared graph. Pure: nothing is measured, so ranges have a method but no limits yet."""
    places = _Places(model.graph)
    layers = {layer.node: layer for layer in _layers(model.graph, scheme)}
    plan = QuantPlan(
        graph_digest=graph_digest,
        recipe=scheme.name,
        layers=tuple(layers.values()),
        tensors=tuple(_tensors(model.graph, places, layers, scheme)),
        floats=tuple(_floats(model.graph, places)),
        undecided=tuple(str(node.name) for node in model.graph if places.joins(node)),
    )
    return as_read(plan, model)


def as_read(plan: QuantPlan, model: ir.Model) -> QuantPlan:
    """The plan with each layer's `activation_bits` as the tensors say: the widest of those that the layer reads.

    A layer may have asked for fewer bits than a tensor has that others read as well. One that reads no quantized tensor
    (a table's indices, float numbers) keeps what it asked for.
    """
    bits = {(tensor.tensor, tensor.role): tensor.format.bits for tensor in plan.tensors}
    nodes = {str(node.name): node for node in model.graph}

    def read(layer: LayerPlan) -> int:
        names = [str(value.name) for value in kinds.inputs_of(nodes[layer.node])]
        main = {name: bits[name, "main"] for name in names if (name, "main") in bits}
        narrow = {name: bits[name, "product"] for name in main if (name, "product") in bits}
        return max((main | narrow if layer.activation_bits < _WIDE else main).values(), default=layer.activation_bits)

    return replace(plan, layers=tuple(replace(layer, activation_bits=read(layer)) for layer in plan.layers))


def narrow_group(tensor: str) -> str:
    """The group of a tensor's narrower copy, which is alone in it."""
    return f"{tensor} narrow"


def check_groups(node: ir.Node, kind: Format) -> None:
    """BadInput where groups of inputs do not fill the weight [O, K] of a matrix product."""
    weight = constant(node.inputs[1]) if kind.group_size is not None else None
    if weight is None or kind.group_size is None:
        return
    inputs = weight.shape[1 if node.attributes.get_int("transB", 0) else 0]
    if inputs % kind.group_size:
        raise BadInput(
            f"group size {kind.group_size}: layer {str(node.name)!r} has {inputs} inputs, which it does not divide; "
            "choose a divisor of every matrix product's inputs"
        )


def least_groups(model: ir.Model) -> dict[str, str]:
    """Quantized tensor → the first of those that must share its range, where every Concat requantizes what it reads."""
    places = _Places(model.graph, concats_join=False)
    return {str(value.name): str(places.group(value).name) for value in places.quantized}


class _Places:
    """What is known about a graph's values: which are quantized, and which share a range."""

    def __init__(self, graph: ir.Graph, *, concats_join: bool = True) -> None:
        self._concats_join = concats_join
        self.absorbed: dict[ir.Node, list[ir.Value]] = {}  # clamp → what it cuts, from where that is computed
        self.roots: dict[ir.Value, ir.Value] = {}
        self.quantized: dict[ir.Value, None] = {}  # in order
        self._parent: dict[ir.Value, ir.Value] = {}
        self._of_picture: set[ir.Value] = set(graph.inputs)
        for node in graph:
            self._of_picture.update(kinds.seen_in(node, self._of_picture))
        self._regions(graph)
        self._needed: dict[ir.Value, bool] = {}
        self._quantize(graph)

    def group(self, value: ir.Value) -> ir.Value:
        """The first of the values that share a range with `value`, which stands for all of them."""
        while value in self._parent:
            value = self._parent[value]
        return value

    def inside(self, node: ir.Node) -> bool:
        """Whether the node is part of an elementwise function of one tensor, and no clamp that a quantizer replaces."""
        return node.outputs[0] in self.roots and node not in self.absorbed

    def joins(self, node: ir.Node) -> bool:
        """Whether it is a Concat of quantized tensors."""
        return node.op_type == "Concat" and kinds.is_passing(node) and node.outputs[0] in self.quantized

    def computes(self, node: ir.Node) -> bool:
        """Whether the node is arithmetic for integer kernels, on numbers that depend on the picture."""
        if not kinds.is_arithmetic(node) or self.inside(node):
            return False
        return any(value in self._of_picture for value in kinds.inputs_of(node))

    def _regions(self, graph: ir.Graph) -> None:
        """roots[value]: the tensor that `value` is a function of, entry by entry."""
        for node in graph:
            inputs = kinds.inputs_of(node)
            if not inputs:
                continue
            cut = kinds.before_clamp(node) if kinds.is_clamp(node) else []
            producer = cut[0].producer() if cut else None
            computes = producer is not None and (kinds.is_product(producer) or kinds.is_arithmetic(producer))
            if computes and cut[0] not in self.roots:
                self.absorbed[node] = cut
            elif kinds.is_pointwise(node):
                found = {self.roots.get(value, value) for value in inputs}
                if len(found) == 1:
                    self.roots[node.outputs[0]] = found.pop()
        for node in graph:  # a lone addition of or product with a number is arithmetic, done in integers
            value = node.outputs[0]
            lone = value in self.roots and self.roots[value] in node.inputs and not self._continues(value)
            if lone and node.op_type in ("Add", "Mul", "Sub"):
                del self.roots[value]

    def _continues(self, value: ir.Value) -> bool:
        return any(self.roots.get(reader.outputs[0]) is self.roots[value] for reader, _ in value.uses())

    def _quantize(self, graph: ir.Graph) -> None:
        for node in graph:
            if kinds.is_product(node) or self.computes(node):
                for value in kinds.inputs_of(node):
                    self._add(value)
                self._add_result(node)
            elif kinds.is_passing(node) and any(self._is_needed(value) for value in node.outputs):
                values = [*kinds.inputs_of(node), *node.outputs]
                if node.op_type == "Concat":
                    values += kinds.float_constants(node)
                for value in values:
                    self._add(value)
                if node.op_type == "Concat" and not self._concats_join:
                    values = values[len(kinds.inputs_of(node)) :]  # its result, and the constants among what it reads
                for value in values:
                    self._join(values[0], value)
            elif node in self.absorbed:
                first, *moved = self.absorbed[node]
                maker = first.producer()
                self._add_result(node if maker is None else maker, node.outputs[0])
                if moved:  # the quantizer that cuts stands where the numbers are computed; what follows moves codes
                    self._join(first, node.outputs[0])
                else:
                    self.quantized.pop(first, None)
        for value in list(self.quantized):
            if value.is_graph_output() and not self._is_needed(value):
                del self.quantized[value]

    def _add(self, value: ir.Value) -> None:
        root = self.roots.get(value)
        if root is not None:
            self.quantized.setdefault(root)
        if constant(value) is None:
            self.quantized.setdefault(value)

    def _add_result(self, node: ir.Node, result: ir.Value | None = None) -> None:
        """Quantize a node's result; sums stay float where no reader needs integers, except a convolution's.

        result: where the quantizer replaces a clamp after the node, the clamp's result.
        """
        value = node.outputs[0] if result is None else result
        if node.op_type not in ("Gemm", "MatMul") or self._is_needed(value):
            self.quantized.setdefault(value)

    def _is_needed(self, value: ir.Value) -> bool:
        """Whether an operator that computes on integers reads the value, directly or through other nodes."""
        if value not in self._needed:
            self._needed[value] = any(
                kinds.is_product(reader)
                or self.computes(reader)
                or (
                    (kinds.is_passing(reader) or self.inside(reader) or reader in self.absorbed)
                    and any(self._is_needed(output) for output in reader.outputs)
                )
                for reader, _ in value.uses()
            )
        return self._needed[value]

    def _join(self, a: ir.Value, b: ir.Value) -> None:
        a, b = self.group(a), self.group(b)
        if a is not b:
            self._parent[b] = a


def _layers(graph: ir.Graph, scheme: Scheme) -> Iterable[LayerPlan]:
    ends = _first(graph) | _last(graph)
    for node in graph:
        if not (kinds.is_product(node) or kinds.has_weight(node)):
            continue
        weights, activations, why = scheme.weight_bits, scheme.activation_bits, ""
        override = next((o for o in scheme.overrides if o.matches(str(node.name))), None)
        if override is not None:
            weights, activations, why = override.weight_bits, override.activation_bits, f"named by {override.pattern}"
        elif kinds.is_scale_and_shift(node):
            weights, activations, why = 8, max(activations, _WIDE), "a scale and a shift a channel: exact at 8 bits"
        elif node in ends:
            if min(weights, activations) < scheme.ends:
                why = "first or last layer"
            weights, activations = max(weights, scheme.ends), max(activations, scheme.ends)
        yield LayerPlan(
            node=str(node.name),
            op_type=node.op_type,
            weight=_weight(node),
            format=_weight_format(node, scheme, weights, activations),
            activation_bits=activations,
            rounding="nearest" if node.op_type == "Gather" else scheme.rounding,
            why=why,
        )


def _weight(node: ir.Node) -> str | None:
    if node.op_type == "MatMul":
        return None
    weight = node.inputs[0 if node.op_type == "Gather" else 1]
    return None if weight is None else weight.name


def _weight_format(node: ir.Node, scheme: Scheme, bits: int, activation_bits: int) -> Format | None:
    if node.op_type == "MatMul":
        return None
    granularity: Granularity = "channel"
    shared_scales = node.op_type == "ConvTranspose" and node.attributes.get_int("group", 1) > 1
    if node.op_type == "Gather" or shared_scales:
        granularity = "tensor"
    elif scheme.group_size is not None and node.op_type == "Gemm":
        granularity = "group"
    within_64 = scheme.reduce_range and activation_bits <= _WIDE and kinds.adds_products(node)
    form = Format(
        bits,
        signed=True,
        symmetric=scheme.is_symmetric(bits) or (within_64 and bits == 7),  # asymmetric ones reach ±127
        granularity=granularity,
        group_size=scheme.group_size if granularity == "group" else None,
        reduced=within_64 and bits == 8,
    )
    check_groups(node, form)
    return form


def _first(graph: ir.Graph) -> set[ir.Node]:
    """The products that the network's input reaches through no other product."""
    found: set[ir.Node] = set()
    seen = set(graph.inputs)
    for node in graph:
        handed_on = kinds.seen_in(node, seen)
        if handed_on and kinds.is_product(node) and not kinds.is_scale_and_shift(node):
            found.add(node)
        else:
            seen.update(handed_on)
    return found


def _last(graph: ir.Graph) -> set[ir.Node]:
    """The products that reach an output of the network through no other product."""
    found: set[ir.Node] = set()
    seen = set(graph.outputs)
    for node in reversed(graph):
        if any(value in seen for value in node.outputs):
            if kinds.is_product(node) and not kinds.is_scale_and_shift(node):
                found.add(node)
            else:
                seen.update(kinds.inputs_of(node))
    return found


def _tensors(graph: ir.Graph, places: _Places, layers: dict[str, LayerPlan], scheme: Scheme) -> Iterable[TensorPlan]:
    members: dict[ir.Value, list[ir.Value]] = {}
    for value in places.quantized:
        members.setdefault(places.group(value), []).append(value)
    bits_of = {group: _group_bits(values, graph, layers) for group, values in members.items()}
    for value in places.quantized:
        group = places.group(value)
        bits, why = bits_of[group]
        name = str(value.name)
        yield TensorPlan(name, Format(bits), "main", _range(scheme, bits), str(group.name), why=why)
        narrow = {width for _, width in _layer_readers(value, layers) if width < _WIDE <= bits}
        if narrow:
            width = max(narrow)
            why = f"read at {width} bits by layers; others read {bits}"
            yield TensorPlan(name, Format(width), "product", _range(scheme, width), narrow_group(name), why=why)


def _group_bits(values: list[ir.Value], graph: ir.Graph, layers: dict[str, LayerPlan]) -> tuple[int, str]:
    """The width of tensors that share their codes, and why it is not simply what layers ask for."""
    widths: list[int] = []
    wide = ""
    for value in values:
        if value in graph.inputs:
            wide = "the network's input"
        for reader, _ in value.uses():
            if reader.name in layers:
                widths.append(layers[reader.name].activation_bits)
            elif reader.op_type not in kinds.SIZES and not _hands_on(reader, values):
                wide = wide or f"{reader.op_type} reads it"
    if not widths:
        return _WIDE, wide or "no layer reads it"
    if wide:
        return max(_WIDE, *widths), wide
    return max(widths), ""


def _hands_on(reader: ir.Node, values: list[ir.Value]) -> bool:
    """Whether the reader's result is one of `values` again, so that its own readers decide."""
    return (kinds.is_passing(reader) or kinds.is_clamp(reader)) and bool(set(values) & set(reader.outputs))


def _layer_readers(value: ir.Value, layers: dict[str, LayerPlan]) -> list[tuple[str, int]]:
    found = ((str(reader.name), layers.get(str(reader.name))) for reader, _ in value.uses())
    return [(name, layer.activation_bits) for name, layer in found if layer is not None]


def _range(scheme: Scheme, bits: int) -> RangeMethod:
    """The method by width, as measured (docs/engine.md): at 8 bits nothing need be cut off, below it pays."""
    if scheme.range is not None:
        return scheme.range
    return "min-max" if bits >= 7 else "mse"


_WHY_FLOAT = {
    "Softmax": "it divides by a sum of exponentials: no integer kernel in ONNX Runtime or OpenVINO",
    "LayerNormalization": "it divides by a standard deviation: no integer kernel in ONNX Runtime or OpenVINO",
}


def _floats(graph: ir.Graph, places: _Places) -> Iterable[FloatNode]:
    for node in graph:
        computes = kinds.is_product(node) or kinds.has_weight(node) or places.computes(node)
        if not _computes_floats(node) or node in places.absorbed:
            continue
        if places.inside(node):
            why = "a function of one 8-bit tensor, entry by entry: runtimes compute it in float between integers"
        elif computes or (kinds.is_passing(node) and node.outputs[0] in places.quantized):
            continue
        elif kinds.is_mask(node):
            why = "it adds a mask, whose numbers are too far away for a range of 8 bits"
        elif kinds.is_passing(node):
            why = "it moves float numbers that no integer operator reads"
        elif node.op_type in kinds.ARITHMETIC:
            why = "it computes from sizes and constants alone, and nothing of the picture"
        else:
            why = _WHY_FLOAT.get(node.op_type, "no integer kernel for it in ONNX Runtime or OpenVINO")
        yield FloatNode(str(node.name), node.op_type, why)


def _computes_floats(node: ir.Node) -> bool:
    """Whether the node computes float numbers at all."""
    return bool(kinds.inputs_of(node)) and any(kinds.is_float(value) for value in node.outputs)
