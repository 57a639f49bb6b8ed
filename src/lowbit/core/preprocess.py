"""Preprocessing described as data: what happens to a picture before the model gets it."""

from dataclasses import dataclass
from typing import Literal

Channels = Literal["rgb", "bgr", "grey"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "linear", "area"]
CropRounding = Literal["even", "down"]
Resize = int | tuple[int, int] | None
Crop = int | tuple[int | None, int | None] | None


@dataclass(frozen=True, slots=True)
class Preprocess:
    """After resizing and cropping, a picture becomes `(pixels * scale - mean) / std`, float32 [C, H, W].

    - name: the preset's or file's name
    - resize: the shorter side in pixels (the longer one follows, rounded down); or (height, width), to which both sides
      are stretched; or None
    - crop: side in pixels of the centred square; or (height, width) of the centred rectangle, where a side that is None
      is not cropped; or None
    - scale: factor for the values 0 to 255 (1/255 gives 0 to 1)
    - mean, std: one value per channel, or one for all, in units after scaling
    - channels: the order of channels that the model expects; letterbox, mean and std use the same order
    - interpolation: nearest, bilinear and bicubic are Pillow's filters, which average over several pixels when
      shrinking; linear always takes the four nearest pixels (OpenCV's INTER_LINEAR, tf.image.resize); area is the mean
      over the area of each new pixel (OpenCV's INTER_AREA)
    - layout: of the model's input
    - letterbox: fill value, 0 to 255, one per channel or one for all: the picture is shrunk or enlarged to fit inside
      `resize` (height, width) without being stretched, and the rest is filled; None: no letterbox
    - crop_rounding: where the crop begins when half a pixel is left over: at the even neighbour (torchvision, timm), or
      rounded down (transformers)
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
    crop_rounding: CropRounding = "even"
