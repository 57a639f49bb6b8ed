"""Measures how long imports take, separately from the work around them."""

import builtins
import time
from types import TracebackType
from typing import Any


class ImportTimer:
    """Adds up, in `seconds`, the wall time of the outermost import statements that run inside the `with` block.

    Vendors' packages import lazily in the middle of their work. A second call in the same process would save this time.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._inside = False
        self._import = builtins.__import__

    def __enter__(self) -> "ImportTimer":
        builtins.__import__ = self._timed
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        builtins.__import__ = self._import

    def _timed(self, *args: Any, **kwargs: Any) -> Any:
        if self._inside:
            return self._import(*args, **kwargs)
        self._inside, start = True, time.perf_counter()
        try:
            return self._import(*args, **kwargs)
        finally:
            self._inside = False
            self.seconds += time.perf_counter() - start
