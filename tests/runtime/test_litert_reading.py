"""A float .tflite file becomes an ONNX graph: every operator against LiteRT's interpreter, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from flatbuffers import flexbuffers

from lowbit.core.errors import BadInput
from lowbit.formats.litert import to_onnx
from lowbit.formats.litert.reading.windows import same_padding
from lowbit.formats.litert.to_onnx import read_float
from tests.litert_files import FileWriter

pytest.importorskip("ai_edge_litert")

Array = npt.NDArray[Any]
rng = np.random.default_rng(5)


def floats(*shape: int) -> Array:
    return rng.normal(0, 1, shape).astype(np.float32)


def ints(*numbers: Any) -> Array:
    return np.array(numbers, np.int32)


def both(path: Path, image: Array) -> tuple[Array, Array]:
    """What LiteRT's interpreter and the ONNX graph make of `image`."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    theirs = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    model = read_float(path, path.name)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (ours,) = session.run(None, {"input": image.astype(np.float32)})
    return theirs, ours


def _conv(padding: int, stride: int = 1, dilation: int = 1, activation: int = 0) -> dict[str, Any]:
    return {
        "padding": padding, "strideH": stride, "strideW": stride, "dilationHFactor": dilation,
        "dilationWFactor": dilation, "fusedActivationFunction": activation,
    }  # fmt: skip


def _pool(padding: int, size: int, stride: int) -> tuple[str, dict[str, Any]]:
    values = {"padding": padding, "strideH": stride, "strideW": stride, "filterHeight": size, "filterWidth": size}
    return "Pool2DOptions", values


X = (1, 7, 9, 6)
Case = tuple[str, list[Any], tuple[int, ...], tuple[str, dict[str, Any]] | None]

