"""What data consist of: pictures that are decoded when needed, in parts, with labels."""

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from lowbit.core.errors import BadInput
from lowbit.core.preprocess import Preprocess
from lowbit.data.preprocess import prepare

# What Pillow's readers raise for broken files, all formats together (found by damaging files at random).
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error, Image.DecompressionBombError)

UNLABELLED = "unlabelled"
"""The only class of pictures without labels."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture that is not decoded yet.

    - name: identifies it for the user: a file, or a row of one
    - source: a file, a file's bytes, or pixels uint8 [H, W] or [H, W, C]
    """

    name: str
    source: Path | bytes | npt.NDArray[np.uint8] = field(repr=False)

    def pixels(self, preprocess: Preprocess) -> npt.NDArray[np.uint8]:
        """Decoded, resized and cropped: uint8 [H, W, C]. Raises BadInput with the picture's name."""
        try:
            with self._open() as image:
                return prepare(image, preprocess)
        except BadInput as error:
            raise BadInput(f"{self.name}: {error}") from error
        except _UNREADABLE as error:
            raise BadInput(
                f"{self.name}: not a picture that can be read ({error or type(error).__name__}); replace or remove it"
            ) from error

    def _open(self) -> Image.Image:
        if isinstance(self.source, np.ndarray):
            return Image.fromarray(self.source[..., 0] if self.source.shape[2:] == (1,) else self.source)
        if isinstance(self.source, bytes):
            return Image.open(BytesIO(self.source))
        return Image.open(self.source)


class DataPart(Protocol):
    """Pictures with labels (int64 [N], indices into the data's class names)."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """One label a picture."""
        ...

    def files(self) -> Iterator[Path]:
        """The files that the pictures lie in."""
        ...

    def pictures(self, indices: Sequence[int]) -> Iterator[Picture]:
        """The pictures at `indices` (ascending), one after the other; memory does not grow with their number."""
        ...


@dataclass(frozen=True, slots=True)
class Dataset:
    """Pictures, with labels unless none are needed.

    - name: the data's name
    - class_names: in the order of the labels
    - test: the pictures that accuracy is measured on
    - train: the training part; None where there is none
    - root: the folder that pictures' names are relative to
    - version: of the package that provides data without files
    """

    name: str
    class_names: tuple[str, ...]
    test: DataPart
    train: DataPart | None = None
    root: Path = Path()
    version: str = ""

    def fingerprint(self) -> str:
        """A digest of every file's name, size and times: cheap, and another one whenever a file was written to."""
        total = hashlib.sha256(f"{self.name}\0{self.version}\0".encode())
        for part in (self.train, self.test):
            for path in part.files() if part is not None else ():
                try:
                    status = path.stat()
                except OSError as error:
                    raise BadInput(f"{path}: cannot be looked at ({error.strerror}); restore or remove it") from error
                name = path.relative_to(self.root).as_posix()
                total.update(f"{name}\0{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\0".encode())
            total.update(b"\0")
        return total.hexdigest()[:16]
