"""Tensors on disk for as long as the engine works: what lies in memory is written as it lies there, without a copy."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lowbit.quant.simulate import in_memory_order

_NUMBER = 8  # bytes of a size in the file


class _Array:
    """A tensor laid out as it lies in memory; `turned`: the channels are the last axis."""

    def __init__(self, x: torch.Tensor) -> None:
        laid = in_memory_order(x)
        self.array: npt.NDArray[np.generic] = laid.numpy()
        self.turned = laid is not x

    def tensor(self) -> torch.Tensor:
        x = torch.from_numpy(self.array)
        return x.movedim(-1, 1) if self.turned else x


def save_tensors(environments: tuple[dict[int, Any], ...], path: Path) -> None:
    """Write dictionaries of tensors, and of whatever else can be pickled, to `path`.

    A file that exists is written over in place: to free its pages and take new ones costs more than to write them.
    """
    arrays = [{k: _Array(x) if isinstance(x, torch.Tensor) else x for k, x in each.items()} for each in environments]
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(arrays, protocol=5, buffer_callback=buffers.append)
    raw = [memoryview(head), *(buffer.raw() for buffer in buffers)]
    with path.open("r+b" if path.exists() else "wb", buffering=0) as file:
        for size in (len(raw), *(part.nbytes for part in raw)):
            file.write(size.to_bytes(_NUMBER, "little"))
        for part in raw:
            _write_all(file, part)
        file.truncate()


def load_tensors(path: Path) -> list[dict[int, Any]]:
    """What `save_tensors` wrote."""
    with path.open("rb", buffering=0) as file:
        count = int.from_bytes(_read_all(file, _NUMBER), "little")
        sizes = [int.from_bytes(_read_all(file, _NUMBER), "little") for _ in range(count)]
        head, *buffers = (_read_all(file, size) for size in sizes)
    arrays = pickle.loads(head, buffers=buffers)
    return [{k: x.tensor() if isinstance(x, _Array) else x for k, x in each.items()} for each in arrays]


def _write_all(file: io.FileIO, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]


def _read_all(file: io.FileIO, size: int) -> bytearray:
    data = bytearray(size)
    done = 0
    while done < size:
        read = file.readinto(memoryview(data)[done:])
        if not read:
            raise EOFError(f"{file.name!r}: ends after {done} bytes of a part of {size}")
        done += read
    return data
