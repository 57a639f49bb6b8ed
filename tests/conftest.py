"""Fixtures every test may use: the shared models and data (skipped with a reason where absent), and tiny ones.

With CI=true every vendor's package is installed: a test that would skip for a missing one fails instead.
"""

import os
import re
from collections.abc import Generator
from pathlib import Path

import pytest

from lowbit.core.model import FloatModel
from lowbit.core.samples import Samples
from tests import models

_MISSING_PACKAGE = re.compile(r"could not import|(is|are) not installed")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that skips while it runs."""
    report = yield
    _fail_for_a_missing_package(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A file that skips as a whole."""
    report = yield
    _fail_for_a_missing_package(report)
    return report


def _fail_for_a_missing_package(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get("CI") == "true" and report.skipped and isinstance(report.longrepr, tuple):
        reason = str(report.longrepr[2])
        if _MISSING_PACKAGE.search(reason):
            report.outcome = "failed"
            report.longrepr = f"{reason}; but with CI=true every vendor's package is installed"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real models and data."""
    if not SHARED.is_dir():
        pytest.skip("needs the shared models and data, which are not beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> FloatModel:
    """A small random CNN: input [N, 3, 8, 8], four logits."""
    return models.tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="session")
def tiny_samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """64 random pictures of 8 × 8 in colour, four classes."""
    return models.tiny_samples(tmp_path_factory.mktemp("samples"))
