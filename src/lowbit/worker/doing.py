"""Records what this child process is about to do, before every call into a vendor's package that may crash or hang.

The record goes to the log and to a file beside the result. When the child dies, the parent reads that file for the
reason in the row.
"""

import logging
from pathlib import Path

_place: Path | None = None  # a child process does a single job


def place_of(result: Path) -> Path:
    """The file in which the child that is to write `result` records what it is doing."""
    return result.with_suffix(".doing")


def begin(result: Path) -> None:
    """Let `doing` write to a file beside `result` from now on."""
    global _place
    _place = place_of(result)


def doing(what: str) -> None:
    """Record what comes next, such as "opening model.onnx in onnxruntime"."""
    logging.getLogger(__name__).info(what)
    if _place is not None:
        _place.write_text(what)


def end() -> None:
    """Remove the record once there is a result."""
    if _place is not None:
        _place.unlink(missing_ok=True)
