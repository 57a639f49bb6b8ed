"""Confidence intervals and tests for counts of correct predictions; exact where that is affordable."""

from fractions import Fraction
from math import exp, lgamma, log, log1p, sqrt

_Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


def wilson(correct: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval for `correct` of `n`, as fractions (Wilson 1927).

    >>> low, high = wilson(9173, 10000)
    >>> round(low, 4), round(high, 4)
    (0.9117, 0.9225)
    """
    share = correct / n
    centre = share + _Z95**2 / (2 * n)
    margin = _Z95 * sqrt(share * (1 - share) / n + _Z95**2 / (4 * n**2))
    scale = 1 + _Z95**2 / n
    low = (centre - margin) / scale if correct else 0.0  # exactly 0 or 1, without the formula's rounding error
    high = (centre + margin) / scale if correct < n else 1.0
    return low, high


def above_chance(correct: int, n: int, chance: float) -> float:
    """One-sided p-value of `correct` or more successes in `n`, each with probability `chance` (0 < chance < 1).

    The binomial test is exact.

    >>> above_chance(0, 100, 0.1), round(above_chance(3, 3, 0.5), 6)
    (1.0, 0.125)
    """
    if correct <= n * chance:
        return 1.0  # at or below the mean of the distribution: no evidence
    terms = (
        lgamma(n + 1) - lgamma(i + 1) - lgamma(n - i + 1) + i * log(chance) + (n - i) * log1p(-chance)
        for i in range(correct, n + 1)
    )
    return min(1.0, sum(map(exp, terms)))


def paired_margin(b: int, c: int, n: int) -> float:
    """Half of the 95 % interval of (c - b) / n, a difference of two shares of the same n images.

    `b` and `c` count the images that only one of two models got right. Half an image is added to each, so that no
    difference at all is no certainty (Agresti and Min 2005, "Simple improved confidence intervals for comparing matched
    proportions").

    >>> round(paired_margin(0, 0, 392), 4), round(paired_margin(30, 10, 1000), 4)
    (0.005, 0.0125)
    """
    b_more, c_more, n_more = b + 0.5, c + 0.5, n + 2
    return _Z95 * sqrt(b_more + c_more - (c_more - b_more) ** 2 / n_more) / n_more


def mcnemar(b: int, c: int) -> float:
    """McNemar's exact two-sided p-value: `b` and `c` count the images that only one of two models got right.

    Under the null hypothesis b is binomial with n = b + c and share 1/2 (McNemar 1947; exact form).

    >>> mcnemar(0, 0), mcnemar(5, 0), mcnemar(3, 3)
    (1.0, 0.0625, 1.0)
    """
    n, fewer = b + c, min(b, c)
    term = total = 1  # comb(n, i) for i = 0, and their sum
    for i in range(1, fewer + 1):
        term = term * (n - i + 1) // i
        total += term
    return min(1.0, float(Fraction(2 * total, 2**n)))
