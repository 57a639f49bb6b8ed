import math
from functools import reduce

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowbit.core.errors import BadInput
from lowbit.quant.formats import Format, qparams_of_range
from lowbit.quant.plan.plan import RangeMethod
from lowbit.quant.ranges.limits import BINS, Histogram, Range, limits

Floats = npt.NDArray[np.float32]
METHODS: tuple[RangeMethod, ...] = ("min-max", "percentile", "mse", "entropy")
law = settings(max_examples=60, deadline=None, derandomize=True)

magnitudes = st.floats(2.0**-40, 2.0**40, width=32) | st.floats(0.5, 8, width=32)
numbers = st.just(0.0) | magnitudes | magnitudes.map(lambda x: -x)
batches = st.lists(numbers, min_size=1, max_size=40).map(lambda x: np.array(x, np.float32))
positives = st.lists(st.just(0.0) | magnitudes, min_size=1, max_size=40).map(lambda x: np.array(x, np.float32))
formats = st.sampled_from((2, 3, 4, 5, 6, 7, 8, 16)).flatmap(
    lambda bits: st.sampled_from((Format(bits), Format(bits, signed=True), Format(bits, signed=True, symmetric=True)))
)


def counted(values: Floats, exponent: int | None = None) -> Histogram:
    """The histogram by its definition, one value at a time in double precision."""
    seen = Range(float(values.min()), float(values.max()))
    exponent = seen.exponent if exponent is None else exponent
    counts = np.zeros(2 * BINS + 1, np.int64)
    for value in values.ravel().tolist():
        steps = math.ceil(abs(value) / 2.0**exponent)
        counts[BINS + (steps if value > 0 else -steps)] += 1
    return Histogram(seen, exponent, counts)


def same(a: Histogram, b: Histogram) -> bool:
    return a.range == b.range and a.exponent == b.exponent and np.array_equal(a.counts, b.counts)


def spread(name: str, count: int = 600) -> Floats:
    """Values as activations have them: one-sided, two-sided, skewed, with spikes at zero and at 6."""
    rng = np.random.default_rng(len(name))
    values: dict[str, npt.NDArray[np.float64]] = {
        "relu": np.maximum(rng.normal(0.3, 1, count), 0),
        "relu6": np.clip(rng.normal(1, 4, count), 0, 6),
        "linear": rng.normal(0.2, 1, count),
        "heavy-tailed": rng.laplace(0, 1, count),
        "swish": (x := rng.normal(0, 3, count)) / (1 + np.exp(-x)),
        "negative": -np.abs(rng.normal(0, 1, count)),
        "far-from-zero": rng.uniform(4, 5, count),
    }
    return values[name].astype(np.float32)


SPREADS = ("relu", "relu6", "linear", "heavy-tailed", "swish", "negative", "far-from-zero")


def error_of(values: Floats, kind: Format, lo: float, hi: float) -> float:
    """The mean squared error of really quantizing `values`."""
    qparams = qparams_of_range(kind, lo, hi)
    return float(np.mean((values - qparams.dequantize(qparams.quantize(values))) ** 2))


@law
@given(numbers, numbers)
def test_bins_hold_the_range_and_are_no_wider_than_they_must_be(a: float, b: float) -> None:
    seen = Range(min(a, b), max(a, b))
    largest = max(abs(a), abs(b))
    assert largest <= BINS * 2.0**seen.exponent
    assert largest == 0 or largest > BINS * 2.0 ** (seen.exponent - 1)


@law
@given(st.lists(batches, min_size=2, max_size=5))
def test_merging_in_any_order_and_grouping_equals_observing_at_once(parts: list[Floats]) -> None:
    at_once = counted(np.concatenate(parts))
    observed = [counted(part) for part in parts]
    assert same(reduce(Histogram.merge, observed), at_once)
    assert same(reduce(lambda a, b: b.merge(a), observed), at_once)
    assert same(observed[0].merge(reduce(Histogram.merge, observed[1:])), at_once)


@law
@given(batches, st.integers(0, 20))
def test_wider_bins_are_those_that_counting_would_have_given(values: Floats, doublings: int) -> None:
    narrow, empty = counted(values), np.zeros(2 * BINS + 1, np.int64)
    wide = narrow.merge(Histogram(Range(), narrow.exponent + doublings, empty))
    assert same(wide, counted(values, narrow.exponent + doublings))


@law
@given(batches | positives, st.sampled_from(METHODS), formats)
def test_limits_are_ordered_and_observed_and_the_quantizer_holds_zero(
    values: Floats, method: RangeMethod, kind: Format
) -> None:
    lo, hi = limits(counted(values), method, kind)
    assert values.min() <= lo <= hi <= values.max()
    qparams = qparams_of_range(kind, lo, hi)
    assert qparams.dequantize(qparams.quantize(np.zeros(1, np.float32))) == 0


@law
@given(batches, st.sampled_from(METHODS), formats)
def test_limits_know_no_order(values: Floats, method: RangeMethod, kind: Format) -> None:
    assert limits(counted(values), method, kind) == limits(counted(values[::-1]), method, kind)


@law
@given(numbers, st.integers(1, 9), st.sampled_from(METHODS), formats)
def test_a_constant_is_its_own_limits(value: float, count: int, method: RangeMethod, kind: Format) -> None:
    c = float(np.float32(value))
    assert limits(counted(np.full(count, c, np.float32)), method, kind) == (c, c)


