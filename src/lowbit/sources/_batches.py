"""Images in the numbers that a model with a fixed batch takes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt


def parts(images: npt.NDArray[Any], batch: int | str | None) -> Iterator[tuple[npt.NDArray[Any], int]]:
    """All images, or as many at a time as a fixed batch size asks for, with how many are no repetition of the last."""
    if not isinstance(batch, int):
        yield images, len(images)
        return
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        yield np.concatenate([part, part[-1:].repeat(batch - len(part), axis=0)]), len(part)
