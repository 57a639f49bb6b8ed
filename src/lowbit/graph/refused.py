"""ONNX operators that the importers refuse, and why. Error messages and `docs/operators.md` give these reasons."""

_QUANTIZED = "the model is quantized already: lowbit starts from the float model that it was made from"
_RANDOM = "it draws random numbers: what it gives is no function of the image"
_FLOW = (
    "it holds graphs of its own, of which the values decide how often or which one runs (what is constant is folded "
    "before): torch.export takes straight programs only"
)
_SEQUENCE = "it works on lists of tensors, whose number is known only when the model runs"
_OPTIONAL = "it asks whether a value is there, which is known only when the model runs"
_TEXT = "it works on text"
_SOUND = "it works on sound: frames of a signal"
_DETECTION = "it belongs to a detector: how many regions there are depends on what the image shows"
_FREE_SIZE = "how many entries it gives depends on what the image shows (where its inputs are constant it is folded)"
_LOSS = "it computes a loss, for training"

REFUSED: dict[str, str] = {
    **dict.fromkeys(
        (
            "ConvInteger",
            "DequantizeLinear",
            "DynamicQuantizeLinear",
            "MatMulInteger",
            "QLinearConv",
            "QLinearMatMul",
            "QuantizeLinear",
        ),
        _QUANTIZED,
    ),
    **dict.fromkeys(
        ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"), _RANDOM
    ),
    **dict.fromkeys(("If", "Loop", "Scan", "SequenceMap"), _FLOW),
    **dict.fromkeys(
        (
            "ConcatFromSequence",
            "SequenceAt",
            "SequenceConstruct",
            "SequenceEmpty",
            "SequenceErase",
            "SequenceInsert",
            "SequenceLength",
            "SplitToSequence",
        ),
        _SEQUENCE,
    ),
    **dict.fromkeys(("Optional", "OptionalGetElement", "OptionalHasElement"), _OPTIONAL),
    **dict.fromkeys(("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"), _TEXT),
    "STFT": _SOUND,
    **dict.fromkeys(("MaxRoiPool", "NonMaxSuppression", "RoiAlign"), _DETECTION),
    **dict.fromkeys(("NonZero", "Unique"), _FREE_SIZE),
    **dict.fromkeys(("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"), _LOSS),
    "ImageDecoder": "it decodes files: lowbit feeds decoded images, as --preprocess says",
}

FOLDED = frozenset({"BlackmanWindow", "Constant", "HammingWindow", "HannWindow", "MelWeightMatrix"})
"""Operators without a rule, whose inputs (if any) are constants or sizes: where all are constant, they are folded."""

FOLDED_IF_CONSTANT = frozenset({"NonZero", "Unique"})
"""Refused operators that are folded all the same where their inputs are constant."""
