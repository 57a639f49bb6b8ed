"""Two things with one digest may answer for each other: so none that differ may share one."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lowbit.core import digest, version
from lowbit.core.preprocess import Preprocess


@dataclass(frozen=True)
class Holder:
    array: np.ndarray


def test_arrays_differ_by_contents_type_and_shape() -> None:
    long = np.zeros(10_000, np.float32)
    other = long.copy()
    other[5_000] = 1  # NumPy prints both alike
    arrays: list[np.ndarray] = [long, other, long.astype(np.float64), long.reshape(100, 100), long.view(np.int32)]
    assert len({digest.of_value(array) for array in arrays}) == len(arrays)
    assert len({digest.of_value(Holder(array)) for array in arrays}) == len(arrays)
    assert digest.of_value([long, 1]) == digest.of_value([long.copy(), 1])


def test_numbers_of_numpy_differ_by_value() -> None:
    assert digest.of_value(np.float32(0.1)) != digest.of_value(np.float32(0.1) + np.float32(1e-8) * 10)


def test_what_has_no_contents_has_no_digest() -> None:
    with pytest.raises(TypeError, match=r"object .* has no digest"):
        digest.of_value([object()])
    with pytest.raises(TypeError, match="has no digest"):
        digest.of_value(np.array([object()]))


def test_dataclasses_and_paths_have_one() -> None:
    assert digest.of_value([Preprocess("unit"), Path("a")]) != digest.of_value([Preprocess("unit"), Path("b")])


def test_an_edit_of_the_source_changes_the_version_of_results(tmp_path: Path) -> None:
    (tmp_path / "core").mkdir()
    (tmp_path / "report").mkdir()
    (tmp_path / "core" / "a.py").write_text("x = 1")
    (tmp_path / "report" / "b.py").write_text("y = 1")
    before = version.digest_of_source(tmp_path)
    (tmp_path / "report" / "b.py").write_text("y = 2")
    assert version.digest_of_source(tmp_path) == before  # what only draws changes no result
    (tmp_path / "core" / "a.py").write_text("x = 2")
    assert version.digest_of_source(tmp_path) != before
    assert version.exact_version().startswith(f"{version.VERSION}+src.")
