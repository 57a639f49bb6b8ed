"""Code that toolchains share: calibration images in batches, the right outputs, and the metadata inside a file."""

import json
from collections.abc import Iterator
from dataclasses import replace
from time import perf_counter

import numpy as np
import numpy.typing as npt

from lowbit.core.adapter import BuildRequest, Floats
from lowbit.core.codec import to_plain
from lowbit.core.errors import BadInput, LowbitError
from lowbit.core.preprocess import Preprocess
from lowbit.core.samples import Samples
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


def right_outputs(samples: Samples, classes: tuple[int, ...], outputs: int) -> npt.NDArray[np.int64]:
    """The output that is right, for each picture; of one output, whether it should lie above its threshold.

    classes: the output for each label; empty: a label is its output. Raises BadInput where labels are no outputs.
    """
    classes = classes or tuple(range(len(samples.class_names)))
    found = np.asarray(classes, np.int64)[samples.labels]
    if found.size and int(found.max()) >= max(2, outputs):
        raise BadInput(
            f"training needs labels that are outputs of the model: the data has {len(classes)} classes, the model "
            f"{outputs} outputs; say with --labels which output a class is"
        )
    return found


def metadata(preprocess: Preprocess) -> dict[str, str]:
    """Entries for a file's metadata, key → text: how a picture becomes the model's input."""
    return {"lowbit.preprocess": json.dumps(to_plain(preprocess), sort_keys=True)}
