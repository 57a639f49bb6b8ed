"""Formats: the laws of a quantizer, at every width, sign, symmetry and granularity."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowbit.core.errors import BadInput
from lowbit.quant.formats import Floats, Format, Granularity, QParams, qparams_of_range

WIDTHS = (2, 3, 4, 5, 6, 7, 8, 16)
ROUNDING = 2.0**-22  # of float32 numbers on the way, as a share of the largest one
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in divide")  # infinity saturates as well
law = settings(max_examples=80, deadline=None, derandomize=True)

formats = st.builds(Format, st.sampled_from(WIDTHS), st.booleans(), st.booleans())
numbers = st.floats(-1e6, 1e6, width=32)
ranges = st.tuples(numbers, numbers).map(lambda pair: (min(pair), max(pair)))
shares = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def inside(lo: float, hi: float, some: list[float]) -> Floats:
    """Numbers between lo and hi, both of them included."""
    low, high = min(lo, 0.0), max(hi, 0.0)
    return np.clip([low, high, *(low + share * (high - low) for share in some)], low, high).astype(np.float32)


@law
@given(formats, ranges, shares)
def test_inside_the_range_the_error_is_at_most_half_a_step(
    kind: Format, limits: tuple[float, float], some: list[float]
) -> None:
    x, qparams = inside(*limits, some), qparams_of_range(kind, *limits)
    error = np.abs(x.astype(np.float64) - qparams.dequantize(qparams.quantize(x)))
    step = float(qparams.scale)
    assert error.max() <= step / 2 + ROUNDING * (np.abs(x).max() + step)


@law
@given(formats, ranges, shares)
def test_codes_are_in_range_and_keep_the_order(kind: Format, limits: tuple[float, float], some: list[float]) -> None:
    far = np.array([-3e38, 3e38, *(6 * x for x in limits)], np.float32)
    x = np.sort(np.concatenate([inside(*limits, some), far]))
    codes = qparams_of_range(kind, *limits).quantize(x)
    assert codes.min() >= kind.lowest
    assert codes.max() <= kind.highest
    assert (np.diff(codes) >= 0).all()


@law
@given(formats, ranges)
def test_zero_is_exact_and_what_is_far_outside_takes_the_last_code(kind: Format, limits: tuple[float, float]) -> None:
    qparams = qparams_of_range(kind, *limits)
    low, zero, high = qparams.quantize(np.array([-3e38, 0, 3e38], np.float32))
    assert (low, zero, high) == (kind.lowest, qparams.zero_point, kind.highest)
    assert qparams.dequantize(np.array(zero)) == 0
    assert qparams.scale > 0
    assert qparams.scale.dtype == np.float32
    if kind.symmetric:
        assert zero == (0 if kind.signed else 2 ** (kind.bits - 1))


@law
@given(formats, ranges)
def test_every_code_stands_for_a_number_that_has_this_code(kind: Format, limits: tuple[float, float]) -> None:
    qparams = qparams_of_range(kind, *limits)
    codes = np.unique(np.linspace(kind.lowest, kind.highest, 300).astype(np.int32))
    np.testing.assert_array_equal(qparams.quantize(qparams.dequantize(codes)), codes)


@law
@given(formats, ranges)
def test_the_range_is_no_wider_than_it_must_be(kind: Format, limits: tuple[float, float]) -> None:
    lo, hi = min(limits[0], 0.0), max(limits[1], 0.0)
    scale, steps = float(qparams_of_range(kind, *limits).scale), 2**kind.bits - 1
    if hi - lo < 1e-30:
        return
    widest = max(-lo / (steps // 2 + 1), hi / (steps // 2)) if kind.symmetric else (hi - lo) / steps
    assert scale == pytest.approx(widest, rel=1e-6)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize(("lo", "hi"), [(2.0, 5.0), (0.0, 5.0)])
def test_positive_values_use_every_code_of_an_asymmetric_format(bits: int, lo: float, hi: float) -> None:
    qparams = qparams_of_range(Format(bits), lo, hi)
    assert qparams.zero_point == 0
    assert qparams.quantize(np.array([hi], np.float32)) == 2**bits - 1


@pytest.mark.parametrize("bits", WIDTHS)
def test_negative_values_use_every_code_of_an_asymmetric_format(bits: int) -> None:
    qparams = qparams_of_range(Format(bits, signed=True), -5.0, -2.0)
    assert qparams.zero_point == 2 ** (bits - 1) - 1
    assert qparams.quantize(np.array([-5], np.float32)) == -(2 ** (bits - 1))


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("end", [0.0, 1e-44, 1e-40])
@pytest.mark.parametrize("symmetric", [False, True])
def test_a_range_of_nothing_gives_an_ordinary_scale(bits: int, end: float, symmetric: bool) -> None:
    qparams = qparams_of_range(Format(bits, symmetric=symmetric), -end, end)
    assert qparams.scale >= np.finfo(np.float32).tiny
    x = np.array([-end, end], np.float32)
    np.testing.assert_allclose(qparams.dequantize(qparams.quantize(x)), x, rtol=0, atol=1e-37)


@law
@given(formats, st.floats(-126 + 20, 120))
def test_tiny_and_huge_ranges_scale_like_any_other(kind: Format, exponent: float) -> None:
    factor = 2.0 ** int(exponent)
    small, large = (qparams_of_range(kind, -0.7 * f, 1.3 * f) for f in (1.0, factor))
    assert large.scale == np.float32(factor) * small.scale
    assert large.zero_point == small.zero_point


@pytest.mark.parametrize("bits", WIDTHS[:-1])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_scale_a_channel_is_one_quantizer_a_channel(bits: int, axis: int) -> None:
    rng = np.random.default_rng(bits)
    kind = Format(bits, signed=True, granularity="channel")
    x = rng.normal(0, 1, (3, 4, 5)).astype(np.float32)
    singles = [qparams_of_range(Format(bits, signed=True), -0.5 - i, 2.0 * i + 1) for i in range(x.shape[axis])]
    joined = _joined(kind, singles, axis)
    codes = joined.quantize(x)
    for i, single in enumerate(singles):
        np.testing.assert_array_equal(codes.take(i, axis), single.quantize(np.asarray(x.take(i, axis))))
        np.testing.assert_array_equal(
            joined.dequantize(codes).take(i, axis), single.dequantize(np.asarray(codes.take(i, axis)))
        )


@pytest.mark.parametrize("bits", WIDTHS[:-1])
def test_one_scale_a_group_is_one_quantizer_a_group_of_rows(bits: int) -> None:
    outputs, groups, size = 3, 4, 5
    x = np.random.default_rng(bits).normal(0, 1, (outputs, groups * size)).astype(np.float32)
    kind = Format(bits, signed=True, granularity="group", group_size=size)
    parts = x.reshape(outputs, groups, size)
    singles = [[qparams_of_range(Format(bits, signed=True), p.min(), p.max()) for p in row] for row in parts]
    scale, zero = (np.array([[getattr(q, name) for q in row] for row in singles]) for name in ("scale", "zero_point"))
    grouped = QParams(kind, scale, zero)
    codes = grouped.quantize(x)
    for o, row in enumerate(singles):
        for g, single in enumerate(row):
            np.testing.assert_array_equal(codes[o, g * size : (g + 1) * size], single.quantize(parts[o, g]))
    assert (np.abs(grouped.dequantize(codes) - x) <= np.repeat(scale, size, 1) * 0.5001).all()


@st.composite
def quantizers(draw: st.DrawFn) -> tuple[Format, tuple[int, ...], tuple[int, ...], int | None]:
    """A format, a tensor's shape of rank 1 to 4, the shape of its scales, and the axis of its channels."""
    granularity: Granularity = draw(st.sampled_from(("tensor", "channel", "group")))
    bits, signed, symmetric = draw(st.sampled_from(WIDTHS)), draw(st.booleans()), draw(st.booleans())
    if granularity == "group":
        outputs, groups, size = (draw(st.integers(1, 4)) for _ in range(3))
        form = Format(bits, signed, symmetric, "group", size)
        return form, (outputs, groups * size), (outputs, groups), None
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    form = Format(bits, signed, symmetric, granularity)
    if granularity == "tensor":
        return form, shape, (), None
    axis = draw(st.integers(0, len(shape) - 1))
    return form, shape, tuple(size if i == axis else 1 for i, size in enumerate(shape)), axis


