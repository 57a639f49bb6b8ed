"""A function of TensorFlow becomes the float graph: frozen, written by TensorFlow's own converter as .tflite, and read.

Of the ways from TensorFlow to ONNX this is the one that lost nothing on any network that was tried: BatchNormalization
is folded and paddings stand inside the convolutions before we see the graph.
"""

import os
import random
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lowbit.core.errors import BadInput
from lowbit.core.text import kind_and_said, said
from lowbit.sources._edge import Loaded, SourceRequest, free_size

if TYPE_CHECKING:
    import onnx

    from lowbit.sources._batches import Run

_NEEDS_OTHERS = (1, 2)  # the converter's codes for operators of TensorFlow, and for those of nobody
_CHANNELS = (1, 3, 4)
_FROZEN = 2  # images: with one, the converter leaves the batch's axis away where it likes, which then cannot be freed
_FLOATS = ("float32", "float16", "bfloat16", "float64")
_WHOLE = ("uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")  # integer types that hold 0 to 255


@dataclass(frozen=True, slots=True)
class Function:
    """A classifier as TensorFlow runs it.

    - call: one tensor of images, in the model's own layout and type → scores, one tensor however they are nested
    - shape: of its input, None for a side that is free; None as a whole where the model takes what it is given
    - dtype: TensorFlow's name for the input's type
    """

    call: Callable[[Any], Any]
    shape: tuple[int | None, ...] | None
    dtype: str = "float32"


def start(threads: int, seed: int) -> Any:
    """The package `tensorflow`, ready: see `prepare`. Keras, if it is imported next, runs on it."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import tensorflow as tf

    prepare(tf, threads, seed)
    return tf


def prepare(tf: Any, threads: int, seed: int) -> None:
    """Let TensorFlow use `threads` threads and no GPU; seed what it, NumPy and Python (for Keras) draw."""
    with suppress(RuntimeError):  # it runs already, and takes these once in a process
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.set_visible_devices([], "GPU")
    tf.random.set_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def load_function(
    function: Function,
    request: SourceRequest,
    *,
    name: str,
    source_digest: str,
    random_weights: bool = False,
    notes: tuple[str, ...] = (),
) -> Loaded:
    """Write the float graph of `function`; the source is the function itself.

    BadInput for a model that is no classifier of one image, that takes other numbers than preprocessing makes, or that
    TensorFlow cannot write with LiteRT's own operators.
    """
    from lowbit.graph.check import check_graph
    from lowbit.sources._exported import from_graph

    shape = _fixed_shape(function, request)
    if function.dtype in _WHOLE:
        _check_whole_pixels(function, request)
        notes = (*notes, f"the model takes {function.dtype} pixels: the float graph takes the same numbers as float32")
    return from_graph(
        check_graph(_converted(function, shape, request), request.spec),
        request,
        lambda _: (_run(function), notes),
        name=name,
        source_digest=source_digest,
        random_weights=random_weights,
        own_batch=function.shape is not None and function.shape[0] is not None,
    )


def _described(function: Function) -> str:
    """How a message calls the model's input: uint8 [?, 32, 32, 3]."""
    if function.shape is None:
        return f"{function.dtype} of any shape"
    return f"{function.dtype} [{', '.join('?' if side is None else str(side) for side in function.shape)}]"


def _fixed_shape(function: Function, request: SourceRequest) -> tuple[int, ...]:
    """The input's shape with every side a number: those that the model leaves free from the data."""
    channels, *sides = request.sample_shape
    if function.dtype not in (*_FLOATS, *_WHOLE):
        raise BadInput(
            f"{request.spec}: input {_described(function)}, expected float numbers or uint8 pixels; give an image "
            "classifier that takes decoded pictures"
        )
    if function.shape is None:
        return (_FROZEN, *sides, channels)
    if len(function.shape) not in (3, 4):
        raise BadInput(
            f"{request.spec}: input {_described(function)}, expected images [N, H, W, C], [N, C, H, W] or [N, H, W]; "
            "give an image classifier"
        )
    batch, *given = function.shape
    first = len(given) == 3 and given[0] in _CHANNELS and given[2] not in _CHANNELS
    size = free_size(request)
    height, width = size or (None, None)
    filling = (channels, height, width) if first else (height, width, channels)
    found = [own if own is not None else side for own, side in zip(given, filling, strict=False)]
    fixed = tuple(side for side in found if side is not None)
    if len(fixed) < len(found):
        seen = "x".join(str(side) for side in sides)
        raise BadInput(
            f"{request.spec}: input {_described(function)} leaves height and width free, and --preprocess does not fix "
            f"them; give --input-size {seen}, which the data's images have, or crop=… in --preprocess"
        )
    return (batch or _FROZEN, *fixed)


