"""Job `verify`: a built file, its layers alone and the whole of it, in one runtime, against the integer reference."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from lowbit.core.adapter import Floats, RunCodes, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.discover import require
from lowbit.core.errors import UnsupportedError
from lowbit.core.format import file_format
from lowbit.core.verified import LayerCheck, UncheckedLayer, Verified
from lowbit.data.cache import open_samples
from lowbit.data.preprocess import to_input
from lowbit.formats.layers import write_layer
from lowbit.formats.onnx.write import export_onnx, layer_file
from lowbit.measure.accuracy import in_batches_of
from lowbit.measure.verify import Array, check_layer, check_scores
from lowbit.quant.model import QuantizedModel
from lowbit.quant.stored import load_quantized
from lowbit.reference.graph import IntegerGraph, load_integer_graph
from lowbit.reference.op import real
from lowbit.reference.values import Requantize, by_fixed_point, by_fixed_point_ties_up, by_float
from lowbit.runtimes.find import OpensCodes, Runtime, runtimes
from lowbit.worker.jobs import VerifyJob

_WAYS = {"float": by_float, "fixed-point": by_fixed_point, "fixed-point, ties up": by_fixed_point_ties_up}
_CODES = 1 << 20  # a layer's input at most, in whole images: enough to see one code in a thousand


def run(job: VerifyJob) -> Verified:
    """Load what the build left, and compare on the first calibration images."""
    model = load_quantized(job.evidence)
    images = to_input(open_samples(job.samples, "calibration").images[: job.images], job.preprocess)
    return verify_artifact(model, job.artifact, job.runtime, images, threads=job.threads)


def verify_artifact(
    model: QuantizedModel, artifact: Artifact, runtime: str, images: Floats, *, threads: int = 1
) -> Verified:
    """Run every layer of `model` alone and `artifact` as a whole in `runtime`, on images [N, C, H, W].

    The reference runs the ONNX file of the same model. Raises MissingPackage for a runtime that is not installed, and
    UnsupportedError for one in which nothing can be verified, where it refuses the whole file, and where the reference
    cannot compute the model; a layer that the runtime refuses alone is listed with the reason.
    """
    module = runtimes((runtime,))[runtime]
    require(module.INFO)
    if not isinstance(module, OpensCodes):
        raise UnsupportedError(f"the runtime {runtime} cannot run a layer alone, on codes", "verify in another runtime")
    options = SessionOptions(threads, artifact.batch_size or len(images))
    suffix = file_format(artifact.format).main_suffix
    with tempfile.TemporaryDirectory(prefix="lowbit-") as folder:
        whole = Path(folder) / "whole.onnx"
        export_onnx(model, whole)
        graph = load_integer_graph(onnx.load(whole))
        nodes = {str(node.name): node for node in model.graph.graph}
        reading, unchecked = _checkable(model, nodes, graph)
        values = graph.run({graph.inputs[0]: images}, keep=tuple(reading.values()))
        checks = []
        for number, (name, codes) in enumerate(reading.items()):
            array = np.asarray(values[codes])
            part = array[: max(1, _CODES * len(array) // max(1, array.size))]
            alone = load_integer_graph(layer_file(model, name))
            path = Path(folder) / f"{number}{suffix}"
            try:
                write_layer(model, name, artifact.format, path)
                opened = module.open_codes(path, _zero_points(alone), options)
                checks.append(_check(nodes[name], alone, part, opened))
            except UnsupportedError as error:
                unchecked.append(UncheckedLayer(name, error.reason))
    expected = np.array(real(values[graph.outputs[0]]), np.float32).reshape(len(images), -1)
    scores = _scores(artifact, module, images, options)
    output = model.main.get(graph.outputs[0])
    step = None if output is None else float(output.scale)
    return Verified(runtime, tuple(checks), tuple(unchecked), check_scores(expected, scores, step))


def _checkable(
    model: QuantizedModel, nodes: dict[str, ir.Node], graph: IntegerGraph
) -> tuple[dict[str, str], list[UncheckedLayer]]:
    """Layer → the tensor of codes that it reads; and the layers that cannot be compared."""
    reading, unchecked = {}, []
    for name in model.layers:
        source = nodes[name].inputs[0]
        if nodes[name].op_type == "Gather":
            unchecked.append(UncheckedLayer(name, "a table: its rows are looked up, nothing is computed"))
        elif source is None or model.read_as(nodes[name], source) is None:
            unchecked.append(UncheckedLayer(name, "it reads float values"))
        else:
            reading[name] = graph.codes_read_by(name)
    return reading, unchecked


def _check(node: ir.Node, alone: IntegerGraph, codes: Array, runtime: RunCodes) -> LayerCheck:
    def by(requantize: Requantize) -> RunCodes:
        def reference(x: Array) -> Array:
            return np.asarray(real(alone.run({alone.inputs[0]: x}, requantize=requantize)[alone.outputs[0]]))

        return reference

    return check_layer(str(node.name), node.op_type, codes, {way: by(one) for way, one in _WAYS.items()}, runtime)


def _scores(artifact: Artifact, runtime: Runtime, images: Floats, options: SessionOptions) -> Floats:
    """Scores [N, outputs] of the whole file."""
    size = options.batch_size
    with runtime.open_session(artifact, options) as session:
        predict = in_batches_of(session.predict, size)
        return np.concatenate([predict(images[first : first + size]) for first in range(0, len(images), size)])


def _zero_points(graph: IntegerGraph) -> tuple[int, int]:
    """Of a one-layer file's input and result; 0 where that side is float."""
    found = {node.op_type: node for node in graph.nodes}
    source, target = (
        0 if node is None else int(np.asarray(graph.constants[node.input[2]]))
        for node in (found.get("DequantizeLinear"), found.get("QuantizeLinear"))
    )
    return source, target
