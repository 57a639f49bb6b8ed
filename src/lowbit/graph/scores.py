"""Decides what a graph's scores are: logits, or probabilities from a Softmax or a Sigmoid at its end."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import onnx

from lowbit.core.adapter import Floats

ScoreKind = Literal["logits", "softmax", "sigmoid"]

# What only moves entries, takes some of them, or keeps them inside bounds: what they are stays what it was.
_MOVES = frozenset(
    {"Cast", "Clip", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
    | {"DequantizeLinear", "QuantizeLinear"}  # in files of others, which are already quantized
)
_SQUASHES: dict[str, ScoreKind] = {
    "Softmax": "softmax",
    "Sigmoid": "sigmoid",
    "HardSigmoid": "sigmoid",
    "QLinearSoftmax": "softmax",
    "QLinearSigmoid": "sigmoid",
}
_LAYERS = frozenset(  # of any sign
    {"Conv", "ConvTranspose", "Gemm", "LogSoftmax", "MatMul"} | {"QGemm", "QLinearConv", "QLinearMatMul"}
)
_SUMS_TO_ONE = 1e-3


def kind_of_scores(model: onnx.ModelProto) -> ScoreKind | None:
    """What the graph says its scores are; None where it cannot tell (a Div by a sum, an average of several)."""
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in _backwards(model, makers):
        if node.op_type in _SQUASHES:
            return _SQUASHES[node.op_type]
        if node.op_type in _LAYERS or _adds_bias(node, makers):
            return "logits"
    return None


def are_probabilities(model: onnx.ModelProto, scores: Floats) -> bool:
    """Whether the scores are probabilities: by the graph, and where that cannot tell by `scores` [N, outputs].

    Values look like probabilities where none is negative and every row sums to 1 within 1e-3; a single output, where
    all of them lie between 0 and 1.
    """
    kind = kind_of_scores(model)
    if kind is not None:
        return kind != "logits"
    if scores.shape[1] == 1:
        return bool(((scores >= 0) & (scores <= 1)).all())
    return bool((scores >= 0).all() and (np.abs(scores.sum(axis=1) - 1) <= _SUMS_TO_ONE).all())


def closing_nodes(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the Softmax or Sigmoid that makes the scores and of what only moves them behind it; none for logits."""
    names: list[str] = []
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in _backwards(model, makers):
        names.append(node.name)
        if node.op_type in _SQUASHES:
            return tuple(names)
    return ()


def _backwards(model: onnx.ModelProto, makers: dict[str, onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """From the node that gives the scores back to the first one that does more than move entries, included."""
    node = makers.get(model.graph.output[0].name)
    while node is not None:
        yield node
        if node.op_type not in _MOVES:
            return
        node = makers.get(node.input[0])


def _adds_bias(node: onnx.NodeProto, makers: dict[str, onnx.NodeProto]) -> bool:
    """Whether it is a layer's bias, added by a node of its own."""
    layers = [makers.get(name) for name in node.input]
    return node.op_type == "Add" and any(layer is not None and layer.op_type in _LAYERS for layer in layers)
