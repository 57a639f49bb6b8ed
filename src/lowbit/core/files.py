"""Files that are whole or absent: written aside, then renamed."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY = ".lowbit-tmp."  # how the names of what is written aside begin, so that leftovers can be told and removed


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in one step; its folder is made when missing."""
    with aside(path) as temporary:
        temporary.write_text(text)


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends well, and vanishes when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _unused_name(path)
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def folder_aside(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends well, instead of an older one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _unused_name(path)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unused_name(path: Path) -> Path:
    """A name beside `path`. What `tempfile` makes only its owner may read, whatever the umask."""
    return path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}{path.suffix}")
