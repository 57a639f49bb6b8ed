"""What this child is at: told before every call into a vendor that may crash or hang, and read when it has died of it.

The log says it, and so does a file beside the result, from which the parent makes the row's reason.
"""

import logging
from pathlib import Path

_place: Path | None = None  # one child has one job


def place_of(result: Path) -> Path:
    """Where a child that is to write `result` says what it is at."""
    return result.with_suffix(".doing")


def begin(result: Path) -> None:
    """From now on `doing` writes beside `result`."""
    global _place
    _place = place_of(result)


def doing(what: str) -> None:
    """Say what comes next, as in "opening model.onnx in onnxruntime"."""
    logging.getLogger(__name__).info(what)
    if _place is not None:
        _place.write_text(what)


def end() -> None:
    """There is a result: nothing has to be explained."""
    if _place is not None:
        _place.unlink(missing_ok=True)
