"""What the `inspect` job reads from a file."""

from dataclasses import dataclass

from lowbit.core.adapter import OpPrecision
from lowbit.core.stored import StoredGraph


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the `inspect` job reads from a file.

    - metadata: the file's own metadata entries, key → text
    - weight_bytes: layer → bytes of its stored weights, for files whose layers our engine named
    - operators: the executed operators; one with weights carries the name of its layer
    - stored: what the file stores; None for a format that only its vendor reads
    """

    metadata: dict[str, str]
    weight_bytes: dict[str, int]
    operators: tuple[OpPrecision, ...]
    stored: StoredGraph | None = None