@pytest.mark.parametrize("name", SPREADS)
@pytest.mark.parametrize("method", METHODS)
def test_a_scaled_tensor_has_scaled_limits(name: str, method: RangeMethod) -> None:
    values, kind = spread(name), Format(4)
    lo, hi = limits(counted(values), method, kind)
    assert limits(counted(values * np.float32(64)), method, kind) == (64 * lo, 64 * hi)


def test_min_max_is_exact() -> None:
    values = spread("linear")
    assert limits(counted(values), "min-max", Format(8)) == (values.min(), values.max())


@pytest.mark.parametrize("name", SPREADS)
@pytest.mark.parametrize("count", [1, 10, 600, 5000])
def test_percentile_is_the_quantile_to_within_a_bin(name: str, count: int) -> None:
    values = np.sort(spread(name, count))
    histogram = counted(values)
    width = 2.0**histogram.exponent
    two_sided = values[0] < 0 < values[-1]
    cut = count * (0.0005 if two_sided else 0.001)  # values that may lie outside, at one end
    lo, hi = limits(histogram, "percentile", Format(8))
    expected_hi = next(v for v in values if np.sum(values > v) <= cut + 1e-9) if values[-1] > 0 else values[-1]
    expected_lo = next(v for v in values[::-1] if np.sum(values < v) <= cut + 1e-9) if values[0] < 0 else values[0]
    assert hi == pytest.approx(float(expected_hi), abs=width)
    assert lo == pytest.approx(float(expected_lo), abs=width)


@law
@given(batches)
def test_percentile_of_mirrored_values_is_mirrored(values: Floats) -> None:
    lo, hi = limits(counted(values), "percentile", Format(8))
    assert limits(counted(-values), "percentile", Format(8)) == (-hi, -lo)


@pytest.mark.parametrize("name", SPREADS)
@pytest.mark.parametrize(
    "kind", [Format(2), Format(3), Format(4), Format(5), Format(4, signed=True, symmetric=True)], ids=str
)
def test_mse_is_close_to_the_best_of_all_limits(name: str, kind: Format) -> None:
    values = spread(name)
    least = min(
        error_of(values, kind, float(lo), float(hi))
        for lo in np.linspace(min(values.min(), 0), 0, 40 if values.min() < 0 else 1)
        for hi in np.linspace(max(values.max(), 0), 0, 40 if values.max() > 0 else 1)
    )
    assert error_of(values, kind, *limits(counted(values), "mse", kind)) <= 1.04 * least


@pytest.mark.parametrize("name", SPREADS)
def test_mse_at_eight_bits_is_no_worse_than_min_max(name: str) -> None:
    values, kind = spread(name, 5000), Format(8)
    best = error_of(values, kind, *limits(counted(values), "mse", kind))
    assert best <= 1.02 * error_of(values, kind, float(values.min()), float(values.max()))


def test_mse_of_zeros_costs_nothing_however_many_they_are() -> None:
    values = spread("relu")
    with_zeros = np.concatenate([values, np.zeros(100_000, np.float32)])
    assert limits(counted(with_zeros), "mse", Format(3)) == limits(counted(values), "mse", Format(3))


@pytest.mark.parametrize("name", SPREADS)
@pytest.mark.parametrize("kind", [Format(2), Format(4), Format(8), Format(4, signed=True, symmetric=True)], ids=str)
def test_entropy_is_the_smallest_divergence_computed_bin_by_bin(name: str, kind: Format) -> None:
    histogram = counted(spread(name, 400))
    lo, hi = limits(histogram, "entropy", kind)
    width = 2.0**histogram.exponent
    chosen = round(max(abs(lo), abs(hi)) / width + 0.499)
    widest = math.ceil(max(abs(histogram.range.lo), abs(histogram.range.hi)) / width)
    ours = divergence(histogram, kind, chosen)
    assert math.isfinite(ours)
    tried = np.unique(np.linspace(1 << kind.bits, widest, 128).astype(int))
    assert chosen in tried
    assert ours <= min(divergence(histogram, kind, int(reach)) for reach in tried) + 1e-9


def divergence(histogram: Histogram, kind: Format, reach: int) -> float:
    """KL(P ‖ Q) with limits `reach` bins from zero, by the definition in Migacz's slides; the zero bin is left out."""
    width, seen = 2.0**histogram.exponent, histogram.range
    lo, hi = max(seen.lo, -reach * width), min(seen.hi, reach * width)
    qparams = qparams_of_range(kind, lo, hi)
    p: dict[int, float] = {}
    q: dict[int, list[int]] = {}
    first, last = (-reach if lo < 0 else 1), (reach if hi > 0 else -1)
    inside = 0
    for index in np.flatnonzero(histogram.counts).tolist():
        k, count = index - BINS, int(histogram.counts[index])
        if k != 0:
            inside += count if first <= k <= last else 0
            p[min(max(k, first), last)] = p.get(min(max(k, first), last), 0) + count
    middles = np.array([(k - 0.5 if k > 0 else k + 0.5) * width for k in p])
    for k, code in zip(p, qparams.quantize(middles).tolist(), strict=True):
        q.setdefault(code, []).append(k)
    found = 0.0
    for members in q.values():
        level = sum(int(histogram.counts[k + BINS]) for k in members) / len(members) / max(inside, 1)
        for k in members:
            share = p[k] / sum(p.values())
            found += share * math.log(share / level) if level else math.inf
    return found


def test_sixteen_bits_leave_nothing_to_gain_by_entropy() -> None:
    values = spread("linear")
    assert limits(counted(values), "entropy", Format(16)) == (values.min(), values.max())


def test_fixed_limits_are_not_calibrated() -> None:
    with pytest.raises(BadInput, match="'fixed'"):
        limits(counted(spread("relu")), "fixed", Format(8))