CASES: dict[str, Case] = {
    "conv, SAME": ("CONV_2D", ["x", floats(5, 3, 3, 6), floats(5)], (1, 7, 9, 5), ("Conv2DOptions", _conv(0))),
    "conv, SAME, stride 2": (
        "CONV_2D", ["x", floats(5, 3, 3, 6), floats(5)], (1, 4, 5, 5), ("Conv2DOptions", _conv(0, 2, 1, 3)),
    ),
    "conv, even kernel, SAME": (
        "CONV_2D", ["x", floats(5, 2, 4, 6), floats(5)], (1, 4, 5, 5), ("Conv2DOptions", _conv(0, 2, 1, 1)),
    ),
    "conv, VALID, dilated": (
        "CONV_2D", ["x", floats(5, 3, 3, 6), floats(5)], (1, 3, 5, 5), ("Conv2DOptions", _conv(1, 1, 2)),
    ),
    "conv, SAME, dilated": (
        "CONV_2D", ["x", floats(5, 3, 3, 6), floats(5)], (1, 7, 9, 5), ("Conv2DOptions", _conv(0, 1, 2)),
    ),
    "conv in groups": ("CONV_2D", ["x", floats(4, 3, 3, 3), floats(4)], (1, 7, 9, 4), ("Conv2DOptions", _conv(0))),
    "depthwise": (
        "DEPTHWISE_CONV_2D", ["x", floats(1, 3, 3, 6), floats(6)], (1, 4, 5, 6),
        ("DepthwiseConv2DOptions", {**_conv(0, 2, 1, 2), "depthMultiplier": 1}),
    ),
    "depthwise, two an input": (
        "DEPTHWISE_CONV_2D", ["x", floats(1, 3, 3, 12), floats(12)], (1, 5, 7, 12),
        ("DepthwiseConv2DOptions", {**_conv(1), "depthMultiplier": 2}),
    ),
    "transposed conv, SAME": (
        "TRANSPOSE_CONV", [ints(1, 14, 18, 5), floats(5, 3, 3, 6), "x", floats(5)], (1, 14, 18, 5),
        ("TransposeConvOptions", {"padding": 0, "strideH": 2, "strideW": 2}),
    ),
    "transposed conv, VALID": (
        "TRANSPOSE_CONV", [ints(1, 15, 19, 5), floats(5, 3, 3, 6), "x", floats(5)], (1, 15, 19, 5),
        ("TransposeConvOptions", {"padding": 1, "strideH": 2, "strideW": 2}),
    ),
    "average pool, SAME": ("AVERAGE_POOL_2D", ["x"], (1, 4, 5, 6), _pool(0, 3, 2)),
    "average pool, VALID": ("AVERAGE_POOL_2D", ["x"], (1, 3, 4, 6), _pool(1, 2, 2)),
    "max pool, SAME": ("MAX_POOL_2D", ["x"], (1, 4, 5, 6), _pool(0, 3, 2)),
    "fully connected": (
        "FULLY_CONNECTED", ["x", floats(4, 378), floats(4)], (1, 4),
        ("FullyConnectedOptions", {"keepNumDims": False, "fusedActivationFunction": 1}),
    ),
    "fully connected, axes kept": (
        "FULLY_CONNECTED", ["x", floats(4, 6), floats(4)], (1, 7, 9, 4),
        ("FullyConnectedOptions", {"keepNumDims": True}),
    ),
    "fully connected, no bias": (
        "FULLY_CONNECTED", ["x", floats(4, 378), None], (1, 4), ("FullyConnectedOptions", {"keepNumDims": False}),
    ),
    "add, activation": ("ADD", ["x", floats(6)], X, ("AddOptions", {"fusedActivationFunction": 1})),
    "sub": ("SUB", [floats(9, 6), "x"], X, ("SubOptions", {})),
    "mul": ("MUL", ["x", floats(7, 1, 1)], X, ("MulOptions", {})),
    "div": ("DIV", ["x", np.abs(floats(6)) + 1], X, ("DivOptions", {})),
    "maximum": ("MAXIMUM", ["x", floats(6)], X, ("MaximumMinimumOptions", {})),
    "minimum": ("MINIMUM", ["x", floats(6)], X, ("MaximumMinimumOptions", {})),
    "squared difference": ("SQUARED_DIFFERENCE", ["x", floats(6)], X, ("SquaredDifferenceOptions", {})),
    "prelu": ("PRELU", ["x", floats(1, 1, 6)], X, None),
    "leaky relu": ("LEAKY_RELU", ["x"], X, ("LeakyReluOptions", {"alpha": 0.3})),
    "gelu": ("GELU", ["x"], X, ("GeluOptions", {"approximate": False})),
    "gelu by tanh": ("GELU", ["x"], X, ("GeluOptions", {"approximate": True})),
    "softmax, sharpened": ("SOFTMAX", ["x"], X, ("SoftmaxOptions", {"beta": 2.0})),
    "log softmax": ("LOG_SOFTMAX", ["x"], X, ("LogSoftmaxOptions", {})),
    "l2 normalization": ("L2_NORMALIZATION", ["x"], X, ("L2NormOptions", {})),
    "local response": (
        "LOCAL_RESPONSE_NORMALIZATION", ["x"], X,
        ("LocalResponseNormalizationOptions", {"radius": 1, "bias": 1.0, "alpha": 0.5, "beta": 0.75}),
    ),
    "reshape": ("RESHAPE", ["x", ints(1, 9, 42)], (1, 9, 42), None),
    "reshape by option": ("RESHAPE", ["x"], (1, 63, 6), ("ReshapeOptions", {"newShape": [1, 63, 6]})),
    "squeeze": ("SQUEEZE", ["x"], (7, 9, 6), ("SqueezeOptions", {"squeezeDims": [0]})),
    "expand dims": ("EXPAND_DIMS", ["x", ints(2)], (1, 7, 1, 9, 6), ("ExpandDimsOptions", {})),
    "transpose": ("TRANSPOSE", ["x", ints(0, 3, 1, 2)], (1, 6, 7, 9), ("TransposeOptions", {})),
    "concatenation": (
        "CONCATENATION", ["x", floats(1, 7, 9, 2)], (1, 7, 9, 8), ("ConcatenationOptions", {"axis": -1}),
    ),
    "pack": ("PACK", ["x", "x"], (1, 7, 2, 9, 6), ("PackOptions", {"valuesCount": 2, "axis": 2})),
    "slice": ("SLICE", ["x", ints(0, 1, 2, 0), ints(1, 3, -1, 6)], (1, 3, 7, 6), ("SliceOptions", {})),
    "strided slice": (
        "STRIDED_SLICE", ["x", ints(0, 1, 8, 0), ints(0, -1, 0, 4), ints(1, 2, -3, 1)], (1, 3, 3, 4),
        ("StridedSliceOptions", {"beginMask": 9, "endMask": 1}),
    ),
    "strided slice, an axis dropped": (
        "STRIDED_SLICE", ["x", ints(0, -2, 0, 0), ints(1, -1, 9, 6), ints(1, 1, 1, 1)], (1, 9, 6),
        ("StridedSliceOptions", {"shrinkAxisMask": 2}),
    ),
    "gather": ("GATHER", ["x", ints(3, 0, 0)], (1, 7, 9, 3), ("GatherOptions", {"axis": 3})),
    "pad": ("PAD", ["x", ints([0, 0], [1, 2], [0, 3], [0, 0])], (1, 10, 12, 6), ("PadOptions", {})),
    "pad by a number": (
        "PADV2", ["x", ints([0, 0], [1, 2], [0, 3], [0, 0]), np.array([-2.0], np.float32)], (1, 10, 12, 6),
        ("PadV2Options", {}),
    ),
    "mirror pad": (
        "MIRROR_PAD", ["x", ints([0, 0], [1, 2], [0, 3], [0, 0])], (1, 10, 12, 6), ("MirrorPadOptions", {"mode": 0}),
    ),
    "mean": ("MEAN", ["x", ints(1, 2)], (1, 6), ("ReducerOptions", {"keepDims": False})),
    "mean, axes kept": ("MEAN", ["x", ints(1, 2)], (1, 1, 1, 6), ("ReducerOptions", {"keepDims": True})),
    "sum": ("SUM", ["x", ints(-1)], (1, 7, 9), ("ReducerOptions", {"keepDims": False})),
    "reduce max": ("REDUCE_MAX", ["x", ints(2)], (1, 7, 6), ("ReducerOptions", {"keepDims": False})),
    "resize, bilinear": (
        "RESIZE_BILINEAR", ["x", ints(10, 18)], (1, 10, 18, 6),
        ("ResizeBilinearOptions", {"alignCorners": False, "halfPixelCenters": True}),
    ),
    "resize, corners": (
        "RESIZE_BILINEAR", ["x", ints(10, 18)], (1, 10, 18, 6),
        ("ResizeBilinearOptions", {"alignCorners": True, "halfPixelCenters": False}),
    ),
    "resize, old": ("RESIZE_BILINEAR", ["x", ints(14, 18)], (1, 14, 18, 6), ("ResizeBilinearOptions", {})),
    "resize, nearest": (
        "RESIZE_NEAREST_NEIGHBOR", ["x", ints(14, 18)], (1, 14, 18, 6), ("ResizeNearestNeighborOptions", {}),
    ),
    "resize, nearest, half pixels": (
        "RESIZE_NEAREST_NEIGHBOR", ["x", ints(10, 13)], (1, 10, 13, 6),
        ("ResizeNearestNeighborOptions", {"halfPixelCenters": True}),
    ),
    "tile": ("TILE", ["x", ints(1, 1, 2, 1)], (1, 7, 18, 6), ("TileOptions", {})),
    "broadcast": ("BROADCAST_TO", [floats(1, 1, 6), ints(1, 7, 9, 6)], X, ("BroadcastToOptions", {})),
    "depth to space": ("DEPTH_TO_SPACE", [floats(1, 4, 4, 8)], (1, 8, 8, 2), ("DepthToSpaceOptions", {"blockSize": 2})),
    "space to depth": (
        "SPACE_TO_DEPTH", [floats(1, 4, 4, 3)], (1, 2, 2, 12), ("SpaceToDepthOptions", {"blockSize": 2}),
    ),
    "sum of several": ("ADD_N", ["x", floats(*X), "x"], X, None),
    "floor of a quotient": ("FLOOR_DIV", ["x", np.abs(floats(6)) + 0.1], X, ("FloorDivOptions", {})),
    "reduce min": ("REDUCE_MIN", ["x", ints(1, 2)], (1, 6), ("ReducerOptions", {"keepDims": False})),
    "reduce product": ("REDUCE_PROD", ["x", ints(2)], (1, 7, 6), ("ReducerOptions", {"keepDims": False})),
    "fill": ("FILL", [ints(1, 7, 9, 6), np.array(3.0, np.float32)], X, ("FillOptions", {})),
    "range": (
        "RANGE", [np.array(each, np.float32) for each in (0, 6, 1)], (6,), ("RangeOptions", {}),
    ),
    "batch matmul": (
        "BATCH_MATMUL", ["x", floats(1, 7, 6, 4)], (1, 7, 9, 4), ("BatchMatMulOptions", {"adjX": False, "adjY": False}),
    ),
    "batch matmul, transposed": (
        "BATCH_MATMUL", ["x", floats(1, 7, 4, 6)], (1, 7, 9, 4), ("BatchMatMulOptions", {"adjX": False, "adjY": True}),
    ),
    "power": ("POW", ["x", np.full((6,), 2.0, np.float32)], X, ("PowOptions", {})),
}  # fmt: skip
POINTWISE = [
    *("ABS", "CEIL", "COS", "ELU", "EXP", "FLOOR", "HARD_SWISH", "LOGISTIC", "NEG", "RELU", "RELU6", "RELU_N1_TO_1"),
    *("RELU_0_TO_1", "ROUND", "SIGN", "SIN", "SQUARE", "TANH", "ZEROS_LIKE"),
]  # fmt: skip
COMPARISONS = ["EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"]


