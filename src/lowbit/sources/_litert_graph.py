"""A float .tflite file, the user's own or one that a converter has just written, on its way to the float graph."""

from pathlib import Path

from lowbit.formats.litert.to_onnx import read_float
from lowbit.graph.adapt import Adapted, adapt
from lowbit.graph.check import check_graph
from lowbit.sources._edge import SourceRequest, free_size


def adapted_graph(path: Path, request: SourceRequest) -> Adapted:
    """The file at `path` as a graph for images of the request's size; BadInput where it cannot be read."""
    graph = check_graph(read_float(path, request.spec), request.spec)
    return adapt(graph, request.spec, request.sample_shape, free_size(request))