def block_of(place: tuple[int, ...], form: Format, axis: int | None) -> tuple[int, ...]:
    """Which entry of the scales belongs to the number at `place`, in words of each granularity."""
    if form.group_size is not None:
        output, column = place
        return output, column // form.group_size
    return () if axis is None else tuple(index if i == axis else 0 for i, index in enumerate(place))


@law
@given(quantizers(), st.integers(0, 99))
def test_one_law_for_every_granularity_and_rank(
    drawn: tuple[Format, tuple[int, ...], tuple[int, ...], int | None], seed: int
) -> None:
    form, shape, scales, axis = drawn
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 10.0 ** rng.integers(-3, 4), shape).astype(np.float32)
    block = {place: block_of(place, form, axis) for place in np.ndindex(shape)}
    singles = {}
    for one in np.ndindex(scales):
        own = [float(x[place]) for place in block if block[place] == one]
        singles[one] = qparams_of_range(form, min(own), max(own))
    scale, zero_point = np.empty(scales, np.float32), np.empty(scales, np.int32)
    for one, single in singles.items():
        scale[one], zero_point[one] = single.scale, single.zero_point
    qparams = QParams(form, scale, zero_point, axis)
    codes = qparams.quantize(x)
    real, centred = qparams.dequantize(codes), qparams.centred(codes)
    assert codes.shape == real.shape == centred.shape == shape
    for place, one in block.items():
        step, zero = float(scale[one]), int(zero_point[one])
        code = int(np.clip(np.rint(x[place] / scale[one]) + zero, form.lowest, form.highest))
        assert codes[place] == code
        assert centred[place] == code - zero
        assert real[place] == np.float32((code - zero) * step)
        assert abs(float(real[place]) - float(x[place])) <= step / 2 + ROUNDING * (abs(float(x[place])) + step)


