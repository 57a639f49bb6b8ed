"""What a user's graph must be: one float image in, one row of class scores out, standard operators, finite weights."""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import inliner, numpy_helper

from lowbit.core.errors import BadInput
from lowbit.core.text import said

_STANDARD = ("", "ai.onnx")
_QUANTIZED = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "QLinearConv",
        "QLinearMatMul",
        "ConvInteger",
        "MatMulInteger",
    }
)
_TRAINING = {"Dropout": 2, "BatchNormalization": None}  # operator → index of its training input (None: an attribute)


def check_graph(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """`model` with its own functions inlined and its shapes inferred; BadInput, naming `where`, when it is refused."""
    model = _inlined(model)
    _check_operators(model, where)
    _check_weights(model, where)
    _check_input(model, where)
    try:
        onnx.checker.check_model(model)
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BadInput(f"{where}: not a valid ONNX model: {said(error)}; export it again") from error
    _check_output(model, where)
    return model


def image_input(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    """The graph's only real input: old files list their initializers among the inputs."""
    (only,) = _real_inputs(model)
    return only


def dims(value: onnx.ValueInfoProto) -> list[int | str | None] | None:
    """Shape of `value`: an int, a symbol's name or None (unknown; some write 0) an axis; None without even a rank."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [dim.dim_value if dim.dim_value > 0 else (dim.dim_param or None) for dim in tensor.shape.dim]


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Functions that the file itself defines become plain operators: torch's exporter once wrote a module as one."""
    return inliner.inline_local_functions(model) if model.functions else model


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, nested graphs included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for nested in (attribute.g, *attribute.graphs):
                yield from _nodes(nested)


def _check_operators(model: onnx.ModelProto, where: str) -> None:
    nodes = list(_nodes(model.graph))
    quantized = sorted({node.op_type for node in nodes if node.op_type in _QUANTIZED})
    if quantized:
        raise BadInput(
            f"{where}: already quantized (it has {', '.join(quantized)}); lowbit starts from float: "
            "give the float model that it was made from"
        )
    custom = sorted({f"{node.domain}.{node.op_type}" for node in nodes if node.domain not in _STANDARD})
    if custom:
        raise BadInput(
            f"{where}: has operators outside the ONNX standard: {', '.join(custom)}; expected standard ones only: "
            "export the model without a runtime's optimizations or custom operators"
        )
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in nodes:
        if node.op_type in _TRAINING and _trains(node, initializers):
            raise BadInput(
                f"{where}: {node.op_type} {node.name!r} is in training mode; call model.eval() and export again"
            )


def _trains(node: onnx.NodeProto, initializers: dict[str, onnx.TensorProto]) -> bool:
    index = _TRAINING[node.op_type]
    if index is None:
        return any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)
    flag = initializers.get(node.input[index]) if len(node.input) > index else None
    return flag is not None and bool(numpy_helper.to_array(flag))


def _check_weights(model: onnx.ModelProto, where: str) -> None:
    constants = [
        attribute.t
        for node in _nodes(model.graph)
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    ]
    for tensor in model.graph.initializer:
        _check_finite(tensor, tensor.name, where)
    for tensor in constants:
        _check_finite(tensor, tensor.name or "a constant", where, nan_only=True)


def _check_finite(tensor: onnx.TensorProto, name: str, where: str, *, nan_only: bool = False) -> None:
    """A constant may be infinite on purpose (attention masks); a weight may not."""
    if tensor.data_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE):
        return
    try:
        values = numpy_helper.to_array(tensor)
    except ValueError as error:
        raise BadInput(
            f"{where}: the values of {name!r} do not fill its shape {list(tensor.dims)} ({said(error)}); "
            "export it again"
        ) from error
    bad = int(np.isnan(values).sum() if nan_only else values.size - np.isfinite(values).sum())
    if bad:
        raise BadInput(
            f"{where}: {bad:,} of the {values.size:,} values of {name!r} are NaN or infinite; expected finite weights: "
            "look for where the training diverged"
        )


def _real_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _check_input(model: onnx.ModelProto, where: str) -> None:
    inputs = _real_inputs(model)
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise BadInput(
            f"{where}: has {len(inputs)} inputs ({names}), expected one image [N, C, H, W]; "
            "export the classifier with the image as its only input"
        )
    (value,) = inputs
    shape, shown = dims(value), _shown(value)
    if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        raise BadInput(f"{where}: input {shown}, expected float32 [N, C, H, W]; export the model in float32")
    if shape is not None and len(shape) == 4 and shape[3] in (1, 3, 4) and shape[1] not in (1, 3, 4):
        raise BadInput(
            f"{where}: input {shown} has its channels last; lowbit feeds [N, C, H, W]: "
            "export with channels first, or begin the graph with a Transpose from NCHW"
        )
    if shape is None or len(shape) != 4:
        raise BadInput(f"{where}: input {shown}, expected four axes [N, C, H, W]; export an image classifier")
    if not all(isinstance(side, int) and side > 0 for side in shape[1:]):
        raise BadInput(
            f"{where}: input {shown}, expected fixed channels, height and width (only N may be free); "
            "export with the size of the images"
        )


def _check_output(model: onnx.ModelProto, where: str) -> None:
    if len(model.graph.output) != 1:
        names = ", ".join(value.name for value in model.graph.output) or "none"
        raise BadInput(
            f"{where}: has {len(model.graph.output)} outputs ({names}), expected one, the class scores [N, classes]; "
            "export the classifier's scores only"
        )
    (value,) = model.graph.output
    shape = dims(value)
    if shape is not None and len(shape) != 2:
        raise BadInput(
            f"{where}: output {_shown(value)}, expected class scores [N, classes]; "
            "end the model with a Flatten, or export a classifier"
        )
    if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        raise BadInput(f"{where}: output {_shown(value)}, expected float32 [N, classes]; export the float scores")


def _shown(value: onnx.ValueInfoProto) -> str:
    """How a message calls a value: 'name' float32 [1, 3, ?, ?]."""
    shape = dims(value)
    sides = "of unknown shape" if shape is None else f"[{', '.join(str(side or '?') for side in shape)}]"
    try:
        kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)).name
    except KeyError:
        kind = "of no tensor type"
    return f"{value.name!r} {kind} {sides}"
