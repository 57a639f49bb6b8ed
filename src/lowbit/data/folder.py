"""A folder of class folders: `cat/1.jpg`, `dog/2.png`; optionally below `train/` and `test/` (or `val/`).

Where no labels are needed, all pictures below it, or below its `train/` where it is laid out in parts.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lowbit.core.errors import BadInput
from lowbit.data.picture import UNLABELLED, Dataset, Picture

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_TRAINING = "train"
_EVALUATION = ("test", "val", "valid", "validation")


@dataclass(frozen=True, slots=True, eq=False)
class FolderPart:
    """Picture files below `root`, in order of class and name. Only their names are kept in memory."""

    root: Path
    names: tuple[str, ...] = field(repr=False)
    labels: npt.NDArray[np.int64] = field(repr=False)

    def files(self) -> Iterator[Path]:
        """Every picture."""
        return (self.root / name for name in self.names)

    def pictures(self, indices: Sequence[int]) -> Iterator[Picture]:
        """The pictures at `indices`."""
        for index in indices:
            path = self.root / self.names[index]
            yield Picture(str(path), path)


def open_folder(root: Path, *, labelled: bool = True) -> Dataset:
    """The pictures below `root`. Classes are the folders' names in alphabetical order, over both parts."""
    evaluation = _evaluation_part(root)
    if not labelled:
        part = "train" if _holds_pictures(root / "train") and (evaluation or _only_parts(root)) else ""
        return Dataset(root.name, (UNLABELLED,), test=_part(root, part, [""]), root=root)
    if evaluation is None:
        classes = _folders(root)
        if classes and set(classes) <= {_TRAINING, *_EVALUATION} and _only_parts(root):
            raise BadInput(_no_evaluation_part(root, classes))
        return Dataset(root.name, tuple(classes), test=_part(root, "", classes), root=root)
    trained = _folders(root / _TRAINING)
    classes = sorted({*trained, *_folders(root / evaluation)})
    return Dataset(
        root.name,
        tuple(classes),
        test=_part(root, evaluation, classes),
        train=_part(root, _TRAINING, classes) if trained else None,
        root=root,
    )


def _evaluation_part(root: Path) -> str | None:
    """The folder of `root` that is its evaluation part; None where `root` is not laid out in parts.

    A name alone makes no part: train and test may be classes, beside bus and car. A part holds class folders, and
    beside it lie only other parts, or a training part that shares a class with it.
    """
    for name in _EVALUATION:
        classes = set(_folders(root / name))
        if classes and (_only_parts(root) or classes & set(_folders(root / _TRAINING))):
            return name
    return None


def _only_parts(root: Path) -> bool:
    """Whether no picture lies outside the folders of `root` that are named like parts."""
    others = [name for name in _folders(root) if name not in (_TRAINING, *_EVALUATION)]
    return not _pictures_in(root) and not any(_holds_pictures(root / name) for name in others)


def _no_evaluation_part(root: Path, folders: Sequence[str]) -> str:
    """The message for folders that are named like parts and are not both parts with classes."""
    if folders == [_TRAINING] and _folders(root / _TRAINING):
        return f"{root}: has train/ but no test/ or val/; add one, or give {root / _TRAINING} itself as the data"
    names = " and ".join(f"{name}/" for name in folders)
    return (
        f"{root}: has {names}, named like parts of the data, but no test/ or val/ with class folders in it; expected "
        "test/CLASS/*.jpg and train/CLASS/*.jpg. If these are the classes themselves, rename one of them"
    )


def _folders(path: Path) -> list[str]:
    """Names of the folders in `path`, sorted; hidden ones are no classes."""
    if not path.is_dir():
        return []
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _pictures_in(path: Path) -> bool:
    """Whether a picture lies in `path` itself."""
    return any(_is_picture(entry.name) and entry.is_file() for entry in path.iterdir())


def _holds_pictures(path: Path) -> bool:
    """Whether a picture lies in `path` or below it."""
    return path.is_dir() and next(_pictures_below(path, path), None) is not None


def _part(root: Path, part: str, classes: Sequence[str]) -> FolderPart:
    names: list[str] = []
    counts = []
    for name in classes:
        home = root / part / name
        found = sorted(_pictures_below(home, root)) if home.is_dir() else []
        if home.is_dir() and not found:
            kind = "a class folder" if name else "a folder"
            raise BadInput(f"{home}: {kind} without pictures ({', '.join(sorted(SUFFIXES))}); fill or remove it")
        names += found
        counts.append(len(found))
    if not names:
        raise BadInput(
            f"{root}: no pictures in class folders; expected CLASS/*.jpg (or png, webp ...), "
            "or train/CLASS/*.jpg and test/CLASS/*.jpg, or train*.parquet and test*.parquet"
        )
    return FolderPart(root, tuple(names), np.repeat(np.arange(len(classes)), counts))


def _pictures_below(home: Path, root: Path) -> Iterator[str]:
    """Paths from `root` of the pictures in `home` and below it, through linked folders too."""
    return _walk(str(home), os.path.relpath(home, root), ())


def _walk(folder: str, relative: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """`above`: device and inode of the folders that lead here; a link back to one of them is not followed again."""
    status = os.stat(folder)  # noqa: PTH116 - a dataset may have a million pictures
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                below = entry.name if relative == "." else f"{relative}/{entry.name}"
                yield from _walk(entry.path, below, (*above, here))
            elif _is_picture(entry.name):
                yield f"{relative}/{entry.name}"


def _is_picture(name: str) -> bool:
    """Whether a file of this name is read as a picture."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")  # noqa: PTH122 - a million
