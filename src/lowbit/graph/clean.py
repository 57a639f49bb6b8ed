"""From a user's graph to the float graph that all toolchains start from: plain, folded, with a free batch size."""

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from lowbit.graph.batch import check_batch
from lowbit.graph.passes.batchnorm import fold_batchnorm
from lowbit.graph.passes.ceil_mode import pad_instead_of_ceil_mode
from lowbit.graph.passes.conv_transpose import pads_of_conv_transpose
from lowbit.graph.passes.drop_idle import drop_idle
from lowbit.graph.passes.fold_constants import fold_constants
from lowbit.graph.passes.free_batch import free_batch
from lowbit.graph.passes.gemm_bias import flat_gemm_bias
from lowbit.graph.passes.known_sizes import known_sizes
from lowbit.graph.passes.layer_norm import fuse_layer_norm
from lowbit.graph.passes.move_transposes import move_transposes
from lowbit.graph.passes.pad_into_conv import pad_into_conv
from lowbit.graph.passes.raise_opset import raise_opset
from lowbit.graph.passes.rename import rename
from lowbit.graph.values import dims, image_input

OLDEST_IR = 8  # the first where weights need not be listed as inputs, and local functions are known


def clean(model: onnx.ModelProto, where: str = "the model") -> onnx.ModelProto:
    """The same function with a free batch size: constants and BatchNormalization folded, nothing that only trains.

    No Transpose is left that another one undoes, and convolutions pad by themselves. Poolings and transposed
    convolutions state their padding by numbers, which every runtime reads alike.

    `model` is not changed; it has passed `check_graph` and, where a stranger made it, `adapt`. Operators are named by
    kind and number ("Conv_12"), so are the values they give; the input, the output and the weights keep their names.
    The same model gives the same bytes. BadInput, naming `where`, when its batch size or its operator set cannot be
    brought there.
    """
    exported = (dims(image_input(model)) or [None])[0]
    graph = ir.from_proto(free_batch(raise_opset(model, where)))
    graph.ir_version = max(graph.ir_version, OLDEST_IR)
    common.RemoveInitializersFromInputsPass()(graph)
    fold_constants(graph, where)
    while known_sizes(graph):
        fold_constants(graph, where)
    drop_idle(graph)
    fuse_layer_norm(graph)
    common.RemoveUnusedNodesPass()(graph)
    move_transposes(graph)
    pad_into_conv(graph)
    fold_batchnorm(graph)
    flat_gemm_bias(graph)
    pad_instead_of_ceil_mode(graph)
    pads_of_conv_transpose(graph)
    common.RemoveUnusedNodesPass()(graph)
    common.RemoveUnusedOpsetsPass()(graph)
    common.ClearMetadataAndDocStringPass()(graph)
    rename(graph)
    common.ShapeInferencePass()(graph)

    cleaned = ir.to_proto(graph)
    outputs = check_batch(cleaned, where, exported if isinstance(exported, int) else None)
    _declare_output(cleaned, outputs)
    onnx.checker.check_model(cleaned)
    return cleaned


def _declare_output(model: onnx.ModelProto, outputs: int) -> None:
    """Write [batch, outputs] where shape inference left it open."""
    shape = model.graph.output[0].type.tensor_type.shape
    del shape.dim[:]
    shape.dim.add().dim_param = "batch"
    shape.dim.add().dim_value = outputs
