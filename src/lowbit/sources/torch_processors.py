"""How transformers' image processors prepare pictures, said as preprocessing and proven on pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lowbit.core.adapter import Floats
from lowbit.core.errors import BadInput
from lowbit.core.preprocess import Interpolation, Preprocess, Resize
from lowbit.core.text import kind_and_said
from lowbit.data.declare import named
from lowbit.sources._hub import PREPROCESSOR
from lowbit.sources._pictures import check_same
from lowbit.sources.torch_export import quiet
from lowbit.sources.torch_operators import import_transformers

_FILTERS: dict[int, Interpolation] = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers


def own_preprocess(folder: Path, spec: str) -> Preprocess:
    """What the image processor in `folder` does, as preprocessing, held against the processor on odd pictures.

    The processor is transformers' Pillow one. BadInput where there is none, or where lowbit cannot say the same.
    """
    if not (folder / PREPROCESSOR).is_file():
        raise BadInput(
            f"--preprocess is missing: {spec} has no {PREPROCESSOR}, which would say how pictures must be prepared; "
            "give the preset it was trained with (imagenet, imagenet-tf, cifar10, unit, raw), or a YAML file"
        )
    transformers = import_transformers()
    try:
        with quiet():
            processor = transformers.AutoImageProcessor.from_pretrained(
                folder, backend="pil", local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # the file may hold anything
        raise BadInput(
            f"{spec}: transformers cannot read its {PREPROCESSOR}: {kind_and_said(error)}; give --preprocess"
        ) from error
    preprocess = _said_by(processor, spec)

    def theirs(picture: Image.Image) -> Floats:
        pixels: Floats = np.asarray(processor(picture, return_tensors="np")["pixel_values"][0], np.float32)
        return pixels

    check_same(theirs, preprocess, spec)
    return preprocess


def _said_by(processor: Any, spec: str) -> Preprocess:
    """The processor's settings as preprocessing; whether they are all that it does, pictures must show."""
    kind = type(processor).__name__.removesuffix("Pil")
    resample = int(processor.resample) if processor.do_resize and processor.resample is not None else 2
    if resample not in _FILTERS:
        raise BadInput(_cannot(spec, kind, f"it resizes with Pillow's filter {resample} (resample)"))
    resize, cropped = _RESIZES.get(kind, _resize)(processor) if processor.do_resize else (None, None)
    if processor.do_resize and resize is None:
        raise BadInput(_cannot(spec, kind, f"it resizes to {processor.size} (size)"))
    crop = (processor.crop_size.height, processor.crop_size.width) if processor.do_center_crop else cropped
    offset = 1.0 if getattr(processor, "rescale_offset", False) else 0.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    if processor.do_normalize:
        mean, std = _each(processor.image_mean), _each(processor.image_std)
    if getattr(processor, "include_top", False):  # EfficientNet: normalized once more, by the deviation alone
        std = tuple(again * std[place % len(std)] for place, again in enumerate(_each(processor.image_std)))
    return named(
        Preprocess(
            "",
            resize=resize,
            crop=crop[0] if crop is not None and crop[0] == crop[1] else crop,
            scale=float(processor.rescale_factor) if processor.do_rescale else 1.0,
            mean=tuple(value + offset for value in mean),
            std=std,
            channels="bgr" if getattr(processor, "do_flip_channel_order", False) else "rgb",
            interpolation=_FILTERS[resample],
            crop_rounding="even" if crop is None else "down",
        )
    )


Sides = tuple[Resize, tuple[int, int] | None]  # what a picture is resized to, and cropped to by the resizing itself


def _resize(processor: Any) -> Sides:
    size = processor.size
    if size.height and size.width:
        return (size.height, size.width), None
    return (size.shortest_edge if not size.longest_edge else None), None


def _convnext(processor: Any) -> Sides:
    side = processor.size.shortest_edge
    if not side:
        return None, None
    return (int(side / processor.crop_pct), (side, side)) if side < 384 else ((side, side), None)


def _poolformer(processor: Any) -> Sides:
    size, share = processor.size, processor.crop_pct
    if share is None:
        return _resize(processor)
    if size.shortest_edge or size.height == size.width:
        return int((size.shortest_edge or size.height) / share), None
    return (int(size.height / share), int(size.width / share)), None


def _levit(processor: Any) -> Sides:
    side = processor.size.shortest_edge
    return (int(256 / 224 * side), None) if side else _resize(processor)


_RESIZES: dict[str, Callable[[Any], Sides]] = {  # processors that resize in a way of their own
    "ConvNextImageProcessor": _convnext,
    "PoolFormerImageProcessor": _poolformer,
    "LevitImageProcessor": _levit,
}


def _each(values: Any) -> tuple[float, ...]:
    return tuple(map(float, values)) if isinstance(values, list | tuple) else (float(values),)


def _cannot(spec: str, kind: str, why: str) -> str:
    return (
        f"{spec}: lowbit cannot prepare pictures as its {kind} does: {why}; give --preprocess to say what is to be "
        "measured"
    )
