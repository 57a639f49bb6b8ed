"""A full disk: one clear error, and what was stored stays whole. Needs the right to mount a small file system."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command import NULL, QUICK, lowbit, make_project


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("cannot mount a small file system here (needs root)")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("left_kb", [48])
def test_a_full_disk_is_one_clear_error(tmp_path: Path, small_disk: Path, left_kb: int) -> None:
    project = make_project(tmp_path)
    study = small_disk / "study"
    (small_disk / "filler").write_bytes(b"x" * 1024 * (4096 - left_kb))
    words = ("compare", "tiny.onnx", "--data", "data.npz", "--preprocess", "unit", "-o", str(study), *QUICK, *NULL)
    done = lowbit(*words, cwd=project)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "free" in done.stderr.splitlines()[-1]
    (small_disk / "filler").unlink()
    assert lowbit(*words, "--max-drop", "100", cwd=project).returncode == 0
