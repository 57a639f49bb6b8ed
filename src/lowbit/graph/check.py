"""What a user's graph must be: float images in, one float output, standard operators, finite weights."""

import onnx
from onnx import TensorProto, inliner, numpy_helper

from lowbit.core.errors import BadInput
from lowbit.core.text import said
from lowbit.graph.finite import check_finite
from lowbit.graph.nested import with_nested
from lowbit.graph.passes.float32 import OTHERS
from lowbit.graph.passes.sort_nodes import sort_nodes
from lowbit.graph.values import described, dims, real_inputs

_FLOATS = (TensorProto.FLOAT, *OTHERS)
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
    """`model` in order, with its own functions inlined and shapes inferred; BadInput, naming `where`, if refused."""
    model = _inlined(sort_nodes(model, where))
    _check_operators(model, where)
    check_finite(model, where)
    _check_input(model, where)
    try:
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)  # first: some files have an output of no shape
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BadInput(f"{where}: not a valid ONNX model: {said(error)}; export it again") from error
    _check_output(model, where)
    return model


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Functions that the file itself defines become plain operators: torch's exporter once wrote a module as one."""
    return inliner.inline_local_functions(model) if model.functions else model


def _check_operators(model: onnx.ModelProto, where: str) -> None:
    nodes = [node for graph in with_nested(model.graph) for node in graph.node]
    quantized = sorted({node.op_type for node in nodes if node.op_type in _QUANTIZED})
    if quantized:
        raise BadInput(
            f"{where}: already quantized (it has {', '.join(quantized)}); lowbit starts from float: give the float "
            f"model that it was made from, and this file beside it, as in `lowbit compare FLOAT.onnx --given {where}`; "
            "`lowbit inspect` says what this file is, `lowbit diff` how far it agrees with another file, or with "
            "itself in another runtime"
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


def _check_input(model: onnx.ModelProto, where: str) -> None:
    inputs = real_inputs(model)
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise BadInput(
            f"{where}: has {len(inputs)} inputs ({names}), expected one image [N, C, H, W]; "
            "export the classifier with the image as its only input"
        )
    (value,) = inputs
    shape = dims(value)
    if value.type.tensor_type.elem_type not in _FLOATS:
        raise BadInput(
            f"{where}: input {described(value)}, expected float numbers [N, C, H, W]; export the model in float32"
        )
    if shape is None or len(shape) not in (3, 4):
        raise BadInput(
            f"{where}: input {described(value)}, expected images [N, C, H, W], [N, H, W, C] or [N, H, W]; "
            "export an image classifier"
        )


def _check_output(model: onnx.ModelProto, where: str) -> None:
    if len(model.graph.output) != 1:
        names = ", ".join(value.name for value in model.graph.output) or "none"
        raise BadInput(
            f"{where}: has {len(model.graph.output)} outputs ({names}), expected one, the class scores [N, classes]; "
            "export the classifier's scores only"
        )
    (value,) = model.graph.output
    if value.type.tensor_type.elem_type not in _FLOATS:
        raise BadInput(f"{where}: output {described(value)}, expected float scores [N, classes]; export those")
