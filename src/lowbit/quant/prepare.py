"""The float graph as the engine wants it: the same function, written with fewer kinds of operators.

| found                                                        | becomes                                            |
|--------------------------------------------------------------|----------------------------------------------------|
| a scale or shift a channel of [N, C, H, W] (Mul, Add, …)     | BatchNormalization, folded into the layer before   |
| BatchNormalization with no layer before it                   | Conv, depthwise, 1 × 1: exact at 8 bits            |
| MatMul with a constant matrix, and the Add of a bias behind  | Gemm [O, K], between Reshapes where rank > 2       |
| ReduceMean over height and width, AveragePool of all of it   | GlobalAveragePool, and a Reshape where axes go     |
| GlobalAveragePool over one axis (wrong in OpenVINO)           | GlobalAveragePool over two, between Reshapes       |
| AveragePool that counts its padding (wrong in both runtimes) | Pad, and AveragePool that counts its own entries   |
| MaxPool or AveragePool that rounds its output size up        | the same with more padding at the end              |
| ConvTranspose with auto_pad or output_shape                  | ConvTranspose with pads                            |
| Gemm with alpha, beta, or a weight [K, O]                    | Gemm [O, K] (transB), alpha = beta = 1             |
| a convolution or Gemm without bias                           | the same with a bias of zeros                      |

The rewrites stand in `graph/passes/`, one a file, each with what it requires and what it ensures.
"""

from collections.abc import Callable
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from lowbit.graph.passes.average_pool import pad_average_pool
from lowbit.graph.passes.batchnorm import fold_batchnorm
from lowbit.graph.passes.bias import add_bias
from lowbit.graph.passes.ceil_mode import pad_instead_of_ceil_mode
from lowbit.graph.passes.conv_transpose import pads_of_conv_transpose
from lowbit.graph.passes.depthwise import batchnorm_to_depthwise
from lowbit.graph.passes.gemm import plain_gemm
from lowbit.graph.passes.global_pool import widen_global_average_pool
from lowbit.graph.passes.matmul import matmul_to_gemm
from lowbit.graph.passes.mean import mean_to_pool
from lowbit.graph.passes.names import name_all
from lowbit.graph.passes.scale_shift import scale_or_shift_to_batchnorm

_PASSES: tuple[Callable[[ir.Model], object], ...] = (
    name_all,
    scale_or_shift_to_batchnorm,
    fold_batchnorm,
    batchnorm_to_depthwise,
    matmul_to_gemm,
    mean_to_pool,
    widen_global_average_pool,
    pad_average_pool,
    pad_instead_of_ceil_mode,
    pads_of_conv_transpose,
    plain_gemm,
    add_bias,
    common.RemoveUnusedNodesPass(),
    name_all,
    common.ShapeInferencePass(),
)


def prepare(path: Path) -> ir.Model:
    """The graph of the clean float model at `path`, rewritten by the table above; every node and value has a name."""
    model = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True))
    for rewrite in _PASSES:
        rewrite(model)
    return model