def written(case: Case, path: Path) -> Path:
    kind, operands, result, options = case
    to = FileWriter(X)
    (made,) = to.add(kind, [to.image if isinstance(each, str) else each for each in operands], [result], options)
    if not any(isinstance(each, str) for each in operands):  # the image must matter
        (total,) = to.add("MEAN", [to.image, ints(1, 2, 3)], [(1,)], ("ReducerOptions", {"keepDims": False}))
        (made,) = to.add("ADD", [made, total], [result], ("AddOptions", {}))
    return to.save(path, made)


@pytest.mark.parametrize("name", CASES)
def test_an_operator_computes_what_litert_computes(name: str, tmp_path: Path) -> None:
    theirs, ours = both(written(CASES[name], tmp_path / "x.tflite"), floats(*X))
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", POINTWISE)
def test_an_operator_on_numbers_one_by_one(kind: str, tmp_path: Path) -> None:
    theirs, ours = both(written((kind, ["x"], X, None), tmp_path / "x.tflite"), floats(*X))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("kind", ["SQRT", "RSQRT", "LOG"])
def test_an_operator_on_positive_numbers(kind: str, tmp_path: Path) -> None:
    theirs, ours = both(written((kind, ["x"], X, None), tmp_path / "x.tflite"), np.abs(floats(*X)) + 0.1)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_operators_with_several_results(tmp_path: Path) -> None:
    to = FileWriter(X)
    first, second = to.add("SPLIT", [ints(3), to.image], [(1, 7, 9, 3)] * 2, ("SplitOptions", {"numSplits": 2}))
    one, two = to.add(
        "SPLIT_V", [second, ints(1, 2), ints(3)], [(1, 7, 9, 1), (1, 7, 9, 2)], ("SplitVOptions", {"numSplits": 2})
    )
    three = to.add("UNPACK", [first], [(1, 7, 9)] * 3, ("UnpackOptions", {"num": 3, "axis": 3}))
    packed = to.add("PACK", [three[2], three[0]], [(1, 7, 9, 2)], ("PackOptions", {"valuesCount": 2, "axis": 3}))
    joined = to.add("CONCATENATION", [two, one, *packed], [(1, 7, 9, 5)], ("ConcatenationOptions", {"axis": 3}))
    theirs, ours = both(to.save(tmp_path / "x.tflite", *joined), floats(*X))
    np.testing.assert_array_equal(ours, theirs)


