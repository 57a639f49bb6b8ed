"""Whether two ways of preparing pictures are the same, found out by preparing some of odd sizes in both."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from lowbit.core.adapter import Floats
from lowbit.core.errors import BadInput
from lowbit.core.preprocess import Preprocess
from lowbit.data.preprocess import prepare, to_input

Prepare = Callable[[Image.Image], Floats]
"""A picture → the model's input, float32 [C, H, W]."""

_SIZES = ((97, 150), (301, 225), (231, 231), (640, 401))  # (width, height)
_CLOSE = 0.01  # of a step of the 256 that a pixel has: the same pixels, summed in another order


def check_same(theirs: Prepare, preprocess: Preprocess, where: str) -> None:
    """BadInput, naming `where` and the largest difference, unless `theirs` makes the same pixels as `preprocess`."""
    rng = np.random.default_rng(0)
    for width, height in _SIZES:
        picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        try:
            ours = to_input(prepare(picture, preprocess)[np.newaxis], preprocess)[0]
        except BadInput as error:
            raise BadInput(_message(where, preprocess, str(error))) from error
        expected = theirs(picture)
        if expected.shape != ours.shape:
            sides = " × ".join(map(str, expected.shape))
            raise BadInput(_message(where, preprocess, f"it makes {sides} of {width} × {height}"))
        steps = np.asarray(preprocess.std, np.float32).reshape(-1, 1, 1) / preprocess.scale
        difference = float((np.abs(ours - expected) * steps).max())
        if not difference <= _CLOSE:
            raise BadInput(
                _message(where, preprocess, f"it differs by up to {difference:.3g} of 255 on {width} × {height}")
            )


def _message(where: str, preprocess: Preprocess, why: str) -> str:
    return (
        f"{where}: prepares pictures in a way that lowbit cannot say exactly; the nearest is --preprocess "
        f"{preprocess.name}, from which {why}: give --preprocess to say what is to be measured"
    )
