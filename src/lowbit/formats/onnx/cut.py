"""Cuts an ONNX graph at the borders between its layers, so that every layer can be run alone on equal inputs.

A border is a float tensor behind which something new begins:

| tensor                                                          | is a border                                     |
|-----------------------------------------------------------------|-------------------------------------------------|
| read by one kind of QuantizeLinear only                         | yes; its piece ends behind the DequantizeLinear |
| read by several nodes, or the graph's output                    | yes                                             |
| read by one node that activates, or adds or scales by constants | no: both are one piece                          |
| read by one node of another kind                                | yes                                             |
| made by DequantizeLinear, or by what only moves entries         | no, unless it is quantized or given out         |

A number without axes, such as a scale that is computed for each call, is no border.

A piece begins at the borders that it reads. So a quantizer stands at the end of the piece that makes a tensor and again
at the beginning of each one that reads it: a runtime then finds the pattern that it makes integer kernels of.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import onnx
from onnx import TensorProto, helper, numpy_helper

from lowbit.core.errors import UnsupportedError
from lowbit.graph.nested import with_nested
from lowbit.graph.values import real_inputs

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_FOLLOWS = frozenset(
    {
        "BatchNormalization", "Celu", "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu",
        "Relu", "Selu", "Sigmoid", "Softplus", "Tanh", "ThresholdedRelu",
    }
)  # fmt: skip
_ARITHMETIC = frozenset({"Add", "Div", "Mul", "Sub"})
_MOVES = frozenset(
    {"Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze", "Pad", "Slice"}
)
_MULTIPLIES = frozenset({"Conv", "ConvInteger", "ConvTranspose", "Gemm", "MatMul", "MatMulInteger"})


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A few nodes of a graph in a model of their own, with float inputs and one float output.

    - name: of the node that multiplies, else of the last one that computes and is no activation; its result where nodes
      have no names
    - op_type: that node's type
    - reads: the borders that its inputs are, in the order of the model's inputs
    - gives: the border that its output stands for
    - step: scale of the quantizer at its end; None where the result is not quantized
    - model: the piece
    """

    name: str
    op_type: str
    reads: tuple[str, ...]
    gives: str
    step: float | None
    model: onnx.ModelProto = field(repr=False)


def pieces(model: onnx.ModelProto) -> tuple[Piece, ...]:
    """The pieces of `model` in the order in which they can run; each reads the image and what earlier ones give.

    Raises UnsupportedError for a graph with functions of its own or with graphs inside, and for one in which no border
    lies between the image and the scores.
    """
    graph = _Graph.of(model)
    borders = graph.borders()
    found = tuple(graph.piece(border, {graph.image, *borders}) for border in borders)
    if len(found) < 2:
        raise UnsupportedError("no float tensor lies between its layers, at which it could be cut")
    return found


def beginning(model: onnx.ModelProto, border: str) -> onnx.ModelProto:
    """The part of `model` from the image to `border`, which `Piece.gives` names."""
    graph = _Graph.of(model)
    return graph.piece(border, {graph.image}).model


