"""Fixtures of the tests that run the command line."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.command import lowbit, make_project


@pytest.fixture(scope="session")
def quantized_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project (`make_project`) with out.onnx, out4.xml and lite.tflite, made by `lowbit quantize` as w4a8.

    said/<name>.txt is what the command printed. This takes half a minute: the first process of a parallel run makes it,
    and the others copy it.
    """
    own = tmp_path_factory.mktemp("quantized")
    base = tmp_path_factory.getbasetemp()
    together = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = together / "quantized-project"
    with (together / "quantized-project.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            _make_quantized(own)
            shutil.copytree(own, made)
            return own
    shutil.copytree(made, own, dirs_exist_ok=True)
    return own


def _make_quantized(folder: Path) -> None:
    make_project(folder)
    (folder / "said").mkdir()
    for name in ("out.onnx", "out4.xml", "lite.tflite"):
        words = ("--data", "data.npz", "--preprocess", "unit", "--threads", "1", "--cache", "cache")
        done = lowbit("quantize", "tiny.onnx", "--recipe", "w4a8", "-o", name, *words, cwd=folder)
        assert done.returncode == 0, done.stderr
        (folder / "said" / f"{name}.txt").write_text(done.stdout)
