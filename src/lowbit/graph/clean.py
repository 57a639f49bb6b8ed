"""From a user's graph to the float graph that all toolchains start from: plain, folded, with a free batch size."""

import logging

import onnx
import onnx_ir as ir
import onnxscript.optimizer
from onnx_ir.passes import common

from lowbit.core.errors import BadInput
from lowbit.core.text import said
from lowbit.graph.batch import check_batch, free_batch
from lowbit.graph.passes.batchnorm import fold_batchnorm

OLDEST_OPSET = 13  # the first with quantization per channel
OLDEST_IR = 8  # the first where weights need not be listed as inputs, and local functions are known

_LARGEST_CONSTANT = 2**26  # elements; what folds to more (an expanded mask) stays computed


def clean(model: onnx.ModelProto, where: str = "the model") -> onnx.ModelProto:
    """The same function with a free batch size: constants and BatchNormalization folded, nothing that only trains.

    `model` is not changed; it has passed `check_graph`. Operators are named by kind and number ("Conv_12"), so are the
    values they give; the input, the output and the weights keep their names. The same model gives the same bytes.
    BadInput, naming `where`, when its batch size or its operator set cannot be brought there.
    """
    model = free_batch(_raise_opset(model, where), where)
    graph = ir.from_proto(model)
    graph.ir_version = max(graph.ir_version, OLDEST_IR)
    common.RemoveInitializersFromInputsPass()(graph)
    _fold_constants(graph, where)
    _drop_idle(graph)
    common.IdentityEliminationPass()(graph)
    fold_batchnorm(graph)
    common.RemoveUnusedNodesPass()(graph)
    common.RemoveUnusedOpsetsPass()(graph)
    common.ClearMetadataAndDocStringPass()(graph)
    _rename(graph)
    common.ShapeInferencePass()(graph)

    cleaned = ir.to_proto(graph)
    outputs = check_batch(cleaned, where)
    _declare_output(cleaned, outputs)
    onnx.checker.check_model(cleaned)
    return cleaned


def _raise_opset(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset >= OLDEST_OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, OLDEST_OPSET)
    except (RuntimeError, ValueError) as error:
        raise BadInput(
            f"{where}: operator set {opset} cannot be converted to {OLDEST_OPSET}, the oldest that lowbit reads "
            f"({said(error)}); export it with opset {OLDEST_OPSET} or later"
        ) from error


def _fold_constants(model: ir.Model, where: str) -> None:
    """What does not depend on the image is computed once, however large (Swin's tables of relative positions)."""
    level = logging.getLogger("onnxscript").level
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    try:
        onnxscript.optimizer.fold_constants(
            model,
            onnx_shape_inference=True,
            output_size_limit=_LARGEST_CONSTANT,
            should_fold=lambda _node: True,  # by default large inputs and ConstantOfShape are left
        )
    except RuntimeError as error:
        raise BadInput(f"{where}: a constant part of it cannot be computed ({said(error)}); export it again") from error
    finally:
        logging.getLogger("onnxscript").setLevel(level)
    common.RemoveUnusedNodesPass()(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)


def _drop_idle(model: ir.Model) -> None:
    """Dropout (`check_graph` has refused models that train) and a Pad by nothing (Swin's) are Identity."""
    for node in list(model.graph):
        pads = node.inputs[1].const_value if node.op_type == "Pad" and node.inputs[1] is not None else None
        idle = node.op_type == "Dropout" and not any(mask.uses() for mask in node.outputs[1:])
        if idle or (pads is not None and not pads.numpy().any()):
            node.op_type = "Identity"
            node.attributes.clear()
            node.resize_inputs(1)
            node.resize_outputs(1)


def _rename(model: ir.Model) -> None:
    """Short names, unique in the graph: exporters write paths that make a quantized file a quarter larger."""
    taken = {value.name for value in (*model.graph.inputs, *model.graph.outputs)} | set(model.graph.initializers)
    for number, node in enumerate(model.graph):
        node.name = f"{node.op_type}_{number}"
        for index, value in enumerate(node.outputs):
            if value.name and not value.is_graph_output():
                name = node.name if index == 0 else f"{node.name}_{index}"
                while name in taken:
                    name += "_"
                taken.add(name)
                value.name = name


def _declare_output(model: onnx.ModelProto, outputs: int) -> None:
    """Write [batch, outputs] where shape inference left it open."""
    shape = model.graph.output[0].type.tensor_type.shape
    del shape.dim[:]
    shape.dim.add().dim_param = "batch"
    shape.dim.add().dim_value = outputs
