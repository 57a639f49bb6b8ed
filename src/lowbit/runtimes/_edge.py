"""Code that runtimes share: converts between float NCHW images and the type and layout that a file expects."""

import numpy as np
import numpy.typing as npt

from lowbit.core.adapter import Floats

CONVERTED_OUTSIDE = (
    "the file reads or writes integers: pictures or scores are converted outside of the runtime, in no operator's time"
)


def quantize(x: Floats, scale: float, zero_point: int, dtype: npt.DTypeLike) -> npt.NDArray[np.integer]:
    """Integers nearest to x / scale + zero_point (ties to even), saturated to `dtype`; NaN becomes the zero point."""
    limits = np.iinfo(dtype)
    steps = np.nan_to_num(np.rint(x / np.float32(scale)) + zero_point, nan=zero_point)
    integers: npt.NDArray[np.integer] = np.clip(steps, limits.min, limits.max).astype(dtype)
    return integers


def dequantize(q: npt.NDArray[np.integer], scale: float, zero_point: int) -> Floats:
    """(q - zero_point) * scale as float32."""
    return (q.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


def is_channels_last(shape: tuple[int, ...], input_shape: tuple[int, int, int]) -> bool:
    """Whether a file's input [N, ?, ?, ?] is NHWC, given (C, H, W). Where both layouts fit, it counts as NCHW."""
    channels, height, width = input_shape
    return shape[1:] != input_shape and shape[1:] == (height, width, channels)
