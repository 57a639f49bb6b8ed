"""What an ONNX file says of itself: shapes, metadata, and what its layers' weights take."""

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowbit.core.errors import UnsupportedError
from lowbit.core.refusal import vendor_call
from lowbit.core.stored import StoredGraph, StoredOperator, StoredTensor
from lowbit.formats.facts import FileFacts

if TYPE_CHECKING:
    import onnx

# Operators that take the range of the whole tensor before they quantize it.
_DYNAMIC = frozenset({"DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul"})


def read_onnx(path: Path) -> FileFacts:
    """Weights in files beside it are not read. Raises UnsupportedError where it is no ONNX file."""
    import onnx

    from lowbit.graph.nested import with_nested
    from lowbit.graph.scores import kind_of_scores

    with vendor_call("it is no ONNX file that can be read", path):
        model = onnx.load(path, load_external_data=False)
    initializers = {tensor.name for tensor in model.graph.initializer}
    images = [value for value in model.graph.input if value.name not in initializers]
    if len(images) != 1 or not model.graph.output:
        raise UnsupportedError(
            f"{path.name} has {len(images)} inputs and {len(model.graph.output)} outputs, one of each was expected"
        )
    (image,) = images
    shape = [dim.dim_value for dim in image.type.tensor_type.shape.dim]
    scores = [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim]
    bytes_of: dict[str, int] = {}
    for tensor in model.graph.initializer:
        layer, colon, part = tensor.name.rpartition(":w")
        if colon and (not part or part.isdigit()):
            bytes_of[layer] = bytes_of.get(layer, 0) + len(tensor.raw_data)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    dynamic = any(node.op_type in _DYNAMIC for graph in with_nested(model.graph) for node in graph.node)
    kind = kind_of_scores(model)
    return FileFacts(
        input_shape=tuple(shape[1:]),
        outputs=prod(scores[1:]) if scores else 0,
        batch_size=shape[0] or None if shape else None,
        metadata=metadata,
        weight_bytes=bytes_of,
        results=len(model.graph.output),
        probabilities=None if kind is None else kind != "logits",
        dynamic=dynamic,
    )


def stored_onnx(path: Path) -> StoredGraph:
    """Tensors and operators of the main graph. Raises UnsupportedError where it is no ONNX file."""
    import onnx

    with vendor_call("it is no ONNX file that can be read", path):
        model = onnx.load(path, load_external_data=False)
        constants = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                constants[node.output[0]] = node.attribute[0].t
        grids = _grids(model.graph, constants)
        stated = {value.name: value for value in (*model.graph.input, *model.graph.value_info, *model.graph.output)}
        names = dict.fromkeys([*stated, *constants, *(name for node in model.graph.node for name in node.output)])
        tensors = [_stored(name, stated.get(name), constants.get(name), grids.get(name)) for name in names if name]
    operators = [
        StoredOperator(
            name=node.name or node.output[0],
            kind=node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}",
            inputs=tuple(name for name in node.input if name),
            outputs=tuple(name for name in node.output if name),
        )
        for node in model.graph.node
        if node.op_type != "Constant"
    ]
    return StoredGraph(tuple(tensors), tuple(operators))


_Grid = tuple[tuple[float, ...], tuple[int, ...], int | None]


def _grids(graph: "onnx.GraphProto", constants: dict[str, "onnx.TensorProto"]) -> dict[str, _Grid]:
    """What QuantizeLinear gives and DequantizeLinear takes, where scale and zero point are constants of the file."""
    from onnx import numpy_helper

    def numbers(name: str, kind: type) -> tuple[Any, ...] | None:
        tensor = constants.get(name)
        if tensor is None or tensor.data_location == tensor.EXTERNAL:
            return None
        return tuple(kind(each) for each in numpy_helper.to_array(tensor).reshape(-1))

    found: dict[str, _Grid] = {}
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scales = numbers(node.input[1], float)
            zeros = numbers(node.input[2], int) if len(node.input) > 2 and node.input[2] else ()
            axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
            if scales is not None and zeros is not None:
                name = node.output[0] if node.op_type == "QuantizeLinear" else node.input[0]
                found[name] = (scales, zeros, axis if len(scales) > 1 else None)
    return found


def _stored(
    name: str, value: "onnx.ValueInfoProto | None", tensor: "onnx.TensorProto | None", grid: _Grid | None
) -> StoredTensor:
    from onnx import TensorProto

    if tensor is not None:
        number, shape = tensor.data_type, tuple(tensor.dims)
    elif value is not None:
        kind = value.type.tensor_type
        number, shape = kind.elem_type, tuple(dim.dim_value for dim in kind.shape.dim)
    else:
        number, shape = TensorProto.UNDEFINED, ()
    word = TensorProto.DataType.Name(number).lower()
    bits = _BITS.get(word)
    scales, zeros, axis = grid or ((), (), None)
    stored = 0 if tensor is None or bits is None else (prod(shape) * bits + 7) // 8
    return StoredTensor(
        name=name,
        kind="" if word == "undefined" else word,
        shape=shape,
        bits=bits,
        stored_bytes=stored,
        scales=scales,
        zero_points=zeros,
        axis=axis,
    )


_BITS = {"float": 32, "double": 64, "float16": 16, "bfloat16": 16, "bool": 8, "int2": 2, "uint2": 2, "int4": 4}
_BITS |= {"uint4": 4, "int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int32": 32, "uint32": 32, "int64": 64}
_BITS |= {"uint64": 64, "float8e4m3fn": 8, "float8e5m2": 8}
