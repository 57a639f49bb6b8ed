"""The sample cache: pictures decoded and resized once, in parallel, and memory-mapped by everyone afterwards."""

import math
import mmap
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lowbit.core import digest
from lowbit.core.codec import load_json, save_json
from lowbit.core.errors import BadInput
from lowbit.core.files import folder_aside
from lowbit.core.preprocess import Preprocess
from lowbit.core.samples import Part, Samples
from lowbit.data.fill import Share, fill, fill_in_parallel
from lowbit.data.picture import DataPart, Dataset, Picture
from lowbit.data.preprocess import to_input
from lowbit.data.split import Indices, Split, split

_MOST_MAPPED = 2**24  # bytes of pictures that are read before their pages are let go
_PICTURES_A_PROCESS = 250  # fewer are decoded before another process has started


@dataclass(frozen=True, slots=True)
class Meta:
    """meta.json of one part: what the arrays beside it hold. `note`: what the user should know about the choice."""

    part: Part
    count: int
    digest: str
    class_names: tuple[str, ...]
    note: str = ""


def make_samples(
    dataset: Dataset,
    preprocess: Preprocess,
    *,
    calibration_samples: int,
    seed: int,
    limit: int | None,
    out: Path,
    workers: int,
    training_samples: int = 0,
) -> None:
    """Write `out/calibration` and `out/evaluation`, each images.npy, labels.npy and meta.json; whole or not at all.

    Where `training_samples` are wanted, `out/training` too.

    `workers` processes decode, each its share; memory does not grow with the number of pictures. Raises BadInput for a
    picture that cannot be read, pictures of different sizes, a split that leaves nothing, and a full disk.
    """
    chosen = split(
        dataset, calibration_samples=calibration_samples, seed=seed, limit=limit, training_samples=training_samples
    )
    model = next(_first(chosen))
    shape = model.pixels(preprocess).shape
    total = len(chosen.calibration) + len(chosen.evaluation) + len(chosen.training)
    workers = max(1, min(workers, 1 + total // _PICTURES_A_PROCESS))
    with folder_aside(out) as folder:
        shares_of: list[list[Share]] = [[] for _ in range(workers)]
        parts: list[tuple[Part, DataPart, Indices]] = [
            ("calibration", chosen.calibration_from, chosen.calibration),
            ("evaluation", chosen.evaluation_from, chosen.evaluation),
        ]
        if len(chosen.training):
            parts.append(("training", chosen.calibration_from, chosen.training))
        for part, source, indices in parts:
            images = folder / part / "images.npy"
            _allocate(images, (len(indices), *shape))
            np.save(folder / part / "labels.npy", source.labels[indices])
            rows = np.argsort(indices)  # read in the data's order, written in the split's
            for shares, some in zip(shares_of, np.array_split(rows, workers), strict=True):
                shares.append(Share(source, indices[some], some, preprocess, images, shape, model.name))
        if workers == 1:
            for share in shares_of[0]:
                fill(share)
        else:
            fill_in_parallel(shares_of)
        for part, _, _ in parts:
            _describe(folder, part, dataset.class_names, chosen.note if part == "calibration" else "")


def open_samples(folder: Path, part: Part) -> Samples:
    """The `part` of the cache that `make_samples` wrote into `folder`; images are mapped, not read."""
    home, meta = folder / part, _meta(folder, part)
    labels = np.load(home / "labels.npy")
    labels.setflags(write=False)
    return Samples(
        path=home,
        part=part,
        digest=meta.digest,
        class_names=meta.class_names,
        images=np.load(home / "images.npy", mmap_mode="r"),
        labels=labels,
    )


def has_training(folder: Path) -> bool:
    """Whether pictures were set aside for training."""
    return (folder / "training").is_dir()


def note_of(folder: Path) -> str:
    """What the user should know about how the calibration pictures in `folder` were chosen; may be empty."""
    return _meta(folder, "calibration").note


def batches(samples: Samples, preprocess: Preprocess, size: int) -> Iterator[npt.NDArray[np.float32]]:
    """All samples in order as float32 [size, C, H, W]; the last batch holds what is left.

    Memory does not grow with the number of pictures, though their file is mapped.
    """
    mapped = 0
    for start in range(0, len(samples), size):
        images = samples.images[start : start + size]
        yield to_input(images, preprocess)
        mapped += images.nbytes
        if mapped > _MOST_MAPPED:
            let_go(samples.images)
            mapped = 0


def let_go(images: npt.NDArray[np.uint8]) -> None:
    """Take the pages of a file that is mapped for reading out of this process's memory; the system may keep them."""
    mapping = getattr(images, "_mmap", None)  # NumPy has no public name for it
    if sys.platform == "linux" and mapping is not None and not images.flags.writeable:
        mapping.madvise(mmap.MADV_DONTNEED)


def _first(chosen: Split) -> Iterator[Picture]:
    """The picture whose shape all others must have."""
    if len(chosen.evaluation):
        return chosen.evaluation_from.pictures(chosen.evaluation[:1].tolist())
    return chosen.calibration_from.pictures(chosen.calibration[:1].tolist())


def _allocate(path: Path, shape: tuple[int, ...]) -> None:
    """An .npy file of zeros with its place on the disk taken, so that a full disk is an error now."""
    path.parent.mkdir()
    try:
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape).flush()
        if sys.platform == "linux":
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        size = math.prod(shape) / 1e6
        raise BadInput(
            f"{path.parent}: no room for {shape[0]} decoded pictures, {size:,.0f} MB ({error.strerror}); "
            "free some space, choose another folder with -o, or evaluate fewer with --limit"
        ) from error


def _meta(folder: Path, part: Part) -> Meta:
    path = folder / part / "meta.json"
    if not path.is_file():
        raise BadInput(f"{path.parent}: no samples here; a folder that lowbit's sample cache wrote was expected")
    return load_json(Meta, path)


def _describe(folder: Path, part: Part, class_names: tuple[str, ...], note: str = "") -> None:
    home = folder / part
    labels = np.load(home / "labels.npy")
    contents = digest.of_files([home / "images.npy", home / "labels.npy"])
    save_json(home / "meta.json", Meta(part, len(labels), digest.of_value([contents, class_names]), class_names, note))
