"""Small float .tflite files, written with LiteRT's own schema: no converter is needed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_VERSIONS = {"BROADCAST_TO": 2}  # the first that LiteRT has, where that is not 1


class FileWriter:
    """A graph of one input, to which operators are added; a constant operand is given as an array."""

    def __init__(self, shape: Sequence[int], kind: str = "FLOAT32") -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema: Any = schema
        self.model: Any = schema.ModelT()
        self.model.version, self.model.buffers = 3, [schema.BufferT()]
        self.model.operatorCodes, self.model.subgraphs = [], []
        self.graph = self.new_graph()
        self.image = self.tensor(shape, kind)
        self.graph.inputs = [self.image]

    def new_graph(self) -> Any:
        graph = self.schema.SubGraphT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
        self.model.subgraphs.append(graph)
        return graph

    def tensor(self, shape: Sequence[int], kind: str = "FLOAT32", numbers: Array | None = None) -> int:
        tensor = self.schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = list(shape), getattr(self.schema.TensorType, kind), 0
        tensor.name = f"t{len(self.graph.tensors)}"
        if numbers is not None:
            buffer = self.schema.BufferT()
            buffer.data = list(np.ascontiguousarray(numbers).tobytes())
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def add(
        self,
        kind: str,
        operands: Sequence[int | Array | None],
        results: Sequence[Sequence[int]],
        options: tuple[str, Mapping[str, Any]] | None = None,
        result_kind: str = "FLOAT32",
        custom: str = "",
    ) -> list[int]:
        """Append an operator; its results' tensors."""
        code, operator = self.schema.OperatorCodeT(), self.schema.OperatorT()
        code.builtinCode = getattr(self.schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), _VERSIONS.get(kind, 1)
        code.customCode = custom or None
        self.model.operatorCodes.append(code)
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs = [self._operand(each) for each in operands]
        operator.outputs = [self.tensor(shape, result_kind) for shape in results]
        if options is not None:
            name, values = options
            made = getattr(self.schema, f"{name}T")()
            for key, value in values.items():
                setattr(made, key, value)
            second = name == "StableHLOCompositeOptions"
            numbered = getattr(self.schema.BuiltinOptions2 if second else self.schema.BuiltinOptions, name)
            if second:
                operator.builtinOptions2, operator.builtinOptions2Type = made, numbered
            else:
                operator.builtinOptions, operator.builtinOptionsType = made, numbered
        self.graph.operators.append(operator)
        return list(operator.outputs)

    def _operand(self, given: int | Array | None) -> int:
        if given is None:
            return -1
        if isinstance(given, np.ndarray):
            return self.tensor(given.shape, str(given.dtype).upper(), given)
        return given

    def save(self, path: Path, *results: int) -> Path:
        from ai_edge_litert.tools import flatbuffer_utils

        self.model.subgraphs[0].outputs = list(results)
        flatbuffer_utils.write_model(self.model, str(path))
        return path
