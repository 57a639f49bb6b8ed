"""Parquet files in Hugging Face's image convention: a column struct{bytes, path} and a column of integer labels."""

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lowbit.core.errors import BadInput
from lowbit.core.text import said
from lowbit.data.labels import numbered_names
from lowbit.data.picture import UNLABELLED, Dataset, Picture

_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels", "fine_label")
_ROWS_AT_ONCE = 64  # pictures held undecoded
_READ_AHEAD = 1 << 20  # bytes; without it pyarrow reads a row group's whole column


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns hold what, and the classes' names where the file states them. label: None where there are none."""

    image: str
    label: str | None
    class_names: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, eq=False)
class ParquetPart:
    """The rows of one or more files, in order. `groups`: rows of each row group of each file."""

    paths: tuple[Path, ...]
    column: str
    groups: tuple[tuple[int, ...], ...] = field(repr=False)
    labels: npt.NDArray[np.int64] = field(repr=False)

    def files(self) -> Iterator[Path]:
        """Every parquet file."""
        return iter(self.paths)

    def pictures(self, indices: Sequence[int]) -> Iterator[Picture]:
        """The pictures at `indices` (ascending). Row groups without any of them are not read."""
        starts = [0, *accumulate(sum(groups) for groups in self.groups)]
        for path, groups, start, end in zip(self.paths, self.groups, starts[:-1], starts[1:], strict=True):
            rows = [index - start for index in indices if start <= index < end]
            if rows:
                yield from _read(path, self.column, groups, rows)


def open_parquet(path: Path, *, labelled: bool = True) -> Dataset:
    """One file, all of it evaluation data."""
    return _dataset(path.stem, path.parent, [path], [], labelled)


def open_parquet_folder(root: Path, *, labelled: bool = True) -> Dataset:
    """`test*.parquet` (or `val*.parquet`), and `train*.parquet` where there is one."""
    test = sorted(root.glob("test*.parquet")) or sorted(root.glob("val*.parquet"))
    if not test:
        found = ", ".join(path.name for path in sorted(root.glob("*.parquet"))[:5])
        raise BadInput(
            f"{root}: has parquet files ({found}), but no test*.parquet or val*.parquet; give one file as the data"
        )
    return _dataset(root.name, root, test, sorted(root.glob("train*.parquet")), labelled)


def _dataset(name: str, root: Path, test: list[Path], train: list[Path], labelled: bool) -> Dataset:
    columns = _columns(test[0], labelled)
    test_part = _part(test, columns)
    train_part = _part(train, columns) if train else None
    highest = max(int(part.labels.max()) for part in (test_part, train_part) if part is not None)
    names = columns.class_names or numbered_names(highest, f"{test[0]}, column {columns.label!r}")
    if highest >= len(names):
        raise BadInput(
            f"{root}: label {highest} in column {columns.label!r}, but the file names {len(names)} classes only"
        )
    return Dataset(name, names, test=test_part, train=train_part, root=root)


def _part(paths: list[Path], columns: Columns) -> ParquetPart:
    groups: list[tuple[int, ...]] = []
    labels: list[npt.NDArray[np.int64]] = []
    for path in paths:
        if _columns(path, labelled=columns.label is not None) != columns:
            raise BadInput(
                f"{path}: columns or class names are not those of the other files ({columns.image}, {columns.label})"
            )
        with _open(path) as file:
            groups.append(tuple(file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)))
            if columns.label is None:
                labels.append(np.zeros(sum(groups[-1]), np.int64))
                continue
            column = file.read(columns=[columns.label]).column(0)
        if column.null_count:
            raise BadInput(
                f"{path}: {column.null_count} rows without a label in column {columns.label!r}; fill or remove them"
            )
        labels.append(column.to_numpy().astype(np.int64))
    all_labels = np.concatenate(labels)
    if len(all_labels) == 0:
        raise BadInput(f"{paths[0]}: no rows; a parquet file with pictures was expected")
    if all_labels.min() < 0:
        raise BadInput(
            f"{paths[0]}: label {all_labels.min()} in column {columns.label!r}; are these data without labels?"
        )
    return ParquetPart(tuple(paths), columns.image, tuple(groups), all_labels)


def _columns(path: Path, labelled: bool) -> Columns:
    """Find the columns by type and name; the schema's `huggingface` entry names the classes."""
    import pyarrow as pa

    with _open(path) as file:
        schema = file.schema_arrow
    pictures = [f.name for f in schema if pa.types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]
    image = next((name for name in _IMAGE_COLUMNS if name in pictures), pictures[0] if len(pictures) == 1 else None)
    integers = [f.name for f in schema if pa.types.is_integer(f.type)]
    label = next((name for name in _LABEL_COLUMNS if name in integers), integers[0] if len(integers) == 1 else None)
    label = label if labelled else None
    if image is None or (label is None and labelled):
        missing = "one picture column struct{bytes, path}" if image is None else "one integer column of labels"
        raise BadInput(
            f"{path}: columns are {', '.join(f'{f.name} ({f.type})' for f in schema)}; {missing} was expected, "
            f"named {' or '.join(_IMAGE_COLUMNS if image is None else _LABEL_COLUMNS)}"
        )
    return Columns(image, label, (UNLABELLED,) if label is None else _class_names(schema, label))


def _class_names(schema: Any, label: str) -> tuple[str, ...] | None:
    """Names of Hugging Face's `ClassLabel`, written by `datasets` as a list, or as a dict in older files."""
    text = (schema.metadata or {}).get(b"huggingface")
    try:
        entry = json.loads(text or b"{}")
    except ValueError:  # only a help: without it the classes are called by their numbers
        return None
    for key in ("info", "features", label, "names"):
        entry = entry.get(key) if isinstance(entry, dict) else None
    if isinstance(entry, dict):
        entry = [entry[str(i)] for i in range(len(entry)) if str(i) in entry]
    return tuple(str(name) for name in entry) if isinstance(entry, list) and entry else None


def _read(path: Path, column: str, groups: Sequence[int], rows: Sequence[int]) -> Iterator[Picture]:
    """The pictures in `rows` (ascending) of one file, a few undecoded at a time."""
    starts = [0, *accumulate(groups)]
    wanted = sorted({bisect_right(starts, row) - 1 for row in rows})
    row_of = (row for group in wanted for row in range(starts[group], starts[group + 1]))
    needed = set(rows)
    with _open(path) as file:
        columns = [f"{column}.bytes"]
        for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=wanted, columns=columns, use_threads=False):
            for content, row in zip(batch.column(0).field("bytes").to_pylist(), row_of, strict=False):
                if row not in needed:
                    continue
                name = f"{path} row {row}"
                if content is None:
                    raise BadInput(
                        f"{name}: no bytes in column {column!r}; files that only name their pictures are no use"
                    )
                yield Picture(name, content)


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """The open file; whatever goes wrong with it inside the block is the file's fault."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, buffer_size=_READ_AHEAD, pre_buffer=False) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        reason = said(error)
        raise BadInput(f"{path}: not a parquet file that can be read ({reason}); is it whole?") from error
