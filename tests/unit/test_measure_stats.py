from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from lowbit.measure.stats import above_chance, mcnemar, paired_margin, wilson


@given(st.integers(1, 10_000), st.data())
def test_wilson_agrees_with_scipy(n: int, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, n))
    expected = binomtest(correct, n).proportion_ci(method="wilson")
    assert wilson(correct, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize("n", [1, 60, 1000, 50_000])
def test_wilson_of_none_and_of_all_is_exact_at_its_end(n: int) -> None:
    assert wilson(0, n)[0] == 0.0
    assert wilson(n, n)[1] == 1.0


@given(st.integers(1, 5000), st.floats(0.001, 0.9), st.data())
def test_above_chance_is_the_one_sided_binomial_test(n: int, chance: float, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, n))
    expected = binomtest(correct, n, chance, alternative="greater").pvalue
    found = above_chance(correct, n, chance)
    assert found == 1.0 if correct <= n * chance else found == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_exact_binomial_test_and_does_not_care_for_the_order(b: int, c: int) -> None:
    expected = binomtest(b, b + c).pvalue if b + c else 1.0
    assert mcnemar(b, c) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(b, c) == mcnemar(c, b)


def test_mcnemar_of_ten_thousand_pairs_neither_overflows_nor_rounds_to_nonsense() -> None:
    assert mcnemar(5200, 4800) == pytest.approx(binomtest(5200, 10_000).pvalue, rel=1e-9)
    assert 0 <= mcnemar(10_000, 0) < 1e-300
    assert mcnemar(1, 9) == 2 * (comb(10, 0) + comb(10, 1)) / 2**10


@pytest.mark.parametrize(("only_first", "only_second"), [(0.004, 0.004), (0.02, 0.01), (0.1, 0.15)])
def test_the_paired_margin_covers_the_true_difference(only_first: float, only_second: float) -> None:
    rng, n = np.random.default_rng(0), 800
    counts = rng.multinomial(n, [only_first, only_second, 1 - only_first - only_second], size=2000)
    missed = sum(abs((c - b) / n - (only_second - only_first)) > paired_margin(int(b), int(c), n) for b, c, _ in counts)
    assert missed / len(counts) < 0.06  # of a 95 % interval
