"""Samples: decoded pictures that every child process reads from one memory-mapped file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

Part = Literal["calibration", "evaluation"]


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """uint8 `images` [N, H, W, C] after resize and crop (memory-mapped, read-only) and int64 `labels` [N].

    `class_names[label]` names a label. `digest` names the contents. `path` is the folder they lie in.
    """

    path: Path
    part: Part
    digest: str
    class_names: tuple[str, ...]
    images: npt.NDArray[np.uint8] = field(repr=False)
    labels: npt.NDArray[np.int64] = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)
