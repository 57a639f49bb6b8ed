"""Adapts a user's graph to the form that all later steps expect: float32 images [N, C, H, W] of one size.

The scores are [N, K]. A sentence describes each change, because every file that is made from the graph differs from the
user's own in the same way.
"""

from dataclasses import dataclass
from typing import Literal

import onnx
import onnx_ir as ir

from lowbit.core.errors import BadInput
from lowbit.graph.passes.border import add_channel, channels_first, flat_scores
from lowbit.graph.passes.float32 import to_float32
from lowbit.graph.passes.free_batch import forget_shapes
from lowbit.graph.values import described, dims, image_input

Layout = Literal["NCHW", "NHWC", "NHW"]

_CHANNELS = (1, 3, 4)


@dataclass(frozen=True, slots=True)
class Adapted:
    """A user's graph after adaptation.

    - model: the adapted graph
    - layout: how the user's own graph takes images
    - float_types: types of float besides float32 that the user's graph had
    - notes: a sentence for the user about each change
    """

    model: onnx.ModelProto
    layout: Layout
    float_types: tuple[str, ...]
    notes: tuple[str, ...]


def adapt(
    model: onnx.ModelProto,
    where: str,
    sample_shape: tuple[int, int, int],
    size: tuple[int, int] | None = None,
    *,
    own_batch: bool = True,
) -> Adapted:
    """`model`, which has passed `check_graph`, for images of `sample_shape` (C, H, W); it is not changed itself.

    size: height and width for a graph that leaves them free; None where nobody has said them. own_batch: whether a
    batch size that is fixed is the user's own, and a note due, rather than of a conversion on the way. BadInput, naming
    `where`, for a graph that leaves them free all the same, that has no batch axis, or whose output is no row of
    scores an image.
    """
    adapted = onnx.ModelProto()
    adapted.CopyFrom(model)
    float_types = tuple(to_float32(adapted))
    notes = [_types_note(float_types)] if float_types else []
    layout = _layout(image_input(adapted), where, sample_shape)
    if _fix_size(image_input(adapted), where, layout, sample_shape, size):
        forget_shapes(adapted.graph)
        adapted = _inferred(adapted, where)
        fixed = " × ".join(map(str, size or ()))
        notes.append(f"the model leaves height and width free: fixed at {fixed}")
    batch = (dims(image_input(adapted)) or [None])[0]
    if own_batch and isinstance(batch, int) and batch > 1:
        notes.append(f"the model takes {batch} images at a time: made free")
    shape = dims(adapted.graph.output[0])
    flat = shape is None or len(shape) == 2
    if not flat:
        notes.append(_scores_note(adapted.graph.output[0], where))
    if layout == "NHWC":
        notes.append(
            "the model takes images as [N, H, W, C]: the float graph and all files made from it take [N, C, H, W]"
        )
    if layout == "NHW":
        notes.append(
            "the model takes grey images as [N, H, W]: the float graph and all files made from it take [N, 1, H, W]"
        )
    if layout != "NCHW" or not flat:
        graph = ir.from_proto(adapted)
        if layout == "NHWC":
            channels_first(graph)
        if layout == "NHW":
            add_channel(graph)
        if not flat:
            flat_scores(graph)
        adapted = _inferred(ir.to_proto(graph), where)
    return Adapted(adapted, layout, float_types, tuple(notes))


def _layout(value: onnx.ValueInfoProto, where: str, sample_shape: tuple[int, int, int]) -> Layout:
    """By what fits the images; where nothing does, by where a number of channels stands."""
    shape = dims(value) or []
    channels, height, width = sample_shape
    if len(shape) == 3:
        if shape[0] in _CHANNELS[1:] or (channels > 1 and tuple(shape) == sample_shape):
            raise BadInput(
                f"{where}: input {described(value)} has no batch axis, expected [N, C, H, W]; "
                "export it with a batch of images"
            )
        return "NHW"
    if _fits(shape, (channels, height, width)):
        return "NCHW"
    if _fits(shape, (height, width, channels)):
        return "NHWC"
    return "NHWC" if shape[3] in _CHANNELS and shape[1] not in _CHANNELS else "NCHW"


def _fits(shape: list[int | str | None], sides: tuple[int, int, int]) -> bool:
    return all(not isinstance(found, int) or found == side for found, side in zip(shape[1:], sides, strict=True))


def _fix_size(
    value: onnx.ValueInfoProto,
    where: str,
    layout: Layout,
    sample_shape: tuple[int, int, int],
    size: tuple[int, int] | None,
) -> bool:
    """Write the missing sides into the input's shape; whether height or width was missing."""
    channels, (height, width) = sample_shape[0], size or sample_shape[1:]
    sides = {"NCHW": (channels, height, width), "NHWC": (height, width, channels), "NHW": (height, width)}[layout]
    axes = value.type.tensor_type.shape.dim
    missing = [axis for axis in range(1, len(axes)) if axes[axis].dim_value <= 0]
    spatial = set(missing) - {{"NCHW": 1, "NHWC": 3, "NHW": 0}[layout]}
    if spatial and size is None:
        raise BadInput(
            f"{where}: input {described(value)} leaves height and width free, and --preprocess does not fix them; "
            f"give --input-size {height}x{width}, which the data's images have, or crop=… in --preprocess"
        )
    for axis in missing:
        axes[axis].dim_value = sides[axis - 1]
    return bool(spatial)


def _types_note(float_types: tuple[str, ...]) -> str:
    names = " and ".join(float_types)
    rounded = ", rounded" if "float64" in float_types else ""
    return f"the model computes in {names}: the float graph has the same weights in float32{rounded}"


def _scores_note(value: onnx.ValueInfoProto, where: str) -> str:
    shape = dims(value) or []
    if len(shape) < 2 or sum(side != 1 for side in shape[1:]) > 1:
        raise BadInput(
            f"{where}: output {described(value)}, expected class scores [N, classes]; "
            "end the model with a Flatten, or export a classifier"
        )
    return f"the model gives scores as [N, {', '.join(map(str, shape[1:]))}]: the float graph gives [N, classes]"


def _inferred(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise BadInput(f"{where}: its shapes do not fit together: {error}; export it again") from error
