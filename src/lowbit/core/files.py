"""Writes files that are either complete or absent: each is written under a temporary name, then renamed."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY = ".lowbit-tmp."  # prefix of temporary names, so that leftovers can be recognized and removed


def write_text(path: Path, text: str) -> None:
    """Replace the file `path` by `text` in one step; creates its folder when missing."""
    with aside(path) as temporary:
        temporary.write_text(text)


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`. It replaces `path` when the block succeeds, and is removed when it fails."""
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
    """A temporary folder beside `path`. It replaces `path` when the block succeeds, and is removed when it fails."""
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
    """A new name beside `path`. `tempfile` is not used: only the owner may read its files, whatever the umask says."""
    return path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}{path.suffix}")
