"""A .tflite file as an object that can be edited: its one graph's tensors and operators, written again in order."""

from typing import Any

import numpy as np
import numpy.typing as npt

from lowbit.core.errors import UnsupportedError

Array = npt.NDArray[Any]

_VERSIONS = {  # an operator's first version that takes int8, where that is not the second
    "BATCH_MATMUL": 3,
    "CAST": 1,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "EXPAND_DIMS": 1,
    "FULLY_CONNECTED": 5,
    "HARD_SWISH": 1,
    "QUANTIZE": 1,
    "RELU_0_TO_1": 1,
    "RESHAPE": 1,
    "SQUEEZE": 1,
    "TRANSPOSE_CONV": 3,
}
_OPTIONS = {
    "ADD": "AddOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "CAST": "CastOptions",
    "DEQUANTIZE": "DequantizeOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MUL": "MulOptions",
    "QUANTIZE": "QuantizeOptions",
    "RESHAPE": "ReshapeOptions",
}
RELU = 1  # ActivationFunctionType
_KEPT_METADATA = b"min_runtime_version"


class TFLiteFile:
    """The graph of a .tflite file. `old` holds its operators; the operators that are appended make up the new file.

    Tensors are identified by index. A constant's array is in row-major order of its shape.
    """

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema
        from ai_edge_litert.tools import flatbuffer_utils

        self._schema: Any = schema
        self._utils: Any = flatbuffer_utils
        self._model: Any = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
        if len(self._model.subgraphs) > 1:
            raise UnsupportedError(
                f"the converted file has {len(self._model.subgraphs)} graphs, expected one: litert-torch writes "
                "another for an operator that LiteRT lacks",
                "choose another format, or replace the operator in the model",
            )
        (self.graph,) = self._model.subgraphs
        self._kinds = {number: name for name, number in vars(schema.BuiltinOperator).items() if name[0] != "_"}
        self.types: Any = schema.TensorType
        self._numpy = {self.types.FLOAT32: np.float32, self.types.INT32: np.int32, self.types.INT64: np.int64}
        self._old_codes = list(self._model.operatorCodes)
        self.old: list[tuple[str, Any]] = [
            (self._kind_of(self._old_codes[operator.opcodeIndex]), operator) for operator in self.graph.operators
        ]
        self.graph.operators = []
        self._model.operatorCodes = []
        self._codes: dict[tuple[int, int, bytes | None], int] = {}

    def _kind_of(self, code: Any) -> str:
        kind: str = self._kinds.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")
        return kind

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Its sizes, the batch included."""
        sizes = self.graph.tensors[tensor].shape
        return () if sizes is None else tuple(int(size) for size in sizes)

    def is_float(self, tensor: int) -> bool:
        """Whether it holds float32 numbers now."""
        return bool(self.graph.tensors[tensor].type == self.types.FLOAT32)

    def constant(self, tensor: int) -> Array | None:
        """The numbers of a constant tensor; None for one that is computed."""
        found = self.graph.tensors[tensor]
        data = self._model.buffers[found.buffer].data
        if data is None or len(data) == 0 or found.type not in self._numpy:
            return None
        return np.frombuffer(bytes(bytearray(data)), self._numpy[found.type]).reshape(self.shape(tensor))

    def name(self, tensor: int) -> str:
        """Its name in the file."""
        return str((self.graph.tensors[tensor].name or b"").decode())

    def rename(self, tensor: int, name: str) -> None:
        """Give it another name."""
        self.graph.tensors[tensor].name = name.encode()

    def set_type(self, tensor: int, kind: int, scale: Array | None = None, zero: int = 0, axis: int = 0) -> None:
        """Make it an integer tensor with `scale` [] or [channels] along `axis`; None: integers without a scale."""
        found = self.graph.tensors[tensor]
        found.type, found.quantization = kind, None
        if scale is not None:
            found.quantization = grid = self._schema.QuantizationParametersT()
            grid.scale = [float(s) for s in np.atleast_1d(scale)]
            grid.zeroPoint = [zero] * len(grid.scale)
            grid.quantizedDimension = axis

    def add(self, name: str, shape: tuple[int, ...], kind: int, data: Array | None = None) -> int:
        """A new tensor; `data` (already packed where two numbers share a byte) makes it a constant."""
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), list(shape), kind, 0
        if data is not None:
            tensor.buffer = len(self._model.buffers)
            self._model.buffers.append(self._buffer(np.ascontiguousarray(data).tobytes()))
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _buffer(self, content: bytes) -> Any:
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(content, np.uint8)
        return buffer

    def new(self, kind: str, inputs: list[int], output: int, **options: Any) -> None:
        """Append an operator of a kind that the rewriting itself needs, with `options` over the defaults."""
        operator = self._schema.OperatorT()
        operator.inputs, operator.outputs = inputs, [output]
        self.set_options(operator, kind, **options)
        self._append(kind, operator)

    def set_options(self, operator: Any, kind: str, **options: Any) -> None:
        """Make it an operator of `kind`, with `options` over the defaults."""
        operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, _OPTIONS[kind])
        operator.builtinOptions = getattr(self._schema, f"{_OPTIONS[kind]}T")()
        for name, value in options.items():
            setattr(operator.builtinOptions, name, value)

    def append_integer(self, kind: str, operator: Any) -> None:
        """Append one of the old operators whose tensors have become integers; `kind` may be another than it had."""
        old = self._old_codes[operator.opcodeIndex]
        self._append(kind, operator, old.version if self._kind_of(old) == kind else 1)

    def append_float(self, operator: Any) -> None:
        """Append one of the old operators as it is."""
        operator.opcodeIndex = self._code(self._old_codes[operator.opcodeIndex])
        self.graph.operators.append(operator)

    def _append(self, kind: str, operator: Any, version: int = 1) -> None:
        code = self._schema.OperatorCodeT()
        code.builtinCode = getattr(self._schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = max(version, _VERSIONS.get(kind, 2))
        operator.opcodeIndex = self._code(code)
        self.graph.operators.append(operator)

    def _code(self, code: Any) -> int:
        key = (max(code.builtinCode, code.deprecatedBuiltinCode), code.version, code.customCode)
        if key not in self._codes:
            self._codes[key] = len(self._model.operatorCodes)
            self._model.operatorCodes.append(code)
        return self._codes[key]

    def to_bytes(self, metadata: dict[str, str]) -> bytes:
        """The file without unused tensors, and with `metadata`, each entry a name and a buffer of UTF-8."""
        self._drop_unused_tensors()
        old = self._model.buffers
        buffers = [self._schema.BufferT()]
        kept = [entry for entry in self._model.metadata or [] if entry.name == _KEPT_METADATA]
        fresh = [(name, text.encode()) for name, text in metadata.items()]
        texts = [(entry.name.decode(), bytes(bytearray(old[entry.buffer].data))) for entry in kept] + fresh
        for tensor in self.graph.tensors:
            if tensor.buffer:
                buffers.append(old[tensor.buffer])
                tensor.buffer = len(buffers) - 1
        self._model.metadata = []
        for name, content in texts:
            entry = self._schema.MetadataT()
            entry.name, entry.buffer = name.encode(), len(buffers)
            buffers.append(self._buffer(content))
            self._model.metadata.append(entry)
        self._model.buffers = buffers
        return bytes(self._utils.convert_object_to_bytearray(self._model))

    def _drop_unused_tensors(self) -> None:
        lists = [self.graph.inputs, self.graph.outputs]
        lists += [part for operator in self.graph.operators for part in (operator.inputs, operator.outputs)]
        used = sorted({int(index) for part in lists for index in part if index >= 0})
        place = {index: number for number, index in enumerate(used)} | {-1: -1}
        self.graph.tensors = [self.graph.tensors[index] for index in used]
        self.graph.inputs, self.graph.outputs = (
            [place[int(index)] for index in part] for part in (self.graph.inputs, self.graph.outputs)
        )
        for operator in self.graph.operators:
            operator.inputs = [place[int(index)] for index in operator.inputs]
            operator.outputs = [place[int(index)] for index in operator.outputs]
        for signature in self._model.signatureDefs or []:
            for side, edges in ((signature.inputs, self.graph.inputs), (signature.outputs, self.graph.outputs)):
                for entry, index in zip(side, edges, strict=True):
                    entry.tensorIndex = index
