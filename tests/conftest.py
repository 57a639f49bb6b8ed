"""Fixtures every test may use: the shared models and data (skipped with a reason where absent), and tiny ones."""

from pathlib import Path

import pytest

from lowbit.core.model import FloatModel
from lowbit.core.samples import Samples
from tests import models

SHARED = Path(__file__).resolve().parents[2] / "shared"


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
