"""An artifact: the files that a toolchain made, and the manifest that describes them."""

from dataclasses import dataclass, field
from pathlib import Path

from lowbit.core.preprocess import Preprocess
from lowbit.core.recipe import Recipe
from lowbit.core.training import Training
from lowbit.core.verified import NotVerified, Verified

MANIFEST = "manifest.json"  # in the artifact's folder
PLAN = "plan.json"  # beside it, where our own engine made the file


@dataclass(frozen=True, slots=True)
class Manifest:
    """Describes an artifact: how it was made, for which runtimes, and what verification found.

    - key: digest of everything that could change the artifact
    - toolchain, recipe: what made it
    - format: the artifact's file format
    - main: name of the main file
    - files: names of all files that are shipped
    - made_for: the runtimes that the file is meant for
    - runtime_options: options that a session needs, name → value
    - preprocess: how a picture becomes the model's input
    - model, model_digest: name and digest of the float model
    - calibration_samples: how many samples calibrated it; 0 where the recipe needs none
    - batch_size: the file's fixed batch size; None where it is free
    - versions: of lowbit and of every package that the recipe needs
    - digest, size_bytes: of the shipped files
    - import_s: seconds to import the toolchain's packages
    - build_s: seconds to make the file, without imports and calibration
    - calibration_s: seconds spent on calibration; None where the recipe needs none
    - notes: sentences for the user
    - verifiable: whether the file can be compared with the integer reference
    - verified, not_verified: the results of verification, one entry per runtime
    - dynamic: whether the file takes ranges over a whole call, so that scores depend on the number of images in it, and
      the recipe does not say so
    - probabilities: whether its scores are probabilities, where they need not be what the float model's are; None: they
      are the same
    - training: how our own engine's training went; None where it did not train
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
    dynamic: bool = False
    probabilities: bool | None = None
    training: Training | None = None


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file on disk that a runtime can open.

    - path: the main file
    - format: its file format
    - digest: of its contents
    - input_shape: (C, H, W) of one sample as `Session.predict` takes it
    - outputs: number of scores per sample
    - batch_size: the file's fixed batch size; None where it is free
    - runtime_options: options that a session needs, name → value
    """

    path: Path
    format: str
    digest: str
    input_shape: tuple[int, int, int]
    outputs: int
    batch_size: int | None = None
    runtime_options: dict[str, str] = field(default_factory=dict)
