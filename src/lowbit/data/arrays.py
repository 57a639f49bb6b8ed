"""Data that are arrays already: `.npz` files, and scikit-learn's digits."""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from lowbit.core.errors import BadInput
from lowbit.core.text import said
from lowbit.data.labels import numbered_names
from lowbit.data.picture import Dataset, Picture

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class ArrayPart:
    """Pictures in memory: uint8 [N, H, W]."""

    name: str
    images: Bytes = field(repr=False)
    labels: npt.NDArray[np.int64] = field(repr=False)

    def files(self) -> Iterator[Path]:
        """None: they come with a package."""
        return iter(())

    def pictures(self, indices: Sequence[int]) -> Iterator[Picture]:
        """The pictures at `indices`."""
        return (Picture(f"{self.name} {index}", self.images[index]) for index in indices)


@dataclass(frozen=True, slots=True, eq=False)
class NpzPart:
    """Array `x` of an .npz file, read from front to back and never as a whole. `shape`: of one picture."""

    path: Path
    shape: tuple[int, ...]
    labels: npt.NDArray[np.int64] = field(repr=False)

    def files(self) -> Iterator[Path]:
        """The one file."""
        return iter((self.path,))

    def pictures(self, indices: Sequence[int]) -> Iterator[Picture]:
        """The pictures at `indices` (ascending)."""
        size = int(np.prod(self.shape))
        with zipfile.ZipFile(self.path) as archive, archive.open("x.npy") as stream:
            _read_header(stream)
            start = stream.tell()
            for index in indices:
                name = f"{self.path} x[{index}]"
                try:
                    stream.seek(start + index * size)
                    pixels = stream.read(size)
                except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                    raise BadInput(f"{name}: cannot be read ({said(error)}); is the file whole?") from error
                if len(pixels) < size:
                    raise BadInput(f"{name}: the file ends here; is it whole?")
                yield Picture(name, np.frombuffer(pixels, np.uint8).reshape(self.shape))


def open_npz(path: Path, *, labelled: bool = True) -> Dataset:
    """`x` uint8 [N, H, W] or [N, H, W, C] and `y` integers [N], all of it evaluation data; classes are called 0, 1 …"""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("x.npy") as stream:
            shape, fortran, dtype = _read_header(stream)
        with np.load(path, allow_pickle=False) as arrays:
            y = arrays["y"] if labelled else np.zeros(shape[:1], np.int64)
    except KeyError as error:
        raise BadInput(f"{path}: arrays `x` (pictures) and `y` (labels) were expected; {error.args[0]}") from error
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path}: not an .npz file that can be read ({said(error)})") from error
    if dtype.kind == "f":
        raise BadInput(
            f"{path}: x is {dtype}; uint8 was expected, the pictures before preprocessing: floats do not tell which "
            "preprocessing they went through, and --preprocess would be applied on top of it"
        )
    if dtype != np.uint8 or fortran or len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3, 4)):
        order = " in Fortran order" if fortran else ""
        raise BadInput(
            f"{path}: x is {dtype} {list(shape)}{order}; uint8 [N, H, W] or [N, H, W, 1, 3 or 4] was expected"
        )
    if y.dtype.kind not in "iu" or y.shape != shape[:1]:
        raise BadInput(f"{path}: y is {y.dtype} {list(y.shape)}; {shape[0]} integers were expected, one a picture")
    if 0 in shape:
        raise BadInput(f"{path}: x is {list(shape)}; there are no pictures in it")
    if y.min() < 0:
        raise BadInput(f"{path}: label {y.min()} in y; labels count from 0")
    names = numbered_names(int(y.max()), f"{path}, array y")
    return Dataset(path.stem, names, test=NpzPart(path, shape[1:], y.astype(np.int64)), root=path.parent)


def open_digits() -> Dataset:
    """scikit-learn's 1,797 digits of 8 x 8 in grey: 1,347 to train, 450 to test (`random_state=42`)."""
    try:
        import sklearn
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise BadInput(
            "the data `digits` come with scikit-learn, which is not installed: pip install 'lowbit[torch]'"
        ) from error
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    labels = digits.target.astype(np.int64)
    train, test = train_test_split(np.arange(len(labels)), test_size=0.25, random_state=42)
    return Dataset(
        "digits",
        tuple(str(name) for name in digits.target_names),
        test=ArrayPart("digits test", images[test], labels[test]),
        train=ArrayPart("digits train", images[train], labels[train]),
        version=f"scikit-learn {sklearn.__version__}",
    )


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """(shape, Fortran order, dtype) of a .npy stream, which then stands at the first element."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(stream)