def test_weights_in_half_precision(tmp_path: Path) -> None:
    to = FileWriter(X)
    (weight,) = to.add("DEQUANTIZE", [floats(5, 3, 3, 6).astype(np.float16)], [(5, 3, 3, 6)], ("DequantizeOptions", {}))
    made = to.add("CONV_2D", [to.image, weight, floats(5)], [(1, 7, 9, 5)], ("Conv2DOptions", _conv(0)))
    theirs, ours = both(to.save(tmp_path / "x.tflite", *made), floats(*X))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_pictures_as_bytes(tmp_path: Path) -> None:
    to = FileWriter(X, "UINT8")
    (cast,) = to.add("CAST", [to.image], [X], ("CastOptions", {"inDataType": 3, "outDataType": 0}))
    made = to.add("MUL", [cast, np.array([1 / 255], np.float32)], [X], ("MulOptions", {}))
    image = rng.integers(0, 256, X).astype(np.uint8)
    theirs, ours = both(to.save(tmp_path / "x.tflite", *made), image)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_an_operator_that_the_file_explains(tmp_path: Path) -> None:
    """LiteRT's composites come with a second graph, of which the first operand may be a constant of the first."""
    to = FileWriter(X)
    empty = list(bytes(flexbuffers.Dumps({})))
    values = {"name": "x.scaled", "decompositionSubgraphIndex": 1, "compositeAttributes": empty}
    options = ("StableHLOCompositeOptions", values)
    scale = to.tensor((6,), "FLOAT32", floats(6))
    (made,) = to.add("STABLEHLO_COMPOSITE", [to.image, scale], [X], options)
    to.graph = to.new_graph()
    inner = to.graph
    inner.inputs = [to.tensor(X), to.tensor((6,))]
    (product,) = to.add("MUL", inner.inputs, [X], ("MulOptions", {}))
    inner.outputs = to.add("TANH", [product], [X])
    theirs, ours = both(to.save(tmp_path / "x.tflite", made), floats(*X))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def _two_inputs(to: FileWriter) -> list[int]:
    other = to.tensor(X)
    to.graph.inputs = [to.image, other]
    return to.add("ADD", [to.image, other], [X], ("AddOptions", {}))


