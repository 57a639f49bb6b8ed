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
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import IO

import numpy as np
import numpy.typing as npt

from lowbit.core.errors import BadInput, LowbitError
from lowbit.core.lifeline import die_with_parent
from lowbit.core.preprocess import Preprocess
from lowbit.data.picture import DataPart

_REPORT_EVERY = 50  # pictures
_WRITE_BEHIND = 1 << 20  # bytes
_WORD = Struct("i")  # pipes keep so short a message in one piece
_BAD_INPUT = -1

Report = Callable[[int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """Decode the pictures `indices` (ascending) of `part` into `rows` of the array in `file`.

    shape: (H, W, C) of every row, that of the picture called `model_name`.
    """

    part: DataPart
    indices: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    preprocess: Preprocess
    file: Path
    shape: tuple[int, ...]
    model_name: str


def fill(share: Share, report: Report) -> None:
    """Do one share, telling `report` how many pictures were finished since the last time."""
    row_size = int(np.prod(share.shape))
    start = np.load(share.file, mmap_mode="r").offset
    finished = 0
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
            finished += 1
            if finished == _REPORT_EVERY:
                report(finished)
                finished = 0
    report(finished)


def fill_in_parallel(shares: Sequence[Sequence[Share]], report: Report) -> None:
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
                    if not _listen(key.data, report):
                        selector.unregister(key.fileobj)
    finally:
        for process in processes:
            process.kill()
            process.wait()
            _output(process).close()


def _listen(process: subprocess.Popen[bytes], report: Report) -> bool:
    """Pass on what the process has to say; False when it ended well, an error when it did not."""
    word = os.read(_output(process).fileno(), _WORD.size)  # no more than that: the rest must wake `select` again
    if not word:
        if status := process.wait():
            raise LowbitError(f"decoding pictures: a process ended with status {status}; see the log above")
        return False
    (count,) = _WORD.unpack(word)
    if count == _BAD_INPUT:
        raise BadInput(_output(process).read().decode())
    report(count)
    return True


def main() -> None:
    """A decoding process: its job comes from standard input, words go to standard output.

    A word is a number of finished pictures, or _BAD_INPUT, which the message to the user follows.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    parent, shares = pickle.load(sys.stdin.buffer)
    die_with_parent(parent)
    try:
        for share in shares:
            fill(share, lambda finished: _say(_WORD.pack(finished)))
    except BadInput as error:
        _say(_WORD.pack(_BAD_INPUT) + str(error).encode())


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


def _say(message: bytes) -> None:
    sys.stdout.buffer.write(message)
    sys.stdout.flush()


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
