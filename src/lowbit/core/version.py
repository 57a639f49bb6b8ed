"""Which lowbit made a result: its version, and a digest of the source files that can change results."""

import hashlib
from functools import cache
from pathlib import Path

VERSION = "0.1.0"  # the only place that states it: packaging and `lowbit --version` read it from here

_ONLY_SHOWN = ("cli", "report")  # packages that only print and draw: no stored result depends on them
_LENGTH = 12  # hexadecimal digits


@cache
def exact_version() -> str:
    """The version and the source's digest, such as 0.2.0+src.0123456789ab.

    Stored results carry it, so that results of another version, or of edited source, are not reused.
    """
    return f"{VERSION}+src.{digest_of_source(Path(__file__).parents[1])}"


def digest_of_source(root: Path) -> str:
    """Digest of every Python file of the package at `root`, except those that only print and draw."""
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root)
        if place.parts[0] not in _ONLY_SHOWN:
            total.update(place.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()[:_LENGTH]
