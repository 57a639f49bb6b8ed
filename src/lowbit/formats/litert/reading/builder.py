"""What the rules write with: ONNX operators and constants, and the names that a file's tensors have got there."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lowbit.formats.litert.reading.content import Array, LiteRTGraph, LiteRTOperator

LAST_TO_FIRST = (0, 3, 1, 2)  # [N, H, W, C] → [N, C, H, W]
FIRST_TO_LAST = (0, 2, 3, 1)


class Unreadable(Exception):  # noqa: N818 - caught at once, where the operator is known
    """An operator whose options ask for what no rule says in ONNX; the message says what."""


class Builder:
    """An ONNX graph in the making. Integers of any width become int64, floats float32; layouts stay the file's."""

    def __init__(self, graph: LiteRTGraph, around: "Builder | None" = None) -> None:
        """Around: the builder of the graph in which this one takes the place of an operator."""
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = [] if around is None else around.nodes
        self.initializers: list[onnx.TensorProto] = [] if around is None else around.initializers
        self.names: dict[int, str] = {}
        self._constants: dict[int, Array] = {
            index: _widened(tensor.numbers) for index, tensor in enumerate(graph.tensors) if tensor.numbers is not None
        }

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Sizes of a tensor, the batch included."""
        return self.graph.tensors[tensor].shape

    def constant(self, tensor: int) -> Array | None:
        """The numbers of a constant; None for what is computed, or left out."""
        return self._constants.get(tensor)

    def is_const(self, tensor: int, numbers: Array) -> None:
        """From here on `tensor` is a constant."""
        self._constants[tensor] = numbers

    def ints(self, operator: LiteRTOperator, place: int) -> list[int]:
        """A constant operand as a list of integers; Unreadable where it is computed."""
        found = self.constant(operator.inputs[place])
        if found is None:
            raise Unreadable(f"its operand {place} is computed, a constant is expected")
        return [int(each) for each in found.reshape(-1)]

    def value(self, tensor: int) -> str:
        """What the tensor is called in the ONNX graph."""
        if tensor not in self.names:
            self.names[tensor] = self.array(self._constants[tensor])
        return self.names[tensor]

    def operands(self, operator: LiteRTOperator) -> list[str]:
        """What all operands are called."""
        return [self.value(tensor) for tensor in operator.inputs]

    def array(self, numbers: Any) -> str:
        """A new constant."""
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.array(numbers, order="C"), name))
        return name

    def add(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """A new operator with one result, which is named."""
        return self.add_many(kind, inputs, 1, **attributes)[0]

    def add_many(self, kind: str, inputs: Sequence[str], results: int, **attributes: Any) -> list[str]:
        """A new operator with several results."""
        outputs = [f"v{len(self.nodes)}_{place}" for place in range(results)]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, **attributes))
        return outputs

    def turned(self, tensor: int, order: Sequence[int]) -> str:
        """The tensor with its axes in another order."""
        found = self.constant(tensor)
        if found is not None:
            return self.array(found.transpose(order))
        return self.add("Transpose", [self.value(tensor)], perm=list(order))

    def turned_back(self, value: str) -> str:
        """[N, C, H, W] → [N, H, W, C]."""
        return self.add("Transpose", [value], perm=list(FIRST_TO_LAST))


def _widened(numbers: Array) -> Array:
    if numbers.dtype.kind == "f":
        return numbers.astype(np.float32)
    return numbers.astype(np.int64) if numbers.dtype.kind in "iu" else numbers
