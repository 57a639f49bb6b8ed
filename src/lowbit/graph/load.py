"""Read a user's ONNX file, with its external data, or say why it cannot be read."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper

from lowbit.core.errors import BadInput
from lowbit.core.text import said
from lowbit.graph.check import check_graph

LARGEST_BYTES = 2**31 - 2**20  # protobuf's limit for one message, less room for the graph itself


def load_graph(path: Path) -> onnx.ModelProto:
    """The float classifier in `path`, as it is, with all its weights in memory.

    BadInput when it is no such thing: unreadable, external data that is missing or lies outside the model's folder, or
    a graph that `check_graph` refuses.
    """
    model = read_model(path)
    folder = path.parent
    tensors = [tensor for tensor in _tensors(model) if external_data_helper.uses_external_data(tensor)]
    total = path.stat().st_size + sum(_external_bytes(path, tensor) for tensor in tensors)
    _check_size(path, total)
    for tensor in tensors:
        external_data_helper.load_external_data_for_tensor(tensor, str(folder))
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    return check_graph(model, str(path))


def files_of(path: Path) -> list[Path]:
    """The ONNX file and the files with its external data, in a fixed order. Same errors as `load_graph`."""
    external = {
        _external_file(path, tensor)
        for tensor in _tensors(read_model(path))
        if external_data_helper.uses_external_data(tensor)
    }
    return [path, *sorted(external)]


def read_model(path: Path) -> onnx.ModelProto:
    """The model without its external data. BadInput when the file is missing, or no ONNX."""
    if not path.is_file():
        found = "a folder" if path.is_dir() else "not a file" if path.exists() else "no such file"
        raise BadInput(f"{path}: {found}; expected the path of an .onnx file")
    _check_size(path, path.stat().st_size)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); look at the file's permissions") from error
    except DecodeError as error:
        raise BadInput(
            f"{path}: not an ONNX model, or cut short ({path.stat().st_size:,} bytes; {said(error)}); "
            "export the model or copy the file again"
        ) from error
    if not model.graph.node or not model.opset_import:
        missing = "no operators" if model.opset_import else "no operator set version"
        raise BadInput(
            f"{path}: not an ONNX model, or cut short: it has {missing}; export the model or copy the file again"
        )
    return model


def _check_size(path: Path, size: int) -> None:
    if size > LARGEST_BYTES:
        raise BadInput(
            f"{path}: {size / 2**30:.1f} GiB of weights, expected less than 2 GiB, the limit of one ONNX file; "
            "use a smaller classifier"
        )


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor stored in the model: initializers and constants, those of nested graphs and functions too."""
    yield from _tensors_of_graph(model.graph)
    for function in model.functions:
        yield from _tensors_of_nodes(function.node)


def _tensors_of_graph(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    yield from _tensors_of_nodes(graph.node)


def _tensors_of_nodes(nodes: Iterator[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for graph in (attribute.g, *attribute.graphs):
                yield from _tensors_of_graph(graph)


def _external_file(path: Path, tensor: onnx.TensorProto) -> Path:
    """The file with `tensor`'s data, proven to lie inside the model's folder: a model may come from a stranger."""
    location = external_data_helper.ExternalDataInfo(tensor).location
    outside = (
        PurePosixPath(location).is_absolute()
        or PureWindowsPath(location).is_absolute()
        or ".." in PureWindowsPath(location).parts
    )
    file = path.parent / location
    if outside or not file.resolve().is_relative_to(path.parent.resolve()):
        raise BadInput(
            f"{path}: the external data of {tensor.name!r} points at {location!r}, outside the model's folder; "
            "expected a file beside the model: copy it there, or save the model again with its data in one file"
        )
    if not file.is_file():
        raise BadInput(
            f"{path}: the external data of {tensor.name!r} should be in {file}, which does not exist; "
            "copy it beside the model"
        )
    return file


def _external_bytes(path: Path, tensor: onnx.TensorProto) -> int:
    """How many bytes `tensor` has outside; BadInput when its file is too short for them."""
    file = _external_file(path, tensor)
    info = external_data_helper.ExternalDataInfo(tensor)
    size = file.stat().st_size
    start = info.offset or 0
    length = size - start if info.length is None else info.length
    if length < 0 or start + length > size:
        raise BadInput(
            f"{path}: {tensor.name!r} should lie at bytes {start:,} to {start + length:,} of {file}, which has "
            f"{size:,}; the file was cut short: copy it again"
        )
    return length
