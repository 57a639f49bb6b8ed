"""A runtime of somebody else's, in one file, without touching lowbit."""

import os
import re
from pathlib import Path

import pytest

from tests.e2e.command import compare, lowbit, make_project, rows

TOY = '''
"""A toy: it reads ONNX files, and guesses from the mean colour of the image."""
from contextlib import contextmanager

import numpy as np

from lowbit.core.adapter import OpPrecision, RuntimeInfo

INFO = RuntimeInfo(name="toy", packages=(), extra=None, reads=("onnx",))


class Toy:
    def __init__(self, outputs, batch_size):
        self.outputs = outputs
        self.batch_size = batch_size

    def predict(self, images):
        return np.outer(images.mean(axis=(1, 2, 3)), np.arange(self.outputs)).astype(np.float32)

    def executed_precision(self):
        return [OpPrecision("guess", f"GuessOf{self.batch_size}", "f32", False)]


def warm_up(options):
    pass


@contextmanager
def open_session(artifact, options):
    yield Toy(artifact.outputs, options.batch_size)
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path)


def install(folder: Path, name: str, source: str, group: str) -> Path:
    """A package as pip would leave it: one module and its entry point."""
    site = folder / "site"
    info = site / f"{name}_runtime-1.0.dist-info"
    info.mkdir(parents=True)
    (site / f"{name}_runtime.py").write_text(source)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-runtime\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {name}_runtime\n")
    return site


def path_with(site: Path) -> str:
    return os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])


def test_a_runtime_in_one_file_appears_in_the_table(project: Path) -> None:
    site = install(project, "toy", TOY, "lowbit.runtimes")
    words = ("--toolchains", "onnxruntime", "--recipes", "fp32", "--runtimes", "toy,onnxruntime", "--max-drop", "100")
    done = compare(*words, cwd=project, PYTHONPATH=path_with(site))
    assert done.returncode == 0, done.stderr
    found = {row["runtime"]: row for row in rows(project)}
    assert found["toy"]["intended"] is False
    assert found["onnxruntime"]["agreement"] == 1.0
    assert "toy" in done.stdout
    assert found["toy"]["status"] == "measured", found["toy"]["reason"]
    assert found["toy"]["top1"] == 21 / 80  # always the last of four classes: 21 of the 80 pictures that are left
    assert found["toy"]["latency_p50_ms"] > 0
    assert found["toy"]["int8_share"] == 0.0  # it tells of no product, so that nothing of the graph is found
    why = lowbit("report", "study", "--why", "onnxruntime/fp32@toy", cwd=project).stdout
    assert "GuessOf1 " in why  # of the session that is timed, image by image; accuracy passes take more at once
    assert why.count("not listed") == 3  # both convolutions and the classifier, by their names


def test_the_runtime_that_the_documents_show_runs(project: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "adapters.md").read_text()
    source = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[0]
    site = install(project, "toy", source, "lowbit.runtimes")
    words = ("--toolchains", "onnxruntime", "--recipes", "fp32", "--runtimes", "toy", "--max-drop", "100")
    done = compare(*words, cwd=project, PYTHONPATH=path_with(site))
    assert done.returncode == 0, done.stderr
    (row,) = rows(project)
    assert (row["runtime"], row["status"], row["agreement"]) == ("toy", "measured", 1.0), row["reason"]
    why = lowbit("report", "study", "--why", "onnxruntime/fp32@toy", cwd=project).stdout
    assert "not listed" not in why  # the example tells of every product


def test_an_entry_point_that_is_broken_is_named(project: Path) -> None:
    site = install(project, "broken", "import no_such_vendor_package\n", "lowbit.runtimes")
    done = compare("--runtimes", "broken", cwd=project, PYTHONPATH=path_with(site))
    assert done.returncode == 2
    assert "no_such_vendor_package" in done.stderr
    assert "Traceback" not in done.stderr