@dataclass(frozen=True, slots=True, eq=False)
class _Graph:
    """A model with what is looked up in it again and again.

    - makers: tensor → the number of the node that makes it
    - readers: tensor → the nodes that read it
    - constants: tensors that do not depend on the image
    - kinds: tensor → its type and shape, where they could be inferred
    """

    model: onnx.ModelProto
    image: str
    makers: Mapping[str, int]
    readers: Mapping[str, tuple[onnx.NodeProto, ...]]
    constants: Collection[str]
    weights: Mapping[str, onnx.TensorProto]
    kinds: Mapping[str, onnx.ValueInfoProto]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> "_Graph":
        if model.functions or sum(1 for _ in with_nested(model.graph)) > 1:
            raise UnsupportedError("its graph has functions of its own or graphs inside, which are not cut")
        images = real_inputs(model)
        if len(images) != 1:
            raise UnsupportedError(f"its graph has {len(images)} inputs, one was expected")
        inferred = onnx.shape_inference.infer_shapes(model).graph
        weights = {tensor.name: tensor for tensor in model.graph.initializer}
        constants, makers = {"", *weights}, {}
        readers: dict[str, tuple[onnx.NodeProto, ...]] = {}
        for number, node in enumerate(model.graph.node):
            if all(name in constants for name in node.input):
                constants.update(node.output)
            for name in node.input:
                readers[name] = (*readers.get(name, ()), node)
            makers.update(dict.fromkeys(node.output, number))
        kinds = {value.name: value for value in (*inferred.value_info, *inferred.input, *inferred.output)}
        return cls(model, images[0].name, makers, readers, constants, weights, kinds)

    def borders(self) -> list[str]:
        return [
            name
            for node in self.model.graph.node
            for name in node.output
            if name and name not in self.constants and self._is_border(name, node)
        ]

    def _is_border(self, name: str, maker: onnx.NodeProto) -> bool:
        readers = self.readers.get(name, ())
        given = any(value.name == name for value in self.model.graph.output)
        if maker.op_type in (_QUANTIZE, _DEQUANTIZE) or not self._is_float(name):
            return given and self._is_float(name) and not self._ends_a_piece(maker)
        if given or any(reader.op_type == _QUANTIZE for reader in readers):
            return True
        if not readers or self._is_number(name) or maker.op_type in _MOVES:
            return False
        return len(readers) > 1 or not self._follows(readers[0])

    def _is_float(self, name: str) -> bool:
        """By its inferred type; a tensor whose type is not known counts as float."""
        return name not in self.kinds or self.kinds[name].type.tensor_type.elem_type in _FLOATS

    def _is_number(self, name: str) -> bool:
        """Whether it is a single number without axes."""
        kind = self.kinds.get(name)
        return kind is not None and kind.type.tensor_type.HasField("shape") and not kind.type.tensor_type.shape.dim

    def _follows(self, node: onnx.NodeProto) -> bool:
        """Whether it belongs to the layer before it: an activation, or arithmetic with constants, such as a bias."""
        computed = [name for name in node.input if name not in self.constants]
        return node.op_type in _FOLLOWS or (node.op_type in _ARITHMETIC and len(computed) == 1)

    def _ends_a_piece(self, dequantizer: onnx.NodeProto) -> bool:
        """Whether it stands behind a quantizer, and so at the end of a piece."""
        maker = self.makers.get(dequantizer.input[0])
        while maker is not None and self.model.graph.node[maker].op_type != _QUANTIZE:
            node = self.model.graph.node[maker]
            maker = self.makers.get(node.input[0]) if node.input else None
        return maker is not None

    def piece(self, border: str, stops: Collection[str]) -> Piece:
        """What makes `border` from the tensors in `stops`, and the quantizer behind it."""
        nodes = self.model.graph.node
        behind = self._quantizer_behind(border)
        numbers, reads, todo = set(), set(), [border]
        while todo:
            name = todo.pop()
            if name in stops and name != border:
                reads.add(name)
            elif name in self.makers and self.makers[name] not in numbers:
                numbers.add(self.makers[name])
                todo += nodes[self.makers[name]].input
        inside = sorted(numbers)
        computing = [
            nodes[number] for number in inside if not all(name in self.constants for name in nodes[number].input)
        ]
        named = self._named(computing)
        for number in behind:  # its scale and zero point may be computed from constants too
            for name in nodes[number].input:
                inside += self._made_of(name, {*inside, *behind})
        inside = sorted({*inside, *behind})
        result = nodes[behind[-1]].output[0] if behind else border
        step = None
        if behind and nodes[behind[0]].input[1] in self.weights:
            scale = numpy_helper.to_array(self.weights[nodes[behind[0]].input[1]])
            step = float(scale.item()) if scale.size == 1 else None
        ordered = tuple(name for name in (self.image, *self.makers) if name in reads)
        alone = self._model([nodes[number] for number in inside], ordered, result)
        return Piece(named.name or named.output[0], named.op_type, ordered, border, step, alone)

    def _quantizer_behind(self, border: str) -> list[int]:
        """Numbers of the nodes from the QuantizeLinear behind `border` to the DequantizeLinear behind that.

        Empty where somebody reads `border` as it is, or quantizes it in another way.
        """
        readers = self.readers.get(border, ())
        given = any(value.name == border for value in self.model.graph.output)
        if given or not readers or any(reader.op_type != _QUANTIZE for reader in readers):
            return []
        if len({tuple(reader.input[1:]) for reader in readers}) > 1:
            return []
        chain = [readers[0]]
        while chain[-1].op_type != _DEQUANTIZE:
            following = self.readers.get(chain[-1].output[0], ())
            dequantizers = [node for node in following if node.op_type == _DEQUANTIZE]
            if not following or (len(following) > 1 and not dequantizers):
                return []
            chain.append((dequantizers or list(following))[0])
        return [self.makers[node.output[0]] for node in chain]

    def _made_of(self, name: str, known: Collection[int]) -> list[int]:
        """Numbers of the nodes that compute the constant `name`."""
        found, todo = [], [name]
        while todo:
            number = self.makers.get(todo.pop())
            if number is not None and number not in known and number not in found:
                found.append(number)
                todo += self.model.graph.node[number].input
        return found

    def _named(self, computing: list[onnx.NodeProto]) -> onnx.NodeProto:
        """The node after which a piece is called: one that multiplies, or else none that works on codes or indices."""
        multiplying = [node for node in computing if node.op_type in _MULTIPLIES]
        floats = [node for node in computing if self._is_float(node.output[0])]
        others = [node for node in floats if node.op_type not in _MOVES | {_QUANTIZE, _DEQUANTIZE}]
        leading = [node for node in others if node.op_type not in _FOLLOWS]
        return (multiplying or leading or others or floats or computing)[-1]

    def _model(self, nodes: list[onnx.NodeProto], reads: Iterable[str], result: str) -> onnx.ModelProto:
        used = {name for node in nodes for name in node.input}
        graph = helper.make_graph(
            nodes,
            "piece",
            [self._value(name) for name in reads],
            [self._value(result)],
            [tensor for name, tensor in self.weights.items() if name in used],
        )
        return helper.make_model(graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version)

    def _value(self, name: str) -> onnx.ValueInfoProto:
        return self.kinds.get(name) or helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
