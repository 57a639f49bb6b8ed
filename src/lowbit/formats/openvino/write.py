"""The OpenVINO exporter: an IR (xml and bin) whose weights take exactly their bits and that runs on integer kernels.

OpenVINO reads our ONNX file with its weights as inputs, and packed constants then take the place of these inputs:

| bits       | stored                 | becomes int8 code − zero_point by                                            |
|------------|------------------------|------------------------------------------------------------------------------|
| 8          | i8, code − zero_point  | nothing                                                                      |
| 2, 3, 4, 6 | u2, u3, u4, u6         | Convert i8 → Subtract i8                                                     |
| 5, 7       | low bits u4, u6; the   | Convert i8 (the top: Convert boolean → Select 16 or 64, else 0) → Add        |
|            | top bit u1             | → Subtract i8                                                                |

OpenVINO has no u5 and no u7. It folds all of it into one int8 constant while it compiles. (A Multiply for the top bit
would be taken for a dequantization, and left the convolution in float.)
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from lowbit.core.errors import BadInput
from lowbit.core.files import TEMPORARY
from lowbit.core.refusal import refusal
from lowbit.formats.onnx.weights import stored_weight
from lowbit.formats.onnx.write import export_onnx, layer_file
from lowbit.formats.openvino.tidy import fold_constants, number_by_place
from lowbit.quant.model import QTensor, QuantizedModel

_WIDTHS = {2: 2, 3: 3, 4: 4, 5: 4, 6: 6, 7: 6}  # bits → the type that holds them, or all but the top one
_BROADCASTING = {"FakeQuantize", "Multiply", "Subtract"}


def export_openvino(model: QuantizedModel, path: Path, *, metadata: dict[str, str] | None = None) -> None:
    """Write `model` to `path` (`.xml`) and its weights beside it (`.bin`). Equal models give equal bytes.

    metadata: the file's `rt_info`; a dot in a key makes a level.
    """
    with _folder(path) as folder:
        source = folder / "model.onnx"
        export_onnx(model, source, packed=False, cut="floats")
        _write(onnx.load(source), model, path, folder, metadata or {})


def export_layer_openvino(model: QuantizedModel, node: str, path: Path) -> None:
    """Write one part of the model alone, codes to codes, as `formats.onnx.write.layer_file` describes it."""
    with _folder(path) as folder:
        _write(layer_file(model, node, cut="floats"), model, path, folder, {})


def packed_bytes(codes: npt.NDArray[np.integer], bits: int) -> npt.NDArray[np.uint8]:
    """Codes 0 … 2ⁿ−1 as the bytes of OpenVINO's type u1, u2, u3, u4 or u6, the last byte (or three) filled with zeros.

    u2, u4: first code in the lowest bits. u1: in the highest bit. u3 and u6, in groups of three bytes: two with the
    lower 2 (4) bits of 8 (4) codes, one with their upper 1 (2) bits, the first code in the highest bits.
    """
    flat = codes.reshape(-1).astype(np.uint8)
    if bits in (3, 6):
        low = bits * 2 // 3
        flat = np.pad(flat, (0, -flat.size % (24 // bits)))
        lower = _bytes(flat & np.uint8((1 << low) - 1), low, first_high=True).reshape(-1, 2)
        upper = _bytes(flat >> np.uint8(low), bits - low, first_high=True).reshape(-1, 1)
        return np.hstack([lower, upper]).reshape(-1)
    return _bytes(flat, bits, first_high=bits == 1)


def _bytes(codes: npt.NDArray[np.uint8], bits: int, *, first_high: bool) -> npt.NDArray[np.uint8]:
    places = np.arange(0, 8, bits, dtype=np.uint8)
    rows = np.pad(codes, (0, -codes.size % places.size)).reshape(-1, places.size)
    packed: npt.NDArray[np.uint8] = np.bitwise_or.reduce(rows << (places[::-1] if first_high else places), axis=1)
    return packed


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """A folder for temporary files beside `path`."""
    if path.suffix != ".xml":
        raise BadInput(f"{path.name!r} is no name for an OpenVINO file: expected one that ends in .xml")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=path.parent) as folder:
        yield Path(folder)


def _write(proto: onnx.ModelProto, model: QuantizedModel, path: Path, folder: Path, metadata: dict[str, str]) -> None:
    """Let OpenVINO read `proto`, put packed weights where it has weights, save to `path`."""
    import openvino as ov
    from openvino._offline_transformations import apply_moc_transformations

    weights = _take_out_weights(proto, model)
    source = folder / "source.onnx"
    onnx.save(proto, source)
    try:
        made = ov.Core().read_model(source)
    except RuntimeError as error:
        raise refusal("OpenVINO cannot read the model", error, source) from error
    fold_constants(made)
    apply_moc_transformations(made, cf=False)  # QuantizeLinear and DequantizeLinear become one FakeQuantize
    for parameter in made.get_parameters():
        weight = weights.get(parameter.get_friendly_name())
        if weight is not None:
            integers = _integers(weight, parameter.get_friendly_name()).output(0)
            for reader in parameter.output(0).get_target_inputs():
                reader.replace_source_output(integers)
            made.remove_parameter(parameter)
    _share_constants(made, set(weights))
    number_by_place(made, _names(proto.graph))
    for key, value in sorted(metadata.items()):
        made.set_rt_info(value, key.split("."))
    written = folder / path.name
    ov.save_model(made, written, compress_to_fp16=False)
    written.write_bytes(re.sub(rb">\s+<", b"><", written.read_bytes()))  # a third of it is indentation
    written.with_suffix(".bin").replace(path.with_suffix(".bin"))
    written.replace(path)


def _take_out_weights(proto: onnx.ModelProto, model: QuantizedModel) -> dict[str, QTensor]:
    """Make the int8 weights inputs of the graph, so that OpenVINO does not fold them. Returns input → weight."""
    graph = proto.graph
    makers = {name: node for node in graph.node for name in node.output}
    taken = {}
    for node in graph.node:
        layer = model.layers.get(node.name)
        if layer is None:
            continue
        name = f"{node.name}:codes"
        reader = node if node.op_type == "Gather" else makers[node.input[1]]
        reader.input[0] = name
        if node.op_type != "Gather" and layer.weight.qparams.format.granularity != "group":
            del reader.input[2:]  # the zero point, which is 0
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.INT8, layer.weight.codes.shape))
        taken[name] = layer.weight
    return taken


def _integers(weight: QTensor, name: str) -> Any:
    """The node that computes what the int8 initializer held: code − zero_point (group: code − the middle code)."""
    from openvino import opset13 as ops

    form = weight.qparams.format
    if form.bits == 8:
        return ops.constant(stored_weight(weight), name=name)
    codes = weight.codes - form.lowest
    width = _WIDTHS[form.bits]
    integers = ops.convert(_constant(codes & ((1 << width) - 1), width, name), "i8")
    if width < form.bits:
        top = ops.convert(_constant(codes >> width, 1, f"{name}1"), "boolean")
        integers = ops.add(integers, ops.select(top, np.int8(1 << width), np.int8(0)))
    return ops.subtract(integers, _offset(weight))


def _offset(weight: QTensor) -> npt.NDArray[np.int8]:
    """The int8 number to subtract from code − lowest; a single one where all channels have the same."""
    form = weight.qparams.format
    if form.granularity == "group":
        return np.array(form.middle - form.lowest, np.int8)
    offset = (weight.qparams.zero_point - form.lowest).astype(np.int8)
    return np.array(offset.flat[0]) if np.all(offset == offset.flat[0]) else offset


def _constant(codes: npt.NDArray[np.integer], bits: int, name: str) -> Any:
    import openvino as ov

    tensor = ov.Tensor(packed_bytes(codes, bits), ov.Shape(codes.shape), getattr(ov.Type, f"u{bits}"))
    constant = ov.op.Constant(tensor, shared_memory=False)
    constant.set_friendly_name(name)
    return constant


def _names(graph: onnx.GraphProto) -> set[str]:
    """What nodes and values are called in the ONNX file."""
    named = {node.name for node in graph.node} | {name for node in graph.node for name in node.output}
    return named | {value.name for value in (*graph.initializer, *graph.input, *graph.output)}


def _share_constants(model: Any, weights: set[str]) -> None:
    """Store equal constants once, and constants of one repeated number as a scalar.

    Every quantizer has four constants, each 500 bytes of xml. `weights`: names of constants that stay as they are. So
    do zero points of activations: where OpenVINO moves one through a Pad, it expands it to one per channel for all its
    readers, and then fails.
    """
    from openvino import opset13 as ops

    found: dict[tuple[object, ...], Any] = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Constant" or node.get_friendly_name() in weights:
            continue
        data, port = node.get_data(), node.output(0)
        readers = port.get_target_inputs()
        kinds = {reader.get_node().get_type_name() for reader in readers}
        if "Subtract" in kinds and port.get_element_type().is_real():
            continue
        shape = () if data.size == 1 and kinds <= _BROADCASTING else data.shape
        key = (port.get_element_type().get_type_name(), shape, data.tobytes())
        if key not in found:
            found[key] = node if shape == data.shape else ops.constant(data.reshape(shape))
        for reader in readers:
            reader.replace_source_output(found[key].output(0))
    model.validate_nodes_and_infer_types()