def _quantized(to: FileWriter) -> list[int]:
    tensor = to.graph.tensors[to.image]
    tensor.quantization = to.schema.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = [0.1], [3]
    return to.add("DEQUANTIZE", [to.image], [X], ("DequantizeOptions", {}))


REFUSED: dict[str, tuple[Callable[[FileWriter], list[int]], str]] = {
    "custom": (lambda to: to.add("CUSTOM", [to.image], [X], custom="FlexErf"), "custom operators: FlexErf"),
    "unknown": (lambda to: to.add("WHERE", [to.image], [X]), "does not read: WHERE"),
    "two inputs": (_two_inputs, "2 inputs and 1 outputs"),
    "quantized": (_quantized, "already quantized"),
    "an option": (
        lambda to: to.add("MIRROR_PAD", [to.image, ints([0, 0])], [X], ("MirrorPadOptions", {"mode": 1})),
        "MIRROR_PAD, operator 0 of the file",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    make, said = REFUSED[name]
    to = FileWriter(X, "INT8" if name == "quantized" else "FLOAT32")
    path = to.save(tmp_path / "x.tflite", *make(to))
    with pytest.raises(BadInput, match=said):
        read_float(path, "x.tflite")


@pytest.mark.parametrize("kept", [0, 7, 100, 0.5, 0.99])
def test_a_file_that_is_cut_short(kept: float, tmp_path: Path) -> None:
    path = written(CASES["conv, SAME"], tmp_path / "x.tflite")
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(BadInput, match=r"x\.tflite"):
        read_float(path, "x.tflite")


@pytest.mark.parametrize("kind", COMPARISONS)
@pytest.mark.parametrize("select", ["SELECT", "SELECT_V2"])
def test_comparisons_choose(kind: str, select: str, tmp_path: Path) -> None:
    to = FileWriter(X)
    image = floats(*X).round()
    zeros = np.zeros(X, np.float32)
    (found,) = to.add(kind, [to.image, zeros], [X], result_kind="BOOL")
    made = to.add(select, [found, to.image, floats(*X)], [X])
    theirs, ours = both(to.save(tmp_path / "x.tflite", *made), image)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("kind", ["LOGICAL_AND", "LOGICAL_OR", "LOGICAL_NOT"])
def test_logic(kind: str, tmp_path: Path) -> None:
    to = FileWriter(X)
    (one,) = to.add("GREATER", [to.image, np.array([0.3], np.float32)], [X], result_kind="BOOL")
    (two,) = to.add("LESS", [to.image, np.array([0.6], np.float32)], [X], result_kind="BOOL")
    (found,) = to.add(kind, [one] if kind == "LOGICAL_NOT" else [one, two], [X], result_kind="BOOL")
    made = to.add("SELECT_V2", [found, to.image, np.array([-7], np.float32)], [X])
    theirs, ours = both(to.save(tmp_path / "x.tflite", *made), floats(*X))
    np.testing.assert_array_equal(ours, theirs)


def test_a_shape_that_is_computed(tmp_path: Path) -> None:
    """As the converter writes a Flatten of a model whose batch it leaves free."""
    to = FileWriter(X)
    (shape,) = to.add("SHAPE", [to.image], [(4,)], ("ShapeOptions", {"outType": 2}), result_kind="INT32")
    cut = ("StridedSliceOptions", {"shrinkAxisMask": 1})
    (batch,) = to.add("STRIDED_SLICE", [shape, ints(0), ints(1), ints(1)], [()], cut, result_kind="INT32")
    packed = ("PackOptions", {"valuesCount": 2, "axis": 0})
    (target,) = to.add("PACK", [batch, np.array(378, np.int32)], [(2,)], packed, result_kind="INT32")
    made = to.add("RESHAPE", [to.image, target], [(1, 378)])
    theirs, ours = both(to.save(tmp_path / "x.tflite", *made), floats(*X))
    np.testing.assert_array_equal(ours, theirs)


def test_every_operator_that_is_read_is_tried() -> None:
    tried = {case[0] for case in CASES.values()} | {*POINTWISE, *COMPARISONS, "SQRT", "RSQRT", "LOG"}
    tried |= {"SPLIT", "SPLIT_V", "UNPACK", "SELECT", "SELECT_V2", "LOGICAL_AND", "LOGICAL_OR", "LOGICAL_NOT"}
    tried |= {"SHAPE", "DEQUANTIZE", "CAST", "STABLEHLO_COMPOSITE"}
    assert tried == to_onnx._READ


def test_same_padding_is_tensorflows() -> None:
    assert same_padding(7, 3, 2) == (1, 1)
    assert same_padding(8, 3, 2) == (0, 1)
    assert same_padding(8, 2, 3) == (0, 0)
    assert same_padding(9, 3, 1, 2) == (2, 2)
