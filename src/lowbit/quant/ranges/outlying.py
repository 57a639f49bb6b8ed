"""Finds calibration images that a network answers with numbers far beyond those of all others.

In a network with channels that are all but dead, one image in a hundred may reach a thousand times what the others do.
At 8 bits its range leaves the others no codes, and in least squares it outweighs them all; such images are better left
out of calibration, and cut off where they come up later.
"""

from collections.abc import Mapping

import torch

_RAREST = 0.02  # share of the images that may be called rare in one tensor
_BEYOND = 4.0  # times what all others keep to; ordinary networks reach 1.7


def outlying_images(magnitudes: Mapping[str, torch.Tensor]) -> tuple[tuple[int, ...], float]:
    """The numbers of images that lie far beyond the others in a tensor, and how many times as far as those, at most.

    magnitudes: tensor → the largest magnitude of each image, float32 [images]. None is outlying of fewer than 50.
    """
    found: set[int] = set()
    times = 1.0
    for largest in magnitudes.values():
        rare = int(_RAREST * len(largest))
        usual = float(largest.kthvalue(len(largest) - rare).values)
        beyond = largest > _BEYOND * usual
        if rare and usual > 0 and beyond.any():
            found.update(beyond.nonzero().flatten().tolist())
            times = max(times, float(largest.max()) / usual)
    return tuple(sorted(found)), times
