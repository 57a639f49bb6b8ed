"""Fixtures of the contract suites."""

import pytest

from lowbit.core.model import FloatModel
from lowbit.core.samples import Samples
from tests.contract.adapters import Factory


@pytest.fixture(scope="session")
def factory(tiny_model: FloatModel, tiny_samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> Factory:
    return Factory(tiny_model, tiny_samples, tmp_path_factory.mktemp("contract"))
