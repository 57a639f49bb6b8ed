"""Matrix products."""

import numpy as np

from lowbit.formats.litert.reading.builder import LAST_TO_FIRST, Builder, Unreadable
from lowbit.formats.litert.reading.content import LiteRTOperator
from lowbit.formats.litert.reading.pointwise import Rule, activated


def _fully_connected(to: Builder, operator: LiteRTOperator) -> str:
    """x [..., K] times the transpose of the weight [O, K].

    Of an image [N, H, W, K], whose axes the result keeps, it is a 1 × 1 convolution, so that the layout may change.
    """
    source, weight = operator.inputs[0], operator.inputs[1]
    options, shape = operator.options, to.shape(source)
    depth = to.shape(weight)[1]
    if options.weightsFormat != 0:
        raise Unreadable("its weights are shuffled")
    bias = [to.value(tensor) for tensor in operator.inputs[2:3] if tensor >= 0]
    keeps = bool(options.keepNumDims) and len(shape) > 2
    if keeps and len(shape) == 4:
        kernel = _image_kernel(to, weight)
        value = to.add("Conv", [to.turned(source, LAST_TO_FIRST), kernel, *bias], kernel_shape=[1, 1])
        return to.turned_back(activated(to, value, options.fusedActivationFunction))
    if keeps:
        value = to.add("MatMul", [to.value(source), to.turned(weight, (1, 0))])
        value = to.add("Add", [value, *bias]) if bias else value
    else:
        flat = len(shape) == 2 and shape[1] == depth
        rows = to.value(source) if flat else to.add("Reshape", [to.value(source), to.array(np.array([-1, depth]))])
        value = to.add("Gemm", [rows, to.value(weight), *bias], transB=1)
    return activated(to, value, options.fusedActivationFunction)


def _image_kernel(to: Builder, weight: int) -> str:
    """[O, K] → [O, K, 1, 1]."""
    found = to.constant(weight)
    if found is not None:
        return to.array(found[:, :, None, None])
    return to.add("Unsqueeze", [to.value(weight), to.array(np.array([2, 3]))])


def _batch_matmul(to: Builder, operator: LiteRTOperator) -> str:
    sides = []
    for tensor, transposed in zip(operator.inputs, (operator.options.adjX, operator.options.adjY), strict=True):
        order = list(range(len(to.shape(tensor))))
        order[-2:] = order[:-3:-1]
        sides.append(to.turned(tensor, order) if transposed else to.value(tensor))
    return to.add("MatMul", sides)


RULES: dict[str, Rule] = {"BATCH_MATMUL": _batch_matmul, "FULLY_CONNECTED": _fully_connected}
