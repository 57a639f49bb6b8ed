"""How far a running build is, told by the child in a file that its parent reads."""

from collections.abc import Callable
from dataclasses import dataclass

LayerListener = Callable[[int, int, str], None]  # layers done, layers in all, the next one's name (empty: all are done)


@dataclass(frozen=True, slots=True)
class LayerProgress:
    """`done` of `total` layers are finished; `layer` is at work, or empty where the file is being written."""

    done: int
    total: int
    layer: str
