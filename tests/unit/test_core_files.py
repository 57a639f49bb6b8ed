"""Files and folders that are written aside get the rights that the user's umask gives to any other."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from lowbit.core.files import aside, folder_aside, write_text


@pytest.fixture(params=[0o077, 0o022, 0o002])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_umask_is_respected(tmp_path: Path, umask: int) -> None:
    write_text(tmp_path / "text.json", "x")
    with aside(tmp_path / "array.npy") as path:
        path.write_bytes(b"x")
        assert path.suffix == ".npy"
    with folder_aside(tmp_path / "folder") as folder:
        (folder / "inside").write_text("x")
    assert mode(tmp_path / "text.json") == mode(tmp_path / "array.npy") == 0o666 & ~umask
    assert mode(tmp_path / "folder") == 0o777 & ~umask
    assert mode(tmp_path / "folder/inside") == 0o666 & ~umask


def test_nothing_is_left_of_what_failed(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("before")
    with pytest.raises(ZeroDivisionError), aside(tmp_path / "kept"):
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), folder_aside(tmp_path / "folder"):
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept").read_text() == "before"
