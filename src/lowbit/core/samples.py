"""Samples: decoded pictures that every child process reads from the same memory-mapped file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

Part = Literal["calibration", "evaluation", "training"]


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Decoded pictures and their labels.

    - path: the folder that holds them
    - part: calibration, evaluation or training
    - digest: of the contents
    - class_names: `class_names[label]` is the name of a label
    - images: uint8 [N, H, W, C] after resizing and cropping, memory-mapped and read-only
    - labels: int64 [N]
    """

    path: Path
    part: Part
    digest: str
    class_names: tuple[str, ...]
    images: npt.NDArray[np.uint8] = field(repr=False)
    labels: npt.NDArray[np.int64] = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)
