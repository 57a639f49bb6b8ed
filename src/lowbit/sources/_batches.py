"""Images are given to a model as the model itself takes them: its layout, and as many at a time as it was made for."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from lowbit.core.adapter import Floats
from lowbit.graph.adapt import Layout
from lowbit.sources._edge import Predict

Run = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
"""A model as it is: float32 images in its own layout, as many as it takes → its scores."""


def in_its_own_form(run: Run, layout: Layout, batch: int | str | None) -> Predict:
    """`run` as a function of any number of images float32 [N, C, H, W] → scores float32 [N, K]."""

    def predict(images: Floats) -> Floats:
        if layout == "NHWC":
            images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        if layout == "NHW":
            images = images[:, 0]
        scores = [run(part)[:real] for part, real in parts(images, batch)]
        return np.concatenate(scores).reshape(len(images), -1).astype(np.float32, copy=False)

    return predict


def parts(images: npt.NDArray[Any], batch: int | str | None) -> Iterator[tuple[npt.NDArray[Any], int]]:
    """All images, or as many at a time as a fixed batch size asks for, with how many are no repetition of the last."""
    if not isinstance(batch, int):
        yield images, len(images)
        return
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        yield np.concatenate([part, part[-1:].repeat(batch - len(part), axis=0)]), len(part)
