"""Code that toolchains share: reads calibration images in batches, and makes the metadata stored inside a file."""

import json
from collections.abc import Iterator
from dataclasses import replace
from time import perf_counter

from lowbit.core.adapter import BuildRequest, Floats
from lowbit.core.codec import to_plain
from lowbit.core.errors import LowbitError
from lowbit.core.preprocess import Preprocess
from lowbit.data.cache import batches


class Calibration:
    """Calibration images in batches, float32 [<= size, C, H, W], read again at every iteration.

    `count` is how many there are: all, or the first `most`.

    `seconds` is the time that the vendor's loops over them have taken so far, including the vendor's own work. A vendor
    reads the images inside its own call; an error while reading is raised as a LowbitError, so that it is not mistaken
    for the vendor's refusal.
    """

    def __init__(self, request: BuildRequest, size: int, most: int | None = None) -> None:
        every = request.calibration
        few = most is not None and most < len(every)
        self._samples = replace(every, images=every.images[:most], labels=every.labels[:most]) if few else every
        self.count = len(self._samples)
        self._preprocess = request.preprocess
        self._size = size
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Floats]:
        start = perf_counter()
        try:
            yield from batches(self._samples, self._preprocess, self._size)
        except (LowbitError, MemoryError, OSError):
            raise
        except Exception as error:
            raise LowbitError(f"calibration images cannot be read: {type(error).__name__}: {error}") from error
        finally:
            self.seconds += perf_counter() - start


def metadata(preprocess: Preprocess) -> dict[str, str]:
    """Entries for a file's metadata, key → text: how a picture becomes the model's input."""
    return {"lowbit.preprocess": json.dumps(to_plain(preprocess), sort_keys=True)}
