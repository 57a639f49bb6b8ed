"""Fixtures of the tests that run the command line."""

from pathlib import Path

import pytest

from tests.e2e.command import lowbit, make_project


@pytest.fixture(scope="session")
def quantized_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project (`make_project`) with out.onnx, out4.xml and lite.tflite, made by `lowbit quantize` as w4a8.

    said/<name>.txt is what the command printed.
    """
    folder = make_project(tmp_path_factory.mktemp("quantized"))
    (folder / "said").mkdir()
    for name in ("out.onnx", "out4.xml", "lite.tflite"):
        words = ("--data", "data.npz", "--preprocess", "unit", "--threads", "1", "--cache", "cache")
        done = lowbit("quantize", "tiny.onnx", "--recipe", "w4a8", "-o", name, *words, cwd=folder)
        assert done.returncode == 0, done.stderr
        (folder / "said" / f"{name}.txt").write_text(done.stdout)
    return folder
