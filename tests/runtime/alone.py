"""Parts of a quantized model alone, in the reference and in each runtime: the codes that they read → their result."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lowbit.core.adapter import RunCodes, SessionOptions
from lowbit.core.format import FileFormat
from lowbit.formats.layers import write_layer
from lowbit.formats.onnx.write import layer_file
from lowbit.formats.part import part_of
from lowbit.quant.model import QuantizedModel
from lowbit.reference.graph import load_integer_graph
from lowbit.reference.op import real
from lowbit.reference.values import Requantize
from lowbit.runtimes.find import OpensCodes, runtimes
from tests.runtime.networks import Array


def in_reference(model: QuantizedModel, node: str, requantize: Requantize) -> RunCodes:
    graph = load_integer_graph(layer_file(model, node))

    def run(codes: Sequence[Array]) -> Array:
        feeds = dict(zip(graph.inputs, codes, strict=True))
        return np.asarray(real(graph.run(feeds, requantize=requantize)[graph.outputs[0]]))

    return run


def in_runtime(model: QuantizedModel, node: str, runtime: str, form: FileFormat, folder: Path) -> RunCodes:
    """The part's file of format `form`, opened as verification opens it."""
    path = folder / f"part{form.main_suffix}"
    write_layer(model, node, form.name, path)
    module = runtimes((runtime,))[runtime]
    assert isinstance(module, OpensCodes)
    return module.open_codes(path, part_of(model, node).ports, SessionOptions(threads=1, batch_size=1))
