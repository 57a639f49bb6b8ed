"""Resizing and cropping: a picture's sides become those that the model expects."""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from lowbit.core.errors import BadInput
from lowbit.core.preprocess import Preprocess

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}

Size = tuple[int, int]  # (width, height), as Pillow counts; (height, width) only where a user says so


def resize_and_crop(image: Image.Image, preprocess: Preprocess) -> Image.Image:
    """The picture at the size that `preprocess` declares. Raises BadInput when the crop is larger than the picture."""
    if isinstance(preprocess.resize, tuple):
        height, width = preprocess.resize
        if preprocess.letterbox is None:
            image = _resize(image, (width, height), preprocess.interpolation)
        else:
            fitted = _resize(image, fitting(image.size, (width, height)), preprocess.interpolation)
            image = _on_ground(fitted, (width, height), _ground(preprocess))
    elif preprocess.resize is not None:
        image = _resize(image, resized(image.size, preprocess.resize), preprocess.interpolation)
    if preprocess.crop is not None:
        sides = preprocess.crop if isinstance(preprocess.crop, tuple) else (preprocess.crop, preprocess.crop)
        image = _centre_crop(image, *sides, down=preprocess.crop_rounding == "down")
    return image


def resized(size: Size, shorter: int) -> Size:
    """(width, height) with the shorter side `shorter`, the longer one in proportion and rounded down.

    >>> resized((500, 375), 256)
    (341, 256)
    """
    width, height = size
    if width <= height:
        return shorter, shorter * height // width
    return shorter * width // height, shorter


def fitting(size: Size, box: Size) -> Size:
    """(width, height) of the largest picture in proportion to `size` that fits into `box`, sides rounded.

    >>> fitting((500, 375), (640, 640))
    (640, 480)
    """
    ratio = min(box[0] / size[0], box[1] / size[1])
    return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))


def _resize(image: Image.Image, size: Size, interpolation: str) -> Image.Image:
    if size == image.size:
        return image
    if interpolation in _FILTERS:
        return image.resize(size, _FILTERS[interpolation])
    pixels = np.asarray(image, np.float32)
    weights = _nearest_two if interpolation == "linear" else _shares
    down = np.tensordot(weights(image.height, size[1]), pixels, 1)  # [height, W, ...]
    across = np.tensordot(down, weights(image.width, size[0]), ((1,), (1,)))  # [height, ..., width]
    return Image.fromarray(np.rint(np.moveaxis(across, -1, 1)).clip(0, 255).astype(np.uint8))


def _nearest_two(old: int, new: int) -> npt.NDArray[np.float32]:
    """[new, old]: each new pixel's weights on the two old ones that its centre lies between."""
    centres = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    below = np.floor(centres).astype(np.int64)
    share = (centres - below).astype(np.float32)
    weights = np.zeros((new, old), np.float32)
    weights[np.arange(new), below] = 1 - share
    weights[np.arange(new), np.minimum(below + 1, old - 1)] += share
    return weights


def _shares(old: int, new: int) -> npt.NDArray[np.float32]:
    """[new, old]: the share of each new pixel's extent that each old one covers."""
    edges = np.arange(new + 1) * (old / new)
    pixels = np.arange(old)
    ends = np.minimum(edges[1:, np.newaxis], pixels + 1)
    begins = np.maximum(edges[:-1, np.newaxis], pixels)
    shares: npt.NDArray[np.float32] = (np.clip(ends - begins, 0, None) * (new / old)).astype(np.float32)
    return shares


def _ground(preprocess: Preprocess) -> tuple[int, ...]:
    """The colour that fills the rest, in the picture's order of channels, which is always RGB or grey."""
    fill = preprocess.letterbox or (0,)
    if preprocess.channels == "grey":
        return fill
    whole = fill * 3 if len(fill) == 1 else fill
    return whole[::-1] if preprocess.channels == "bgr" else whole


def _on_ground(image: Image.Image, size: Size, ground: tuple[int, ...]) -> Image.Image:
    """The picture centred on a larger one of a single colour; an odd pixel goes to the right and bottom."""
    if image.size == size:
        return image
    whole = Image.new(image.mode, size, ground if len(ground) > 1 else ground[0])
    whole.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return whole


def _centre_crop(image: Image.Image, height: int | None, width: int | None, *, down: bool) -> Image.Image:
    """The centred rectangle, None for a side that stays whole; half pixels are rounded down, or go to the even
    neighbour, as `round` does in torchvision's CenterCrop."""
    height = image.height if height is None else height
    width = image.width if width is None else width
    if image.size == (width, height):
        return image
    if width > image.width or height > image.height:
        raise BadInput(
            f"a crop of {width} x {height} does not fit into a picture of {image.width} x {image.height} (width x "
            f"height); set resize={max(width, height)} or more, or a smaller crop"
        )
    whole = math.floor if down else round
    left, top = whole((image.width - width) / 2), whole((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
