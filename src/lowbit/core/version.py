"""Which lowbit made a result: the version, and a digest of the source that can change results."""

import hashlib
from functools import cache
from pathlib import Path

VERSION = "0.1.0"  # the only place that states it: packaging and `lowbit --version` read it from here

_ONLY_SHOWN = ("cli", "report")  # rooms that print and draw: no stored result depends on them
_LENGTH = 12  # hexadecimal digits


@cache
def exact_version() -> str:
    """The version and the source's digest, as in 0.2.0+src.0123456789ab.

    Results are kept under it, so that after an upgrade, or an edit, no result of another lowbit answers.
    """
    return f"{VERSION}+src.{digest_of_source(Path(__file__).parents[1])}"


def digest_of_source(root: Path) -> str:
    """Digest of every Python file of the package at `root` but those that only print and draw."""
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root)
        if place.parts[0] not in _ONLY_SHOWN:
            total.update(place.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()[:_LENGTH]
