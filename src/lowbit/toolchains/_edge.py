"""What toolchains share: reading calibration images in batches, and the metadata that travels inside a file."""

import json
from collections.abc import Iterator
from time import perf_counter

from lowbit.core.adapter import BuildRequest, Floats
from lowbit.core.codec import to_plain
from lowbit.core.errors import LowbitError
from lowbit.core.preprocess import Preprocess
from lowbit.data.cache import batches


class Calibration:
    """Calibration images float32 [<= size, C, H, W], read again at every iteration, one batch at a time.

    `seconds` is what the vendor's loops over them took so far, its own work included. A vendor reads them inside its
    own call: what goes wrong here is a LowbitError, so that nobody takes it for the vendor's refusal.
    """

    def __init__(self, request: BuildRequest, size: int) -> None:
        self._request = request
        self._size = size
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Floats]:
        start = perf_counter()
        try:
            yield from batches(self._request.calibration, self._request.preprocess, self._size)
        except (LowbitError, MemoryError, OSError):
            raise
        except Exception as error:
            raise LowbitError(f"calibration images cannot be read: {type(error).__name__}: {error}") from error
        finally:
            self.seconds += perf_counter() - start


def metadata(preprocess: Preprocess) -> dict[str, str]:
    """What a file says of itself, key → text: how a picture becomes the model's input."""
    return {"lowbit.preprocess": json.dumps(to_plain(preprocess), sort_keys=True)}
