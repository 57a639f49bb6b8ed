"""What a file's scores are, by the operators that stand at its end."""

from collections.abc import Iterable

# OpenVINO's names and LiteRT's. What only moves entries or writes them in another type changes nothing.
_MOVES = frozenset(
    {"Convert", "FakeQuantize", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
    | {"CAST", "DEQUANTIZE", "EXPAND_DIMS", "QUANTIZE", "RESHAPE", "SQUEEZE", "TRANSPOSE"}
)
_SQUASHES = frozenset({"Sigmoid", "SoftMax", "Softmax", "LOGISTIC", "SOFTMAX"})
_LAYERS = frozenset(
    {"Convolution", "GroupConvolution", "MatMul"} | {"BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
)
_SUMS = frozenset({"Add", "ADD"})  # a layer's bias, where a layer stands before it


def are_probabilities(backwards: Iterable[str]) -> bool | None:
    """Whether the scores are probabilities rather than logits; None where the operators do not tell.

    backwards: kinds of operators, from the one that gives the scores along the first inputs
    """
    summed = False
    for kind in backwards:
        if kind in _LAYERS:
            return False
        if kind in _SQUASHES and not summed:
            return True
        if kind in _SUMS and not summed:
            summed = True
        elif kind not in _MOVES:
            return None
    return None
