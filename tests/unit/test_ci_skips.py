"""With CI=true a vendor's test cannot vanish: a missing package fails what would be skipped elsewhere."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import pytest

def test_inside():
    pytest.importorskip("no_such_vendor")

def test_by_name():
    pytest.skip("nncf: nncf is not installed")

def test_for_another_reason():
    pytest.skip("this CPU has no bfloat16")
"""


def test_a_missing_package_fails(tmp_path: Path) -> None:
    (tmp_path / "test_vendor.py").write_text(TESTS)
    (tmp_path / "test_whole.py").write_text("import pytest\npytest.importorskip('no_such_vendor')\n")
    words = [
        "-W",
        "ignore",
        "-c",
        os.devnull,
        "--rootdir",
        str(tmp_path),
        "-p",
        "tests.conftest",
        "--continue-on-collection-errors",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "CI": "true", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 failed, 1 skipped, 1 error" in done.stdout, done.stdout
