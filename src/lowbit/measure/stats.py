"""What a count of right answers is worth: intervals and tests, exact where that is affordable."""

from fractions import Fraction
from math import sqrt

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
    return max(0.0, (centre - margin) / scale), min(1.0, (centre + margin) / scale)


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
