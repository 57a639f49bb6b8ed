"""Parts of a quantized model alone in each runtime: the codes that they read → the codes of their result."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from lowbit.formats.onnx.write import layer_file
from lowbit.quant.model import QuantizedModel
from lowbit.reference.graph import load_integer_graph
from lowbit.reference.op import real
from lowbit.reference.values import Requantize
from tests.runtime.networks import Array

RunCodes = Callable[[Sequence[Array]], Array]


def in_reference(model: QuantizedModel, node: str, requantize: Requantize) -> RunCodes:
    graph = load_integer_graph(layer_file(model, node))

    def run(codes: Sequence[Array]) -> Array:
        feeds = dict(zip(graph.inputs, codes, strict=True))
        return np.asarray(real(graph.run(feeds, requantize=requantize)[graph.outputs[0]]))

    return run


def in_onnxruntime(model: QuantizedModel, node: str, folder: Path) -> RunCodes:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    content = layer_file(model, node).SerializeToString()
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return lambda codes: np.asarray(session.run(None, dict(zip(names, codes, strict=True)))[0])


def in_openvino(model: QuantizedModel, node: str, folder: Path) -> RunCodes:
    onnx.save(layer_file(model, node), folder / "part.onnx")
    return _openvino(folder / "part.onnx")


def in_openvino_ir(model: QuantizedModel, node: str, folder: Path) -> RunCodes:
    from lowbit.formats.openvino.write import export_layer_openvino

    export_layer_openvino(model, node, folder / "part.xml")
    return _openvino(folder / "part.xml")


def _openvino(path: Path) -> RunCodes:
    import openvino as ov
    from openvino import opset13 as ops

    core = ov.Core()

    def run(codes: Sequence[Array]) -> Array:
        network = core.read_model(path)
        given = network.get_parameters()
        network.reshape({value.output(0): list(array.shape) for value, array in zip(given, codes, strict=True)})
        for value, array in zip(given, codes, strict=True):
            limits = np.iinfo(array.dtype)
            ends = [np.float32(limits.min), np.float32(limits.max)] * 2
            floats = ops.parameter(list(array.shape), np.float32)
            quantizer = ops.fake_quantize(floats, *ends, levels=limits.max - limits.min + 1)
            value.output(0).replace(ops.convert(quantizer, value.get_element_type()).output(0))
            network.add_parameters([floats])
            network.remove_parameter(value)
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        request = core.compile_model(network, "CPU", settings).create_infer_request()
        request.infer([array.astype(np.float32) for array in codes])
        return np.array(request.get_output_tensor(0).data)

    return run


def in_litert(model: QuantizedModel, node: str, folder: Path) -> RunCodes:
    from ai_edge_litert.interpreter import Interpreter

    from lowbit.formats.litert.write import export_layer_litert
    from lowbit.formats.part import part_of

    export_layer_litert(model, node, folder / "part.tflite")
    alone = part_of(model, node).model
    interpreter = Interpreter(model_path=str(folder / "part.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    sources = {detail["name"]: detail for detail in interpreter.get_input_details()}
    (target,) = interpreter.get_output_details()
    inputs = [str(value.name) for value in alone.graph.graph.inputs]
    result = alone.main.get(str(alone.graph.graph.outputs[0].name))

    def run(codes: Sequence[Array]) -> Array:
        results = []
        for image in range(len(codes[0])):
            for name, array in zip(inputs, codes, strict=True):
                shift = sources[name]["quantization"][1] - int(alone.main[name].zero_point)
                one = (array[image : image + 1].astype(np.int32) + shift).astype(sources[name]["dtype"])
                interpreter.set_tensor(sources[name]["index"], one)
            interpreter.invoke()
            results.append(interpreter.get_tensor(target["index"]))
        found = np.concatenate(results)
        if result is None or found.dtype.kind == "f":
            return np.asarray(found)
        return np.asarray(found.astype(np.int32) - target["quantization"][1] + int(result.zero_point))

    return run


RUNTIMES: dict[str, Callable[[QuantizedModel, str, Path], RunCodes]] = {
    "onnxruntime": in_onnxruntime,
    "openvino": in_openvino,
    "openvino-ir": in_openvino_ir,
    "litert": in_litert,
}
