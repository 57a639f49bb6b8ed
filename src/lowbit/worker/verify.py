"""Verification of a built file: its layers alone and the whole of it, in its runtime, against the integer reference."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from lowbit.core.adapter import Floats, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.errors import BadInput, UnsupportedError
from lowbit.core.refusal import refusal
from lowbit.core.verified import LayerCheck, UncheckedLayer, Verified
from lowbit.formats.onnx.write import export_onnx, layer_file
from lowbit.measure.accuracy import in_batches_of
from lowbit.measure.verify import Array, RunCodes, check_layer, check_scores
from lowbit.quant.model import QuantizedModel
from lowbit.reference.graph import IntegerGraph, load_integer_graph
from lowbit.reference.op import real
from lowbit.reference.values import Requantize, by_fixed_point, by_fixed_point_ties_up, by_float
from lowbit.runtimes import find

_FORMATS = {".onnx": "onnx", ".xml": "openvino-ir", ".tflite": "tflite"}

_WAYS = {"float": by_float, "fixed-point": by_fixed_point, "fixed-point, ties up": by_fixed_point_ties_up}
_CODES = 1 << 20  # a layer's input at most, in whole images: enough to see one code in a thousand

Open = Callable[[QuantizedModel, str, Path, int], RunCodes]  # model, node, a file to write (by its suffix), threads


def verify_artifact(
    model: QuantizedModel,
    built_file: Path,
    runtime: str,
    images: Floats,
    *,
    threads: int = 1,
) -> Verified:
    """Run every layer of `model` alone and `built_file` as a whole in `runtime`, on images [N, C, H, W].

    The reference runs the ONNX file of the same model. Raises BadInput for a runtime or a file that verification does
    not know, UnsupportedError where the runtime refuses the whole file; a layer that it refuses alone is listed with
    the reason.
    """
    opener = _OPENERS.get((runtime, built_file.suffix))
    if opener is None:
        known = ", ".join(f"{suffix} in {name}" for name, suffix in _OPENERS)
        raise BadInput(f"{built_file.name} in {runtime!r} cannot be verified: expected one of {known}")
    with tempfile.TemporaryDirectory(prefix="lowbit-") as folder:
        whole = Path(folder) / "whole.onnx"
        export_onnx(model, whole)
        graph = load_integer_graph(onnx.load(whole))
        nodes = {str(node.name): node for node in model.graph.graph}
        reading, unchecked = {}, []
        for name in model.layers:
            source = nodes[name].inputs[0]
            if nodes[name].op_type == "Gather":
                unchecked.append(UncheckedLayer(name, "a table: its rows are looked up, nothing is computed"))
            elif source is None or model.read_as(nodes[name], source) is None:
                unchecked.append(UncheckedLayer(name, "it reads float values"))
            else:
                reading[name] = graph.codes_read_by(name)
        values = graph.run({graph.inputs[0]: images}, keep=tuple(reading.values()))
        checks = []
        for number, (name, codes) in enumerate(reading.items()):
            array = np.asarray(values[codes])
            part = array[: max(1, _CODES * len(array) // max(1, array.size))]
            try:
                found = _opened(opener, model, name, Path(folder) / f"{number}{built_file.suffix}", threads)
                checks.append(_check(model, nodes[name], part, found))
            except UnsupportedError as error:
                unchecked.append(UncheckedLayer(name, error.reason))
    expected = np.array(real(values[graph.outputs[0]]), np.float32).reshape(len(images), -1)
    scores = _scores(built_file, runtime, images, expected.shape[1], threads)
    output = model.main.get(graph.outputs[0])
    step = None if output is None else float(output.scale)
    return Verified(runtime, tuple(checks), tuple(unchecked), check_scores(expected, scores, step))


def _opened(opener: Open, model: QuantizedModel, node: str, path: Path, threads: int) -> RunCodes:
    """The layer's file, opened; running it raises UnsupportedError too where the runtime refuses it."""
    try:
        run = opener(model, node, path, threads)
    except Exception as error:  # the vendors' exceptions share no base class
        raise _refused(error, path) from error

    def checked(codes: Array) -> Array:
        try:
            return run(codes)
        except Exception as error:  # the vendors' exceptions share no base class
            raise _refused(error, path) from error

    return checked


def _refused(error: Exception, path: Path) -> UnsupportedError:
    path.touch()  # the exporter may have failed before it wrote
    return refusal("the runtime refuses it as a file of its own", error, path)


