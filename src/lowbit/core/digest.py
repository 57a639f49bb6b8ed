"""Digests: the names of contents. Two things with one digest may answer for each other, others never."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lowbit.core.codec import to_plain

_LENGTH = 16  # hexadecimal digits: 64 bits, ample for one study's files


def of_value(value: Any) -> str:
    """Digest of plain data or a dataclass, independent of the order of keys. Arrays count by type, shape and contents.

    Raises TypeError for anything whose contents this function does not know how to look at.
    """
    text = json.dumps(to_plain(value), sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def of_files(paths: Iterable[Path]) -> str:
    """Digest of the files' names and contents, in the given order; memory does not grow with their size."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.name.encode() + b"\0")
        with path.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()[:_LENGTH]


def _plain(value: object) -> object:
    """What JSON does not know: NumPy's numbers and arrays."""
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        contents = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return {"array": [value.dtype.str, list(value.shape), contents]}
    if isinstance(value, np.generic):
        return {"scalar": [value.dtype.str, value.tobytes().hex()]}
    raise TypeError(f"{type(value).__name__} {value!r} has no digest: plain data, dataclasses, paths and arrays have")
