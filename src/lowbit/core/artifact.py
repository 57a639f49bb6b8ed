"""An artifact: the file(s) a toolchain made, and the manifest that travels with them."""

from dataclasses import dataclass, field
from pathlib import Path

from lowbit.core.preprocess import Preprocess
from lowbit.core.recipe import Recipe
from lowbit.core.verified import NotVerified, Verified

MANIFEST = "manifest.json"  # in the artifact's folder
PLAN = "plan.json"  # beside it, where our own engine made the file


@dataclass(frozen=True, slots=True)
class Manifest:
    """What stands beside the file: how it was made and for whom. `key` is the digest of all that could change it.

    `files` and `size_bytes` are what is shipped; `versions` of every package that the recipe needs. verifiable: whether
    the file can be held against the integer reference; verified and not_verified: what came of it, a runtime each.
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
    verifiable: bool = False
    verified: tuple[Verified, ...] = ()
    not_verified: tuple[NotVerified, ...] = ()


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
