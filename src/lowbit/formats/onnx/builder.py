"""A growing ONNX graph that never says the same thing twice: equal constants and equal helper nodes are one."""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import count

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
Attribute = int | list[int]


class GraphWriter:
    """Nodes in execution order and their constants, with names as short as possible (base 36): names cost bytes."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._numbers = count()
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._constants: dict[tuple[object, ...], str] = {}
        self._emitted: dict[tuple[object, ...], str] = {}

    def constant(self, array: npt.NDArray[np.generic], name: str | None = None, *, owner: object = None) -> str:
        """The name of an initializer that holds `array`; `name` is used where no equal one is stored yet.

        owner: an initializer with an owner is not shared with other owners, even if the arrays are equal.
        """
        array = np.ascontiguousarray(array).reshape(array.shape)  # ascontiguousarray makes a scalar [1]
        key = (array.dtype.str, array.shape, hashlib.sha256(array.data).digest(), owner)
        if key not in self._constants:
            self._constants[key] = self.new_name() if name is None else name
            self._initializers.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def emit(self, op_type: str, inputs: Sequence[str], **attributes: Attribute) -> str:
        """The result of an unnamed node, which is there once for equal inputs and attributes."""
        key = (op_type, tuple(inputs), str(sorted(attributes.items())))
        if key not in self._emitted:
            self._emitted[key] = self.new_name()
            node = helper.make_node(op_type, inputs, [self._emitted[key]])
            node.attribute.extend(helper.make_attribute(name, value) for name, value in sorted(attributes.items()))
            self._nodes.append(node)
        return self._emitted[key]

    def append(self, node: onnx.NodeProto) -> None:
        """A node as it is; its outputs are named by `new_name`."""
        self._nodes.append(node)

    def new_name(self) -> str:
        """The shortest name that is free."""
        while (name := _base36(next(self._numbers))) in self._taken:
            pass
        return name

    def finish(
        self,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[tuple[str, onnx.ValueInfoProto]],
        opsets: dict[str, int],
        ir_version: int,
    ) -> onnx.ModelProto:
        """The model. `outputs`: name of each output of the graph → the value that it is.

        That value is renamed to the output. A value that is an input, or already another output, is copied instead.
        """
        renamed: dict[str, str] = {}
        fixed = {value.name for value in inputs} | set(self._constants.values())
        for value, output in outputs:
            if value in renamed or value in fixed:
                self._nodes.append(helper.make_node("Identity", [value], [output.name]))
            else:
                renamed[value] = output.name
        for node in self._nodes:
            for names in (node.input, node.output):
                names[:] = [renamed.get(name, name) for name in names]
        graph = helper.make_graph(self._nodes, "lowbit", inputs, [o for _, o in outputs], self._initializers)
        imports = [helper.make_opsetid(domain, version) for domain, version in sorted(opsets.items())]
        return helper.make_model(graph, opset_imports=imports, ir_version=ir_version, producer_name="lowbit")


def _base36(number: int) -> str:
    digits = _DIGITS[number % 36]
    while number := number // 36:
        digits = _DIGITS[number % 36] + digits
    return digits
