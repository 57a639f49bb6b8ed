"""Decoding in parallel: every process decodes its share of the pictures and writes it into its rows of one file.

A process is started as a plain command that reads its share from standard input, not by fork (the caller may have
threads) and not by `multiprocessing` (which would import the user's script a second time).
"""

import ctypes
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from lowbit.core.errors import BadInput, LowbitError
from lowbit.core.preprocess import Preprocess
from lowbit.data.picture import DataPart

_REPORT_EVERY = 50  # pictures
_FAILED = -1
_PR_SET_PDEATHSIG = 1  # prctl(2)

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
    finished, written = 0, None
    with share.file.open("r+b") as file:  # not through the map: a full disk is then an error and not a SIGBUS
        pictures = share.part.pictures(share.indices.tolist())
        for picture, row in zip(pictures, share.rows.tolist(), strict=True):
            pixels = picture.pixels(share.preprocess)
            if pixels.shape != share.shape:
                raise BadInput(
                    f"pictures of different sizes (width x height): {share.model_name} is {_size(share.shape)}, "
                    f"{picture.name} is {_size(pixels.shape)} after preprocessing {share.preprocess.name!r}; "
                    "set resize and crop in --preprocess so that all become equal"
                )
            if written is None or row != written + 1:  # rows that follow one another are gathered by the file's buffer
                file.seek(start + row * row_size)
            file.write(pixels)
            written = row
            finished += 1
            if finished == _REPORT_EVERY:
                report(finished)
                finished = 0
    report(finished)


def fill_in_parallel(shares: Sequence[Sequence[Share]], messages: Path, report: Report) -> None:
    """Do every list of shares in a process of its own; the first error stops all of them and is raised here.

    messages: an empty folder, for what the processes have to say to the user.
    """
    processes: list[subprocess.Popen[bytes]] = []
    statuses: list[int] = []
    read_end, write_end = os.pipe()  # one for all of them: a line of a few bytes is written in one piece
    try:
        with os.fdopen(read_end) as lines:
            with os.fdopen(write_end) as reports:
                for _ in shares:
                    processes.append(_start(reports))
            for number, (process, share) in enumerate(zip(processes, shares, strict=True)):
                _send(process, (os.getpid(), messages / f"{number}.txt", share))
            for line in lines:
                if int(line) == _FAILED:
                    break
                report(int(line))
            else:
                statuses = [process.wait() for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for message in sorted(messages.iterdir()):
        raise BadInput(message.read_text(encoding="utf-8"))
    if any(statuses):
        raise LowbitError(
            f"decoding pictures: a process ended with status {next(filter(None, statuses))}; see the log above"
        )


def main() -> None:
    """A decoding process: shares come from standard input, numbers of finished pictures go to standard output."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    parent, message, shares = pickle.load(sys.stdin.buffer)
    if os.getppid() != parent:
        sys.exit("the parent process is gone")
    try:
        for share in shares:
            fill(share, _tell)
    except BadInput as error:
        message.write_text(str(error), encoding="utf-8")
        _tell(_FAILED)


def _start(reports: IO[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-c", "from lowbit.data.fill import main; main()"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=reports)


def _send(process: subprocess.Popen[bytes], job: tuple[int, Path, Sequence[Share]]) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin:  # a process that died at once is told by its status
        pickle.dump(job, process.stdin)


def _tell(finished: int) -> None:
    sys.stdout.write(f"{finished}\n")
    sys.stdout.flush()


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
