"""The machine's fastest matrix products: of each kind one, by whichever library here is fastest."""

import numpy as np
import pytest

from lowbit.measure import peak


def test_each_kind_has_one_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "SIZE", 128)
    found = peak.peaks(1)
    assert sorted(each.kind for each in found) == ["fp32", "int8"]
    assert all(each.macs_per_s > 0 and each.threads == 1 and each.how for each in found)


def test_what_is_timed_is_a_product_of_the_kind_that_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "SIZE", 64)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 64, 64)).astype(np.float32)
    u, s = rng.integers(0, 256, (64, 64), np.uint8), rng.integers(-64, 64, (64, 64), np.int8)
    for kind, how, multiply in peak._products(1):
        result = multiply()
        (found,) = (result,) if not isinstance(result, list) else result
        found = np.asarray(found)
        assert found.dtype == (np.int32 if kind == "int8" else np.float32), how
        left = (s if how.startswith("torch") else u) if kind == "int8" else a
        wanted = left.astype(np.int64) @ s.astype(np.int64) if kind == "int8" else a @ b
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)
