"""What a .tflite file holds, as plain Python: tensors with their grids and numbers, operators with their options."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lowbit.core.errors import UnsupportedError
from lowbit.core.refusal import vendor_call

Array = npt.NDArray[Any]

_BITS = {"INT2": 2, "INT4": 4, "UINT4": 4}  # several numbers a byte; numpy knows all others
_NUMPY = {
    name: np.dtype(name.lower())
    for name in ("FLOAT16", "FLOAT32", "FLOAT64", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32")
} | {"UINT64": np.dtype("uint64"), "BOOL": np.dtype("bool")}


@dataclass(frozen=True, slots=True, eq=False)
class LiteRTTensor:
    """A tensor of a file.

    - name: its name, which need not be its own
    - kind: LiteRT's name of its type, such as FLOAT32 or INT4
    - shape: its sizes, the batch included
    - stored_bytes: bytes of its numbers in the file; 0 for one that is computed
    - numbers: the numbers of a constant, read-only; None for one that is computed or whose type numpy does not have
    - scales, zero_points: of a quantized tensor, one or one an entry of `axis`; empty for any other
    - axis: the axis that several scales belong to
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    stored_bytes: int
    numbers: Array | None
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int

    @property
    def bits(self) -> int | None:
        """Bits a number; None for text and resources."""
        return _BITS.get(self.kind, 8 * _NUMPY[self.kind].itemsize if self.kind in _NUMPY else None)

    @property
    def is_quantized(self) -> bool:
        """Whether its numbers are integers that stand for real ones."""
        return bool(self.scales) and "INT" in self.kind


@dataclass(frozen=True, slots=True, eq=False)
class LiteRTOperator:
    """An operator of a file: LiteRT's name, its options as the schema's object, operands by number (-1: left out).

    custom: the name of an operator that LiteRT does not have; empty for its own.
    """

    kind: str
    options: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    custom: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class LiteRTGraph:
    """Tensors, operators in the order in which they run, and which tensors go in and out."""

    tensors: tuple[LiteRTTensor, ...]
    operators: tuple[LiteRTOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class LiteRTContent:
    """A file: its graph, the graphs that operators of it hold behind it, and its metadata, key → text."""

    graphs: tuple[LiteRTGraph, ...]
    metadata: dict[str, str]


def read_content(path: Path) -> LiteRTContent:
    """Raises UnsupportedError where it is no TFLite file, is cut short, or has no graph."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    with vendor_call("it is no TFLite file that can be read", path):
        model = flatbuffer_utils.read_model(str(path))
        content = _Reader(schema, model).content()
    if not content.graphs:
        raise UnsupportedError(f"{path.name} has no graph")
    return content


class _Reader:
    def __init__(self, schema: Any, model: Any) -> None:
        self.model = model
        self.kinds = _names(schema.BuiltinOperator)
        self.types = _names(schema.TensorType)

    def content(self) -> LiteRTContent:
        graphs = tuple(self._graph(graph) for graph in self.model.subgraphs or [])
        metadata = {
            _text(entry.name): self._bytes(entry.buffer).decode(errors="replace") for entry in self.model.metadata or []
        }
        return LiteRTContent(graphs, metadata)

    def _graph(self, graph: Any) -> LiteRTGraph:
        return LiteRTGraph(
            tensors=tuple(self._tensor(tensor) for tensor in _listed(graph.tensors)),
            operators=tuple(self._operator(operator) for operator in _listed(graph.operators)),
            inputs=_numbers(graph.inputs),
            outputs=_numbers(graph.outputs),
        )

    def _tensor(self, tensor: Any) -> LiteRTTensor:
        kind, shape, data = self.types[tensor.type], _numbers(tensor.shape), self._bytes(tensor.buffer)
        dtype = _NUMPY.get(kind)
        numbers = np.frombuffer(data, dtype).reshape(shape) if data and dtype is not None else None
        grid = tensor.quantization
        return LiteRTTensor(
            name=_text(tensor.name),
            kind=kind,
            shape=shape,
            stored_bytes=len(data),
            numbers=numbers,
            scales=() if grid is None else tuple(map(float, _listed(grid.scale))),
            zero_points=() if grid is None else _numbers(grid.zeroPoint),
            axis=0 if grid is None else int(grid.quantizedDimension),
        )

    def _operator(self, operator: Any) -> LiteRTOperator:
        code = self.model.operatorCodes[operator.opcodeIndex]
        return LiteRTOperator(
            kind=self.kinds.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM"),
            options=operator.builtinOptions or operator.builtinOptions2,
            inputs=_numbers(operator.inputs),
            outputs=_numbers(operator.outputs),
            custom=_text(code.customCode),
        )

    def _bytes(self, buffer: int) -> bytes:
        data = self.model.buffers[buffer].data
        return b"" if data is None else bytes(bytearray(data))


def _names(numbered: Any) -> dict[int, str]:
    return {number: name for name, number in vars(numbered).items() if not name.startswith("_")}


def _listed(values: Any) -> list[Any]:
    """The schema's lists are None where they are empty, and arrays where they are not."""
    return [] if values is None else list(values)


def _numbers(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in _listed(values))


def _text(value: Any) -> str:
    return "" if value is None else value.decode(errors="replace") if isinstance(value, bytes) else str(value)