def _check_whole_pixels(function: Function, request: SourceRequest) -> None:
    preprocess = request.preprocess
    if preprocess.scale != 1 or any(preprocess.mean) or any(value != 1 for value in preprocess.std):
        raise BadInput(
            f"{request.spec}: takes pixels as {function.dtype}, 0 to 255, but preprocessing {preprocess.name!r} makes "
            "other numbers of them; give --preprocess raw, with its resize, crop and channels where they are needed"
        )


def _converted(function: Function, shape: tuple[int, ...], request: SourceRequest) -> "onnx.ModelProto":
    """The function for images of `shape` as an ONNX graph in the model's own layout."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from lowbit.formats.litert.to_onnx import read_float

    images = tf.TensorSpec(shape, function.dtype if function.dtype in _WHOLE else tf.float32)
    try:
        model = tf.function(lambda x: function.call(tf.cast(x, function.dtype))).get_concrete_function(images)
    except Exception as error:  # a model of the user's own may raise anything
        sides = " × ".join(str(side) for side in shape[1:])
        raise BadInput(
            f"{request.spec}: cannot take images of {sides}: {kind_and_said(error)}; "
            "set resize, crop and channels of --preprocess to what the model expects"
        ) from error
    _check_outputs(model.structured_outputs, request.spec)
    scores = tf.function(lambda x: tf.cast(tf.nest.flatten(model(x))[0], tf.float32)).get_concrete_function(images)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([convert_variables_to_constants_v2(scores)])
    try:
        content = converter.convert()
    except Exception as error:  # the converter's own errors have no base class that is public
        raise BadInput(
            f"{request.spec}: TensorFlow cannot write it with LiteRT's own operators: {_lacking(error)}; "
            "give a classifier of standard layers, or export it to ONNX yourself and give the .onnx file"
        ) from error
    request.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=request.out) as folder:
        path = Path(folder) / "float.tflite"
        path.write_bytes(content)
        return read_float(path, request.spec)


def _lacking(error: Exception) -> str:
    """The operators that LiteRT does not have, where the converter names them; its words otherwise."""
    found = {each.operator.name for each in getattr(error, "errors", ()) if each.error_code in _NEEDS_OTHERS}
    return f"it has none for {', '.join(sorted(found))}" if found else said(error)


def _check_outputs(outputs: Any, spec: str) -> None:
    """BadInput unless they are one tensor of floats, which may stand in a list or mapping."""
    import tensorflow as tf

    found = tf.nest.flatten(outputs)
    if len(found) != 1:
        names = ", ".join(map(str, outputs)) if isinstance(outputs, dict) else f"{len(found)} tensors"
        raise BadInput(
            f"{spec}: has {len(found)} outputs ({names}), expected one, the class scores [N, classes]; "
            "give a classifier that returns the scores only"
        )
    if not found[0].dtype.is_floating:
        raise BadInput(f"{spec}: gives {found[0].dtype.name} numbers, expected float scores [N, classes]; give those")


def _run(function: Function) -> "Run":
    """The model as it is: images in its own layout → its scores."""
    import tensorflow as tf

    def run(images: Any) -> Any:
        (scores,) = tf.nest.flatten(function.call(tf.cast(tf.constant(images), function.dtype)))
        return tf.cast(scores, tf.float32).numpy()

    return run
