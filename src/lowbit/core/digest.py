"""Digests of contents. Results are reused for inputs with the same digest, and for no others."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lowbit.core.codec import to_plain

_LENGTH = 16  # hexadecimal digits: 64 bits, ample for one study's files


def of_value(value: Any) -> str:
    """Digest of plain data or a dataclass, independent of the order of keys.

    An array counts by its type, shape and contents. Raises TypeError for a value whose contents cannot be digested.
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
    """NumPy numbers and arrays in a form that JSON can hold."""
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        contents = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return {"array": [value.dtype.str, list(value.shape), contents]}
    if isinstance(value, np.generic):
        return {"scalar": [value.dtype.str, value.tobytes().hex()]}
    raise TypeError(f"{type(value).__name__} {value!r} has no digest: plain data, dataclasses, paths and arrays have")
