"""The progress of a build: the child process writes it to a file, which its parent reads."""

from collections.abc import Callable
from dataclasses import dataclass

from lowbit.core.training import TrainingProgress

LayerListener = Callable[
    [int, int, str], None
]  # layers done, layers in all, name of the next layer (empty when all are done)


@dataclass(frozen=True, slots=True)
class LayerProgress:
    """`done` of `total` layers are finished. `layer` is the current one; empty while the file is being written."""

    done: int
    total: int
    layer: str


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """The latest of a build: its layers, or its training once that has begun."""

    layers: LayerProgress | None = None
    training: TrainingProgress | None = None
