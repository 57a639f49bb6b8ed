"""Preprocessing as data: what happens to a picture before the model sees it."""

from dataclasses import dataclass
from typing import Literal

Channels = Literal["rgb", "bgr", "grey"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]


@dataclass(frozen=True, slots=True)
class Preprocess:
    """A picture becomes `(pixels * scale - mean) / std`, float32 [C, H, W], after resizing and cropping.

    resize: the shorter side in pixels (the longer one follows, rounded down), or None; crop: side of the centred
    square, or None; scale multiplies the 0..255 values (1/255 gives 0..1); mean and std: one value a channel, or one
    for all, in units after scaling; channels: the order the model expects.
    """

    name: str
    resize: int | None = None
    crop: int | None = None
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: Channels = "rgb"
    interpolation: Interpolation = "bilinear"
    layout: Literal["NCHW"] = "NCHW"
