"""From what was observed of an activation to the limits of its quantizer: min–max, percentile, MSE or entropy.

A histogram's bins are as wide as a power of two, a multiple of which is the next width: histograms of different tensors
and batches add up exactly, in any order, and zeros, which every quantizer represents exactly, are counted apart.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lowbit.core.errors import BadInput
from lowbit.quant.formats import Format
from lowbit.quant.plan.plan import RangeMethod

BINS = 2048  # on each side of zero; at least half of those on the wider side are in use
COVERED = 0.999  # share of all values that the limits of `percentile` hold

FINEST = -126  # exponent of the narrowest bins: their width and its inverse are ordinary float32 numbers
_COARSE = 48  # candidates of a search over several powers of two …
_FINE = 16  # … and of the closer one between the neighbours of its best
_DEEPEST = 1 / 256  # clipping tries limits down to this share of the observed ones
_THRESHOLDS = 128  # candidates of the entropy method

Counts = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Range:
    """Smallest and largest value seen, exactly. Nothing seen: lo = inf, hi = −inf."""

    lo: float = math.inf
    hi: float = -math.inf

    def merge(self, other: "Range") -> "Range":
        """The range of both."""
        return Range(min(self.lo, other.lo), max(self.hi, other.hi))

    @property
    def exponent(self) -> int:
        """The e of the narrowest bins, 2ᵉ wide, that hold the range: max(|lo|, |hi|) ≤ BINS · 2ᵉ."""
        fraction, exponent = math.frexp(max(abs(self.lo), abs(self.hi)))  # fraction in [½, 1), or 0 for nothing but 0
        return max(exponent - (fraction == 0.5) - BINS.bit_length() + 1, FINEST) if fraction else FINEST


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """How often values fell into bins of width w = 2^exponent, `range.exponent` of what was seen.

    counts: int64 [2 · BINS + 1]. With k = index − BINS, bin k > 0 counts (k−1)·w < x ≤ k·w, bin k < 0 counts
    k·w ≤ x < (k+1)·w, and bin 0 exact zeros only.
    """

    range: Range
    exponent: int
    counts: Counts = field(repr=False)

    def merge(self, other: "Histogram") -> "Histogram":
        """What observing both at once would have given: exact, associative and commutative."""
        exponent = max(self.exponent, other.exponent)
        counts = coarser(self.counts, exponent - self.exponent) + coarser(other.counts, exponent - other.exponent)
        return Histogram(self.range.merge(other.range), exponent, counts)


def coarser(counts: Counts, doublings: int) -> Counts:
    """The counts in bins 2^doublings as wide: bin k goes to the k/2^doublings next away from zero."""
    if doublings == 0:
        return counts
    joined = 1 << min(doublings, BINS.bit_length() - 1)  # at most all bins of a side
    wide = np.zeros_like(counts)
    wide[BINS] = counts[BINS]
    wide[BINS + 1 :][: BINS // joined] = counts[BINS + 1 :].reshape(-1, joined).sum(1)
    wide[:BINS][BINS - BINS // joined :] = counts[:BINS].reshape(-1, joined).sum(1)
    return wide


def limits(histogram: Histogram, method: RangeMethod, kind: Format) -> tuple[float, float]:
    """The (lo, hi) that a quantizer of `kind` should cover; within the observed range, lo ≤ hi.

    They need not hold zero: `qparams_of_range` widens them. A constant tensor gives (c, c) by every method.
    BadInput for the method `fixed`, which observes nothing.
    """
    seen = histogram.range
    if method == "min-max" or seen.lo == seen.hi:
        return seen.lo, seen.hi
    if method not in _METHODS:
        raise BadInput(f"range method {method!r}: expected min-max, {', '.join(_METHODS)} where ranges are calibrated")
    lo, hi = _METHODS[method](histogram, kind)
    lo = min(max(lo, seen.lo), seen.hi)
    return lo, max(min(hi, seen.hi), lo)


# -- percentile


def _percentile(histogram: Histogram, kind: Format) -> tuple[float, float]:  # noqa: ARG001 - all methods take both
    """Limits that hold 99.9 % of all values, zeros included: 0.05 % are cut at each end of two-sided data.

    One-sided data (nothing below zero, or nothing above) lose all 0.1 % at their far end. Linear inside a bin.
    """
    seen = histogram.range
    cut = 1 - COVERED if seen.lo >= 0 or seen.hi <= 0 else (1 - COVERED) / 2
    width = 2.0**histogram.exponent
    hi = width * _quantile(histogram.counts, 1 - cut) if seen.hi > 0 else seen.hi
    lo = -width * _quantile(histogram.counts[::-1], 1 - cut) if seen.lo < 0 else seen.lo
    return lo, hi


def _quantile(counts: Counts, share: float) -> float:
    """The smallest x, in bins from zero, with at least `share` of the values at or below it."""
    below = np.concatenate([[0], np.cumsum(counts)])
    wanted = share * float(below[-1])
    k = max(int(np.searchsorted(below, wanted)) - 1, 0)  # the first bin at whose end the share is reached
    inside = (wanted - float(below[k])) / max(float(counts[k]), 1.0)
    if k == BINS:
        return 0.0
    return k - BINS + inside - (1 if k > BINS else 0)


# -- mean squared error


def _mse(histogram: Histogram, kind: Format) -> tuple[float, float]:
    """Limits with the least expected squared error of quantizing (clipping and rounding together).

    Both ends are searched where data are two-sided: first together, then each with the other one held.
    """
    seen = histogram.range
    counts = np.delete(histogram.counts, BINS)  # zeros have no error
    first, last = np.flatnonzero(counts)[[0, -1]]
    edges = np.arange(first - BINS, last + 2 - BINS) * 2.0**histogram.exponent
    edges = np.minimum(edges, seen.hi) if seen.hi > 0 else edges
    edges = np.maximum(edges, seen.lo) if seen.lo < 0 else edges
    density = counts[first : last + 1] / np.diff(edges)

    def best(lo: float, hi: float, low: bool, high: bool) -> tuple[float, float]:
        """The best limits when (lo, hi), or the one end that may, shrinks towards zero."""
        shares = np.geomspace(_DEEPEST, 1, _COARSE)
        for fine in (False, True):
            los, his = (end * (shares if free else np.ones_like(shares)) for end, free in ((lo, low), (hi, high)))
            at = int(np.argmin(_errors(edges, density, los, his, kind)))
            if not fine:
                shares = np.linspace(shares[max(at - 1, 0)], shares[min(at + 1, _COARSE - 1)], _FINE)
        return float(los[at]), float(his[at])

    lo, hi = best(min(seen.lo, 0.0), max(seen.hi, 0.0), True, True)
    if seen.lo < 0 < seen.hi and not kind.symmetric:
        _, hi = best(lo, seen.hi, False, True)
        lo, _ = best(seen.lo, hi, True, False)
    return lo, hi


def _errors(edges: _Floats, density: _Floats, los: _Floats, his: _Floats, kind: Format) -> _Floats:
    """Σ over bins of density · ∫ (x − dq(q(x)))² dx, for each candidate (lo, hi); values spread evenly inside a bin.

    With y = x/scale and n the nearest code (saturated), the integral from 0 to y is n/12 + (y − n)³/3.
    """
    scale, lowest, highest = _grid(kind, los, his)
    y = edges / scale[:, None]
    n = np.clip(np.rint(y), lowest[:, None], highest[:, None])
    y -= n
    integral = y * y
    integral *= y
    integral /= 3
    n /= 12
    integral += n
    found: _Floats = np.diff(integral, axis=1) @ density * scale**3
    return found


def _grid(kind: Format, los: _Floats, his: _Floats) -> tuple[_Floats, _Floats, _Floats]:
    """Scale and the lowest and highest code − zero_point of each range, as `qparams_of_range` chooses them."""
    los, his = np.minimum(los, 0.0), np.maximum(his, 0.0)
    half = 1 << (kind.bits - 1)
    if kind.symmetric:
        scale = np.maximum(-los / half, his / (half - 1))
        return scale, np.full_like(scale, -half), np.full_like(scale, half - 1)
    scale = (his - los) / (2 * half - 1)
    lowest = -np.clip(np.rint(-los / scale), 0, 2 * half - 1)
    return scale, lowest, lowest + (2 * half - 1)


# -- entropy


def _entropy(histogram: Histogram, kind: Format) -> tuple[float, float]:
    """Limits that lose the least information, as TensorRT calibrates (Migacz, GTC 2017), at any number of levels.

    For each threshold T, values beyond ±T saturate: P has their mass in its end bins. Q is what is inside, averaged
    within each level over its bins that are not empty. The T with the smallest KL(P ‖ Q) wins. Zeros are left out: all
    candidates hold them exactly, and behind a ReLU they would decide everything.
    """
    counts = np.delete(histogram.counts, BINS)
    seen, width = histogram.range, 2.0**histogram.exponent
    levels = 1 << kind.bits
    widest = math.ceil(max(abs(seen.lo), abs(seen.hi)) / width)
    if levels >= widest:
        return seen.lo, seen.hi
    reach = np.unique(np.linspace(levels, widest, _THRESHOLDS).astype(np.int64))  # T in bins
    los, his = np.maximum(-reach * width, seen.lo), np.minimum(reach * width, seen.hi)
    divergence = _divergence(counts, width, los, his, reach, kind)
    best = len(reach) - 1 - int(np.argmin(divergence[::-1]))  # the widest of equals
    return float(los[best]), float(his[best])


def _divergence(
    counts: Counts, width: float, los: _Floats, his: _Floats, reach: Counts, kind: Format
) -> npt.NDArray[np.float64]:
    """KL(P ‖ Q) in nats for each candidate, from cumulative sums at the levels' borders; inf where Q misses mass."""
    begin = BINS - np.where(los < 0, reach, 0)  # the bins inside are begin … end − 1
    end = BINS + np.where(his > 0, reach, 0)
    mass, used, entropy = (np.concatenate([[0], np.cumsum(c)]) for c in (counts, counts > 0, _x_log_x(counts)))
    below, above = mass[begin], mass[-1] - mass[end]

    scale, lowest, _ = _grid(kind, los, his)
    middles = lowest[:, None] + np.arange((1 << kind.bits) - 1) + 0.5  # between one level and the next
    borders = np.ceil(middles * (scale / width)[:, None] - 0.5).astype(np.int64) + BINS
    borders = np.clip(borders, begin[:, None], end[:, None])
    borders = np.concatenate([begin[:, None], borders, end[:, None]], axis=1)
    q = np.diff(mass[borders], axis=1).astype(np.float64)
    bins = np.diff(used[borders], axis=1)
    p, own = q.copy(), entropy[end] - entropy[begin]
    inside = np.diff(borders, axis=1) > 0  # levels with bins
    lowest_level, highest_level = inside.argmax(1), inside.shape[1] - 1 - inside[:, ::-1].argmax(1)
    rows = np.arange(len(reach))
    for level, k, outside in ((lowest_level, begin, below), (highest_level, end - 1, above)):
        p[rows, level] += outside
        bins[rows, level] += (outside > 0) & (counts[k] == 0)
        own += _x_log_x(counts[k] + outside) - _x_log_x(counts[k])
    with np.errstate(divide="ignore", invalid="ignore"):
        cross = np.where(p > 0, p * np.log(q / bins), 0.0).sum(1)
        found: _Floats = (own - cross) / mass[-1] - math.log(mass[-1]) + np.log(mass[end] - mass[begin])
    found[mass[end] == mass[begin]] = np.inf
    return found


def _x_log_x(x: Counts) -> _Floats:
    logarithms: _Floats = np.log(np.maximum(x, 1), dtype=np.float64)
    return x * logarithms


_METHODS: dict[RangeMethod, Callable[[Histogram, Format], tuple[float, float]]] = {
    "percentile": _percentile,
    "mse": _mse,
    "entropy": _entropy,
}
