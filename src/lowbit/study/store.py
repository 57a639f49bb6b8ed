"""A study's folder: the path of everything in it, and a lock that admits one command at a time."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lowbit.core.errors import BadInput, LowbitError
from lowbit.core.files import TEMPORARY

LOCK = ".lowbit-lock"


@dataclass(frozen=True, slots=True)
class Store:
    """The folder of one study. Every path that the study uses is made here.

    - section: the model whose artifacts are meant, in a study of several models; empty: there is one model only
    """

    folder: Path
    section: str = ""

    def samples(self, key: str) -> Path:
        """Folder of decoded images, with calibration/ and evaluation/ in it."""
        return self.folder / "cache" / f"samples-{key}"

    def model(self, key: str) -> Path:
        """Folder of the float graph."""
        return self.folder / "cache" / f"model-{key}"

    def reference(self, key: str) -> Path:
        """Folder of the float model's scores and predictions."""
        return self.folder / "cache" / f"reference-{key}"

    @property
    def conversions(self) -> Path:
        """Folder of conversions that several builds of one toolchain start from."""
        return self.folder / "cache" / "conversions"

    def pace(self, key: str) -> Path:
        """The file that says how cells are timed within a budget."""
        return self.folder / "cache" / f"pace-{key}.json"

    def peak(self, key: str) -> Path:
        """The file that says how fast this machine multiplies matrices."""
        return self.folder / "cache" / f"peak-{key}.json"

    def artifact(self, name: str) -> Path:
        """Folder of the files to ship, and their manifest."""
        return self.folder / "artifacts" / self.section / name

    def build_result(self, key: str) -> Path:
        """The file that says how a build ended, even if the artifact is gone."""
        return self.folder / "cache" / "builds" / f"{key}.json"

    def evidence(self, key: str) -> Path:
        """Folder of what a build left for verification."""
        return self.folder / "cache" / "builds" / f"{key}-evidence"

    def checkpoints(self, key: str) -> Path:
        """Folder of an unfinished training."""
        return self.folder / "cache" / "builds" / f"{key}-training"

    def verification(self, key: str) -> Path:
        """The file that says how a verification ended."""
        return self.folder / "cache" / "verified" / f"{key}.json"

    def cell(self, key: str) -> Path:
        """Folder of the results of a cell's finished jobs."""
        return self.folder / "cells" / key

    def logs(self, key: str) -> Path:
        """Folder of what child processes printed, and of LoadGen's logs."""
        return self.folder / "logs" / key

    def relative(self, path: Path) -> str:
        """A path as results contain it: relative to the study's folder."""
        return str(path.relative_to(self.folder))


@contextmanager
def locked(folder: Path, option: str = "-o") -> Iterator[Store]:
    """Lock the study in `folder` for this process. `option` is the command line's option that named it, for messages.

    Raises BadInput while another command uses the study, and where the folder holds something other than a study. If
    the block raises BadInput before any job has finished, everything that this function created is removed.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made += [folder / LOCK] if not (folder / LOCK).exists() else []
        if not (folder / LOCK).exists() and any(folder.iterdir()):
            raise BadInput(
                f"{option} {folder}: is not empty and holds no study; give a new folder, or that of an earlier study"
            )
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    except OSError as error:
        raise BadInput(f"{option} {folder}: cannot be written ({error.strerror}); choose another folder") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(handle, 32, 0).decode() or "unknown"
            raise BadInput(
                f"{folder}: another command (process {owner}) is working on this study; wait for it, or choose another "
                f"folder with {option}"
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        _sweep(folder)
        try:
            yield Store(folder)
        except BadInput:
            _remove_unused(folder, made)
            raise
    finally:
        os.close(handle)


@contextmanager
def working_folder(cache: Path | None) -> Iterator[Path]:
    """The cache, or a temporary folder. The latter is kept after a failure, because it holds the log."""
    if cache is not None:
        yield cache
        return
    folder = Path(tempfile.mkdtemp(prefix="lowbit-"))
    failed = False
    try:
        yield folder
    except LowbitError as error:
        failed = not isinstance(error, BadInput)
        raise
    finally:
        if not failed:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_unused(folder: Path, made: Sequence[Path]) -> None:
    """Remove the lock and the folders in `made`, unless `folder` holds a file that is not a job's log."""
    logs = folder / "logs"
    kept = (path for path in folder.rglob("*") if path.is_file() and path.name != LOCK and logs not in path.parents)
    if next(kept, None) is not None:
        return
    if folder in made:
        shutil.rmtree(folder, ignore_errors=True)
    for path in made:
        with suppress(OSError):  # somebody may have put something there meanwhile
            if path.name == LOCK:
                path.unlink(missing_ok=True)
            elif path.exists():
                path.rmdir()


def _sweep(folder: Path) -> None:
    """Remove temporary files and folders that a killed command left behind (`core.files`)."""
    for room in ("artifacts", "cache", "cells"):
        for path in [*(folder / room).rglob(f"{TEMPORARY}*")]:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
