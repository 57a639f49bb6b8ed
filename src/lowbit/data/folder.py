"""A folder of class folders: `cat/1.jpg`, `dog/2.png`; optionally below `train/` and `test/` (or `val/`).

Where no labels are needed, all pictures below it, or below its `train/`.
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
_EVALUATION = ("test", "val", "validation")


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
    if not labelled:
        part = "train" if (root / "train").is_dir() else ""
        return Dataset(root.name, (UNLABELLED,), test=_part(root, part, [""]), root=root)
    evaluation = next((name for name in _EVALUATION if _folders(root / name)), None)
    if evaluation is None:
        classes = _folders(root)
        if classes == ["train"] and _folders(root / "train"):
            raise BadInput(
                f"{root}: has train/ but no test/ or val/; add one, or give {root / 'train'} itself as the data"
            )
        return Dataset(root.name, tuple(classes), test=_part(root, "", classes), root=root)
    trained = _folders(root / "train")
    classes = sorted({*trained, *_folders(root / evaluation)})
    return Dataset(
        root.name,
        tuple(classes),
        test=_part(root, evaluation, classes),
        train=_part(root, "train", classes) if trained else None,
        root=root,
    )


def _folders(path: Path) -> list[str]:
    """Names of the folders in `path`, sorted; hidden ones are no classes."""
    if not path.is_dir():
        return []
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


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
    for folder, folders, files in os.walk(home, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = os.path.relpath(folder, root)
        for file in files:
            if os.path.splitext(file)[1].lower() in SUFFIXES and not file.startswith("."):  # noqa: PTH122 - a million
                yield f"{relative}/{file}"


def _refuse(error: OSError) -> None:
    """`os.walk` would pass over a folder that it may not read, and a class would lose its pictures silently."""
    raise error
