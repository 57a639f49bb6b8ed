"""A scale or a shift a channel becomes a BatchNormalization, which `fold_batchnorm` can take into the layer before.

Requires: shapes are inferred, nodes are named. Ensures: no Mul, Div, Add or Sub of x [N, C, H, W] (C > 1) and a
constant [C, 1, 1] is left, but for constant − x, constant / x and a division by zero.
"""

import numpy as np
import onnx_ir as ir

from lowbit.graph.edit import initializer, replace
from lowbit.graph.values import constant, shape_of


def scale_or_shift_to_batchnorm(model: ir.Model) -> None:
    """Mul, Div, Add, Sub of x [N, C, H, W] and a constant [C, 1, 1] → BatchNormalization with mean 0 and variance 1."""
    for node in list(model.graph):
        if node.op_type in ("Mul", "Div", "Add", "Sub"):
            _rewrite(model.graph, node)


def _rewrite(graph: ir.Graph, node: ir.Node) -> None:
    x, other = node.inputs
    if constant(x) is not None and node.op_type in ("Mul", "Add"):
        x, other = other, x
    array, sizes = constant(other), shape_of(x)
    if array is None or x is None or sizes is None or len(sizes) != 4 or sizes[1] is None or sizes[1] < 2:
        return
    if array.size != sizes[1] or array.ndim < 3 or array.shape[-3] != sizes[1]:
        return
    numbers = array.reshape(-1).astype(np.float64)
    if node.op_type == "Div" and not numbers.all():
        return
    ones, zeros = np.ones_like(numbers), np.zeros_like(numbers)
    scale = {"Mul": numbers, "Div": 1 / numbers if node.op_type == "Div" else ones}.get(node.op_type, ones)
    shift = {"Add": numbers, "Sub": -numbers}.get(node.op_type, zeros)
    inputs = [
        initializer(graph, f"{node.name}_{part}", values.astype(np.float32))
        for part, values in (("scale", scale), ("shift", shift), ("mean", zeros), ("variance", ones))
    ]
    attributes = {"epsilon": 0.0}
    replace(graph, node, ir.node("BatchNormalization", [x, *inputs], attributes, name=node.name))
