"""Preprocessing as data: what happens to a picture before the model sees it."""

from dataclasses import dataclass
from typing import Literal

Channels = Literal["rgb", "bgr", "grey"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "linear", "area"]
Resize = int | tuple[int, int] | None
Crop = int | tuple[int | None, int | None] | None


@dataclass(frozen=True, slots=True)
class Preprocess:
    """A picture becomes `(pixels * scale - mean) / std`, float32 [C, H, W], after resizing and cropping.

    resize: the shorter side in pixels (the longer one follows, rounded down); (height, width), to which both sides are
    stretched; or None.
    crop: the side of the centred square; (height, width) of the centred rectangle, of which one may be None, a side
    that stays whole; or None.
    letterbox: None, or what fills the rest of (height, width) once the picture was resized to fit inside without being
    stretched, 0 to 255: one value a channel, or one for all.
    scale multiplies the 0..255 values (1/255 gives 0..1); mean and std: one value a channel, or one for all, in units
    after scaling. channels: the order the model expects; it is that of letterbox, mean and std too.
    interpolation: nearest, bilinear and bicubic are Pillow's filters, which average over what a smaller picture leaves
    out; linear takes the four nearest pixels however much smaller the picture becomes (OpenCV's INTER_LINEAR,
    tf.image.resize); area is the mean over each new pixel's area (INTER_AREA).
    """

    name: str
    resize: Resize = None
    crop: Crop = None
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: Channels = "rgb"
    interpolation: Interpolation = "bilinear"
    layout: Literal["NCHW"] = "NCHW"
    letterbox: tuple[int, ...] | None = None
