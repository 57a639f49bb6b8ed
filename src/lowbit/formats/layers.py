"""Writes one layer of a quantized model to a file of its own, in any format, for verification in a runtime."""

from pathlib import Path

from lowbit.core.errors import BadInput
from lowbit.core.format import ONNX, OPENVINO_IR, TFLITE
from lowbit.quant.model import QuantizedModel


def write_layer(model: QuantizedModel, node: str, form: str, path: Path) -> None:
    """Write the layer `node` alone, codes to codes, to `path`; `form` names the format. BadInput for another format."""
    if form == ONNX.name:
        import onnx

        from lowbit.formats.onnx.write import layer_file

        onnx.save(layer_file(model, node), path)
    elif form == OPENVINO_IR.name:
        from lowbit.formats.openvino.write import export_layer_openvino

        export_layer_openvino(model, node, path)
    elif form == TFLITE.name:
        from lowbit.formats.litert.write import export_layer_litert

        export_layer_litert(model, node, path)
    else:
        known = ", ".join(each.name for each in (ONNX, OPENVINO_IR, TFLITE))
        raise BadInput(f"a layer cannot be written as {form!r}: expected one of {known}")
