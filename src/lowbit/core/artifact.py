"""An artifact: the file(s) a toolchain made, and the manifest that travels with them."""

from dataclasses import dataclass, field
from pathlib import Path

from lowbit.core.preprocess import Preprocess
from lowbit.core.recipe import Recipe
from lowbit.core.verified import Verified


@dataclass(frozen=True, slots=True)
class Manifest:
    """What stands beside the file: how it was made and for whom. `key` is the digest of all that could change it.

    `files` and `size_bytes` are what is shipped. verified: the file against the integer reference, a runtime each.
    """

    key: str
    toolchain: str
    recipe: Recipe
    format: str
    main: str
    files: tuple[str, ...]
    made_for: tuple[str, ...]
    runtime_options: dict[str, str]
    preprocess: Preprocess
    model: str
    model_digest: str
    calibration_samples: int
    batch_size: int | None
    versions: dict[str, str]
    digest: str
    size_bytes: int
    import_s: float
    build_s: float
    calibration_s: float | None
    notes: tuple[str, ...] = ()
    verified: tuple[Verified, ...] = ()


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file on disk that a runtime may open. `batch_size` is fixed in the file, or None when it is free.

    input_shape: (C, H, W) of one sample as `Session.predict` gets it; outputs: number of scores a sample.
    """

    path: Path
    format: str
    digest: str
    input_shape: tuple[int, int, int]
    outputs: int
    batch_size: int | None = None
    runtime_options: dict[str, str] = field(default_factory=dict)