@pytest.mark.parametrize(("scales", "axis"), [((4, 1), 1), ((4, 2), 0), ((4,), 1), ((1, 1, 4), -1)])
def test_channels_lie_along_their_axis_only(scales: tuple[int, ...], axis: int) -> None:
    with pytest.raises(ValueError, match=f"along axis {axis}: expected the tensor's rank"):
        QParams(Format(4, granularity="channel"), np.ones(scales, np.float32), np.zeros(scales, np.int32), axis)


def test_every_scale_has_its_zero_point() -> None:
    with pytest.raises(ValueError, match="expected one shape of both"):
        QParams(Format(4), np.ones((4, 1), np.float32), np.zeros(4, np.int32))


@pytest.mark.parametrize("shape", [(4, 7), (3, 4), (6,), (2, 6, 1)])
def test_a_tensor_that_scales_do_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    form = Format(4, granularity="group", group_size=3)
    grouped = QParams(form, np.ones((4, 2), np.float32), np.zeros((4, 2), np.int32))
    with pytest.raises(ValueError, match="expected its rank, and divisors of its sizes"):
        grouped.dequantize(np.zeros(shape, np.int32))


def test_half_a_step_rounds_to_the_even_code() -> None:
    qparams = QParams(Format(8), np.array(1, np.float32), np.array(10, np.int32))
    np.testing.assert_array_equal(qparams.quantize(np.array([0.5, 1.5, 2.5, -0.5], np.float32)), [10, 12, 12, 10])


@pytest.mark.parametrize("bits", [-1, 0, 1, 9, 10, 15, 17, 32])
def test_other_widths_are_refused(bits: int) -> None:
    with pytest.raises(BadInput, match=f"{bits} bits: expected"):
        Format(bits)


@pytest.mark.parametrize(
    "arguments",
    [{"granularity": "group"}, {"group_size": 4}, {"granularity": "channel", "group_size": 4},
     {"granularity": "group", "group_size": 0}],
)  # fmt: skip
def test_groups_have_a_size_and_nothing_else_has(arguments: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="group size"):
        Format(4, **arguments)


def test_a_reduced_range_keeps_two_products_within_16_bits() -> None:
    reduced = Format(8, signed=True, symmetric=True, reduced=True)
    assert (reduced.lowest, reduced.highest) == (-64, 63)
    assert 2 * 255 * reduced.farthest < 2**15 <= 2 * 255 * Format(8, signed=True, symmetric=True).farthest
    assert Format(7, signed=True, symmetric=True).farthest == 64
    assert Format(7).farthest == 127
    qparams = qparams_of_range(reduced, -6.4, 1.0)
    assert int(qparams.quantize(np.array([-6.4], np.float32))[0]) == -64
    assert qparams.zero_point == 0


@pytest.mark.parametrize("arguments", [(7, True, True), (8, False, True), (8, True, False)])
def test_only_symmetric_weights_of_8_bits_have_a_reduced_range(arguments: tuple[int, bool, bool]) -> None:
    with pytest.raises(BadInput, match="reduced range"):
        Format(*arguments, reduced=True)


def _joined(kind: Format, singles: list[QParams], axis: int) -> QParams:
    scale, zero = (np.array([getattr(single, name) for single in singles]) for name in ("scale", "zero_point"))
    return QParams.of_channels(kind, scale, zero, axis, 3)