def _check(model: QuantizedModel, node: ir.Node, codes: Array, runtime: RunCodes) -> LayerCheck:
    name = str(node.name)
    alone = load_integer_graph(layer_file(model, name))

    def by(requantize: Requantize) -> RunCodes:
        def reference(x: Array) -> Array:
            return np.asarray(real(alone.run({alone.inputs[0]: x}, requantize=requantize)[alone.outputs[0]]))

        return reference

    return check_layer(name, node.op_type, codes, {way: by(one) for way, one in _WAYS.items()}, runtime)


def _scores(file: Path, runtime: str, images: Floats, outputs: int, threads: int) -> Floats:
    """Scores [N, outputs] of the whole file."""
    fixed = _batch_size(file) if file.suffix == ".tflite" else None
    size = fixed or len(images)
    shape = (images.shape[1], images.shape[2], images.shape[3])
    artifact = Artifact(file, _FORMATS[file.suffix], "", shape, outputs, fixed)
    with find.runtimes((runtime,))[runtime].open_session(artifact, SessionOptions(threads, size)) as session:
        predict = in_batches_of(session.predict, size)
        return np.concatenate([predict(images[first : first + size]) for first in range(0, len(images), size)])


def _batch_size(file: Path) -> int:
    from ai_edge_litert.interpreter import Interpreter

    return int(Interpreter(model_path=str(file)).get_input_details()[0]["shape"][0])


def _in_onnxruntime(model: QuantizedModel, node: str, path: Path, threads: int) -> RunCodes:
    import onnxruntime as ort

    onnx.save(layer_file(model, node), path)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda codes: np.asarray(session.run(None, {name: codes})[0])


def _in_openvino(model: QuantizedModel, node: str, path: Path, threads: int) -> RunCodes:
    import openvino as ov
    from openvino import opset13 as ops

    from lowbit.formats.openvino.write import export_layer_openvino

    if path.suffix == ".xml":
        export_layer_openvino(model, node, path)
    else:
        onnx.save(layer_file(model, node), path)
    core = ov.Core()
    # Unasked, f32 is bf16 where the CPU can.
    properties = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}

    def run(codes: Array) -> Array:
        network = core.read_model(path)
        network.reshape(list(codes.shape))
        if codes.dtype.kind in "iu":
            # In a graph without any FakeQuantize OpenVINO takes the layer for one with compressed weights, and
            # quantizes its input once more, dynamically; in the whole file one stands before every layer.
            limits = np.iinfo(codes.dtype)
            ends = [np.float32(limits.min), np.float32(limits.max)] * 2
            given = network.get_parameters()[0]
            floats = ops.parameter(list(codes.shape), np.float32)
            quantizer = ops.fake_quantize(floats, *ends, levels=limits.max - limits.min + 1)
            given.output(0).replace(ops.convert(quantizer, given.get_element_type()).output(0))
            network.add_parameters([floats])
            network.remove_parameter(given)
        request = core.compile_model(network, "CPU", properties).create_infer_request()
        request.infer([codes.astype(np.float32)])
        result: Array = np.array(request.get_output_tensor(0).data)
        return result

    return run


def _in_litert(model: QuantizedModel, node: str, path: Path, threads: int) -> RunCodes:
    from ai_edge_litert.interpreter import Interpreter

    from lowbit.formats.litert.write import export_layer_litert

    export_layer_litert(model, node, path)
    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    # The file's codes are ours, shifted into int8: the zero points say by how much.
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    alone = load_integer_graph(layer_file(model, node))
    zero_x, zero_y = (_zero_point(alone, kind) for kind in ("DequantizeLinear", "QuantizeLinear"))
    size = int(source["shape"][0])

    def run(codes: Array) -> Array:
        integers = (codes.astype(np.int32) - zero_x + source["quantization"][1]).astype(source["dtype"])
        results = []
        for first in range(0, len(codes), size):
            interpreter.set_tensor(source["index"], integers[first : first + size])
            interpreter.invoke()
            results.append(interpreter.get_tensor(target["index"]))
        found = np.concatenate(results)
        if found.dtype.kind == "f":
            return np.asarray(found)
        return np.asarray(found.astype(np.int32) - target["quantization"][1] + zero_y)

    return run


def _zero_point(graph: IntegerGraph, kind: str) -> int:
    """Of a one-layer file's only node of that kind; 0 where it has none, since that side is float."""
    found = next((node for node in graph.nodes if node.op_type == kind), None)
    return 0 if found is None else int(np.asarray(graph.constants[found.input[2]]))


_OPENERS: dict[tuple[str, str], Open] = {
    ("onnxruntime", ".onnx"): _in_onnxruntime,
    ("openvino", ".onnx"): _in_openvino,
    ("openvino", ".xml"): _in_openvino,
    ("litert", ".tflite"): _in_litert,
}
