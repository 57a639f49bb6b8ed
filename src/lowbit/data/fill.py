"""Decoding in parallel: every process decodes its share of the pictures and writes it into its rows of one file.

A process is started as a plain command that reads its share from standard input, not by fork (the caller may have
threads) and not by `multiprocessing` (which would import the user's script a second time).
"""

import os
import pickle
import selectors
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from lowbit.core.errors import BadInput, LowbitError
from lowbit.core.lifeline import die_with_parent
from lowbit.core.preprocess import Preprocess
from lowbit.data.picture import DataPart

_WRITE_BEHIND = 1 << 20  # bytes
_BAD_INPUT = 2  # status of a process that leaves a message to the user


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """One process's work: decode the pictures `indices` (ascending) of `part` into `rows` of the array in `file`.

    - preprocess: the resize and crop to apply
    - shape: (H, W, C) of every row
    - model_name: name of the picture that this shape was taken from, for messages
    """

    part: DataPart
    indices: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    preprocess: Preprocess
    file: Path
    shape: tuple[int, ...]
    model_name: str


def fill(share: Share) -> None:
    """Decode one share. Raises BadInput, with the picture's name, for one that cannot be read or has another size."""
    row_size = int(np.prod(share.shape))
    start = np.load(share.file, mmap_mode="r").offset
    here: int | None = None  # the row at which the file stands
    # Not through a memory map, where a full disk is a SIGBUS and written pages count as this process's memory.
    with share.file.open("r+b", buffering=_WRITE_BEHIND) as file:
        pictures = share.part.pictures(share.indices.tolist())
        for picture, row in zip(pictures, share.rows.tolist(), strict=True):
            pixels = picture.pixels(share.preprocess)
            if pixels.shape != share.shape:
                raise BadInput(
                    f"pictures of different sizes (width x height): {share.model_name} is {_size(share.shape)}, "
                    f"{picture.name} is {_size(pixels.shape)} after preprocessing {share.preprocess.name!r}; "
                    "set resize and crop in --preprocess so that all become equal"
                )
            if row != here:  # rows that follow one another are gathered by the file's buffer
                file.seek(start + row * row_size)
            file.write(pixels.data)
            here = row + 1


def fill_in_parallel(shares: Sequence[Sequence[Share]]) -> None:
    """Do every list of shares in a process of its own; the first that fails stops all of them, and is raised here."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for _ in shares:
            processes.append(_start())
        with selectors.DefaultSelector() as selector:
            for process, share in zip(processes, shares, strict=True):
                _send(process, (os.getpid(), share))
                selector.register(_output(process), selectors.EVENT_READ, process)
            while selector.get_map():
                for key, _ in selector.select():
                    _check_end(key.data)
                    selector.unregister(key.fileobj)
    finally:
        for process in processes:
            process.kill()
            process.wait()
            _output(process).close()


def _check_end(process: subprocess.Popen[bytes]) -> None:
    """Raise what went wrong in a process whose output can be read: it is ending, for it says nothing before."""
    message = _output(process).read().decode()
    status = process.wait()
    if status == _BAD_INPUT:
        raise BadInput(message)
    if status:
        raise LowbitError(f"decoding pictures: a process ended with status {status}; see the log above")


def main() -> None:
    """A decoding process: its job comes from standard input; a message to the user, if any, goes to standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    parent, shares = pickle.load(sys.stdin.buffer)
    die_with_parent(parent)
    try:
        for share in shares:
            fill(share)
    except BadInput as error:
        sys.stdout.buffer.write(str(error).encode())
        sys.exit(_BAD_INPUT)


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-c", "from lowbit.data.fill import main; main()"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _send(process: subprocess.Popen[bytes], job: tuple[int, Sequence[Share]]) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin:  # a process that died at once is told by its status
        pickle.dump(job, process.stdin)


def _output(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdout is not None
    return process.stdout


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
