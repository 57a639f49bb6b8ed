"""Rounding: the statistics of a layer's inputs, the search for scales, GPTQ with descent, the closed form."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowbit.core.errors import BadInput
from lowbit.quant.formats import Format
from lowbit.quant.rounding.closed_form import closed_form
from lowbit.quant.rounding.fine_scales import best_of_several, fitted
from lowbit.quant.rounding.gptq import Problem, descend, feedback_of, gptq
from lowbit.quant.rounding.moments import Moments
from lowbit.quant.rounding.nearest import nearest
from lowbit.quant.rounding.ridge import RIDGES
from lowbit.quant.rounding.scales import Doubles, Rounded, nearest_codes, search

SYMMETRIC = Format(4, signed=True, symmetric=True, granularity="channel")
ASYMMETRIC = Format(2, granularity="channel")


def formats() -> st.SearchStrategy[Format]:
    """Every kind that weights of 12 rows may have."""
    kinds = itertools.product(
        range(2, 9), (True, False), (True, False), (("tensor", None), ("channel", None), ("group", 4))
    )
    return st.sampled_from(
        [
            Format(bits, signed, symmetric, granularity, size)  # type: ignore[arg-type]
            for bits, signed, symmetric, (granularity, size) in kinds
            if symmetric or bits < 8
        ]
    )


def columns(groups: int, rows: int, count: int, *, seed: int = 0, off: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Correlated inputs far from zero mean, and the same with an error that depends on them: float32 [G, K, P]."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(groups, rows, rows)) @ rng.normal(size=(groups, rows, count)) / np.sqrt(rows)
    f = np.maximum(mixed + 1, 0)
    q = f * (1 - off) + off * rng.normal(size=f.shape) + off
    return f.astype(np.float32), q.astype(np.float32)


def moments(f: np.ndarray, q: np.ndarray, *sizes: int) -> Moments:
    """Fed with the columns in pieces of `sizes`, then the rest."""
    seen, start = Moments(f.shape[0], f.shape[1]), 0
    for size in (*sizes, f.shape[2]):
        piece = slice(start, start + size)
        seen.update(f[:, :, piece].transpose(2, 0, 1), q[:, :, piece].transpose(2, 0, 1))
        start += size
    return seen


def two_parts(f: np.ndarray, q: np.ndarray, cut: int) -> tuple[Moments, Moments]:
    """The first `cut` columns to fit, the others held out."""
    return moments(f[:, :, :cut], q[:, :, :cut]), moments(f[:, :, cut:], q[:, :, cut:])


def layer(groups: int, outputs: int, rows: int, seed: int = 1) -> tuple[Doubles, Doubles]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(groups, outputs, rows)), rng.normal(size=(groups, outputs))


def real(rounded: Rounded) -> Doubles:
    """The weights that the codes stand for, [G, O, K]."""
    each = rounded.codes.shape[2] // rounded.scale.shape[2]
    scale, zero = (np.repeat(a.astype(np.float64), each, 2) for a in (rounded.scale, rounded.zero_point))
    return np.asarray((rounded.codes - zero) * scale, np.float64)


def output_error(weight: Doubles, bias: Doubles, rounded: Rounded, f: np.ndarray, q: np.ndarray) -> float:
    """Mean squared difference of the layer's outputs."""
    wanted = weight @ f.astype(np.float64) + bias[:, :, None]
    return float(np.square(wanted - real(rounded) @ q.astype(np.float64) - rounded.bias[:, :, None]).mean())


def check_sane(rounded: Rounded, kind: Format, shape: tuple[int, int, int]) -> None:
    assert rounded.codes.shape == shape and rounded.codes.dtype == np.int32
    assert rounded.codes.min() >= kind.lowest and rounded.codes.max() <= kind.highest
    each = 1 if kind.group_size is None else shape[2] // kind.group_size
    assert rounded.scale.shape == rounded.zero_point.shape == (*shape[:2], each)
    assert rounded.scale.dtype == np.float32 and np.isfinite(rounded.scale).all() and (rounded.scale > 0).all()
    integers = np.rint(real(rounded) / np.repeat(rounded.scale, shape[2] // each, 2))
    assert integers.min() >= -128 and integers.max() <= 127
    assert np.isfinite(rounded.bias).all() and rounded.bias.shape == shape[:2]


# ------------------------------------------------------------------------------------------------ moments


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(0, 40), max_size=4), groups=st.integers(1, 3), rows=st.integers(1, 7))
def test_moments_are_those_of_all_columns_in_any_pieces(sizes: list[int], groups: int, rows: int) -> None:
    f, q = columns(groups, rows, 90, off=0.3)
    f, q = f + 300, q + 300  # a mean that would drown the variance in float32
    seen = moments(f, q, *sizes).of(0)
    assert seen.count == 90
    for g in range(groups):
        d = f[g].astype(np.float64) - q[g]
        whole = np.cov(np.concatenate([d, q[g]]), bias=True)
        np.testing.assert_allclose(seen.qq[g], whole[rows:, rows:], atol=1e-4)
        np.testing.assert_allclose(seen.dq[g], whole[:rows, rows:], atol=1e-4)
        np.testing.assert_allclose(seen.mean_q[g], q[g].mean(axis=1, dtype=np.float64), rtol=1e-6)
        np.testing.assert_allclose(seen.mean_d[g], d.mean(axis=1), atol=1e-5)


@given(cut=st.integers(0, 60))
@settings(max_examples=10, deadline=None)
def test_joining_statistics_is_seeing_all_columns(cut: int) -> None:
    f, q = columns(2, 5, 60)
    one, other = moments(f[:, :, :cut], q[:, :, :cut]).of(0), moments(f[:, :, cut:], q[:, :, cut:]).of(0)
    both, whole = one.joined(other), moments(f, q).of(0)
    assert both.count == 60
    for mine, wanted in ((both.qq, whole.qq), (both.dq, whole.dq), (both.mean_d, whole.mean_d)):
        np.testing.assert_allclose(mine, wanted, atol=1e-6)


def test_many_rows_are_cut_into_blocks() -> None:
    rows = 5000
    f, q = columns(1, 3, 20)
    f, q = np.resize(f, (1, rows, 20)), np.resize(q, (1, rows, 20))
    seen = moments(f, q)
    assert [block.stop - block.start for block in seen.blocks] == [1024] * 4 + [904]
    last = seen.of(4)
    np.testing.assert_allclose(last.qq[0], np.cov(q[0, 4096:], bias=True), atol=1e-5)


def test_columns_that_do_not_fit_are_refused() -> None:
    f, q = columns(1, 4, 10)
    seen = Moments(1, 4)
    with pytest.raises(BadInput, match=r"expected twice \[columns, 1, 4\]"):
        seen.update(f.transpose(2, 0, 1), q[:, :3].transpose(2, 0, 1))
    q[0, 2, 3] = np.nan
    with pytest.raises(BadInput, match="not finite"):
        seen.update(f.transpose(2, 0, 1), q.transpose(2, 0, 1))


# ------------------------------------------------------------------------------------------------ scales


@pytest.mark.parametrize(
    "kind", [SYMMETRIC, ASYMMETRIC, Format(3, granularity="channel"), Format(5, granularity="channel")]
)
def test_the_search_is_near_the_best_grid_there_is(kind: Format) -> None:
    weight = np.random.default_rng(0).normal(size=(1, 400, 3)) + np.array([0.0, 0.4, -2.0])
    grid = search(weight, kind)
    found = np.square(weight - (nearest_codes(weight, grid.scale, grid.zero, kind) - grid.zero) * grid.scale).sum(1)
    zeros = range(kind.lowest, kind.highest + 1) if not kind.symmetric else [0]
    tried = np.geomspace(0.01, 4, 600)[None, :, None, None] * np.ones((1, 1, 1, 3))
    best = np.min(
        [
            np.square(weight[:, None] - (nearest_codes(weight[:, None], tried, np.array(float(z)), kind) - z) * tried)
            .sum(axis=2)
            .min(axis=1)
            for z in zeros
        ],
        axis=0,
    )
    assert (found <= 1.05 * best).all()


@given(kind=formats(), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_twice_the_weights_have_twice_the_scale(kind: Format, seed: int) -> None:
    weight = np.random.default_rng(seed).normal(size=(2, 12, 3))
    one, two = search(weight, kind), search(2 * weight, kind)
    np.testing.assert_array_equal(two.scale, 2 * one.scale)
    np.testing.assert_array_equal(two.zero, one.zero)


def test_important_rows_decide_the_scale() -> None:
    weight = np.array([0.1, 0.2, 0.3, 0.7, 5.0]).reshape(1, 5, 1)
    small = search(weight, SYMMETRIC, np.array([[1.0, 1, 1, 1, 0]])).scale
    large = search(weight, SYMMETRIC, np.array([[0.0, 0, 0, 0, 1]])).scale
    assert small[0, 0, 0] < 0.2 < large[0, 0, 0]


# ------------------------------------------------------------------------------------------------ GPTQ


def metric(rows: int, seed: int = 0, groups: int = 1) -> Doubles:
    half = np.random.default_rng(seed).normal(size=(groups, rows, 2 * rows))
    return half @ half.swapaxes(1, 2) / rows


def test_gptq_is_that_of_the_paper() -> None:
    rows, outputs = 150, 4  # more rows than one block of lazy updates
    h, target = metric(rows)[0], np.random.default_rng(1).normal(size=(rows, outputs))
    scale = np.full((1, rows, outputs), 0.3)
    # Frantar et al. 2022, algorithm 1 without blocks: the upper Cholesky factor of the inverse
    upper = np.linalg.cholesky(np.linalg.inv(h)).T
    work, wanted = target.copy(), np.empty_like(target)
    for i in range(rows):
        wanted[i] = np.clip(np.rint(work[i] / 0.3), -8, 7)
        work[i:] -= np.outer(upper[i, i:], (work[i] - wanted[i] * 0.3) / upper[i, i])
    codes = gptq(Problem(target[None], h[None], SYMMETRIC), feedback_of(h[None]), scale, np.zeros_like(scale))
    np.testing.assert_array_equal(codes[0], wanted)


def test_without_correlation_gptq_rounds_to_nearest_and_descent_leaves_it() -> None:
    target = np.random.default_rng(1).normal(size=(2, 20, 3))
    h = np.eye(20) * np.arange(1, 21) * np.ones((2, 1, 1))
    scale, zero = np.full(target.shape, 0.3), np.zeros(target.shape)
    problem = Problem(target, h, SYMMETRIC)
    codes = gptq(problem, feedback_of(h), scale, zero)
    np.testing.assert_array_equal(codes, nearest_codes(target, scale, zero, SYMMETRIC))
    np.testing.assert_array_equal(descend(problem, codes, scale, zero, 3), codes)


@given(seed=st.integers(0, 999), rows=st.sampled_from([2, 9, 30, 140]), groups=st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_descent_ends_where_no_single_code_can_do_better(seed: int, rows: int, groups: int) -> None:
    h, target = metric(rows, seed, groups), np.random.default_rng(seed).normal(size=(groups, rows, 2))
    scale, zero = np.full(target.shape, 0.5), np.zeros(target.shape)
    problem = Problem(target, h, SYMMETRIC)
    begun = nearest_codes(target, scale, zero, SYMMETRIC)
    once, ended = (descend(problem, begun, scale, zero, passes) for passes in (1, 200))
    errors = [problem.error(codes, scale, zero) for codes in (begun, once, ended)]
    assert (errors[1] <= errors[0] + 1e-9).all() and (errors[2] <= errors[1] + 1e-9).all()
    for row in range(0, rows, 7):
        for step in (-1, 1):
            other = ended.copy()
            other[:, row] = np.clip(other[:, row] + step, -8, 7)
            assert (problem.error(other, scale, zero) >= errors[2] - 1e-9).all()


@pytest.mark.parametrize("kind", [ASYMMETRIC, Format(3, signed=True, symmetric=True, granularity="channel")])
@pytest.mark.parametrize(("groups", "rows", "outputs"), [(1, 40, 6), (50, 9, 1), (1, 130, 700)])
def test_scales_chosen_by_the_result_err_less(kind: Format, groups: int, rows: int, outputs: int) -> None:
    target = np.random.default_rng(0).normal(size=(groups, rows, outputs))
    problem = Problem(target, metric(rows, 0, groups), kind)
    grid, feedback = search(target, kind), feedback_of(problem.h)
    each = grid.of_rows(rows)
    first = problem.error(gptq(problem, feedback, *each), *each)
    codes, chosen = best_of_several(problem, feedback, grid)
    second = problem.error(codes, *chosen.of_rows(rows))
    third = problem.error(codes, *fitted(problem, codes, chosen).of_rows(rows))
    assert (second <= first + 1e-9).all() and second.mean() < 0.95 * first.mean()
    assert (third <= second * (1 + 1e-6)).all() and third.mean() < second.mean()


# ------------------------------------------------------------------------------------------------ nearest, closed form


@given(kind=formats(), seed=st.integers(0, 99), groups=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_every_format_gives_codes_in_range_that_fit_int8(kind: Format, seed: int, groups: int) -> None:
    weight, bias = layer(groups, 3, 12, seed)
    f, q = columns(groups, 12, 50, seed=seed)
    for rounded in (
        nearest(weight, bias, kind),
        closed_form(weight, bias, *two_parts(f, q, 40), kind),
    ):
        check_sane(rounded, kind, (groups, 3, 12))
        if kind.granularity == "tensor":
            assert np.unique(rounded.scale).size == np.unique(rounded.zero_point).size == 1
        if kind.symmetric:
            assert (rounded.zero_point == (0 if kind.signed else 1 << (kind.bits - 1))).all()


@given(seed=st.integers(0, 99), bits=st.integers(2, 8))
@settings(max_examples=20, deadline=None)
def test_nearest_is_within_half_a_step_where_nothing_saturates(seed: int, bits: int) -> None:
    kind = Format(bits, signed=True, symmetric=True, granularity="channel")
    weight, bias = layer(1, 4, 30, seed)
    rounded = nearest(weight, bias, kind)
    inside = (rounded.codes > kind.lowest) & (rounded.codes < kind.highest)
    off = np.abs(real(rounded) - weight) / rounded.scale
    assert (off[inside] <= 0.5 + 1e-6).all()
    np.testing.assert_array_equal(rounded.bias, bias)


@pytest.mark.parametrize("kind", [SYMMETRIC, ASYMMETRIC, Format(3, granularity="group", group_size=8)])
@pytest.mark.parametrize(("groups", "outputs", "rows"), [(1, 8, 144), (30, 1, 8), (4, 6, 16)])
def test_the_closed_form_beats_nearest_on_unseen_inputs(kind: Format, groups: int, outputs: int, rows: int) -> None:
    if kind.group_size and rows % kind.group_size:
        pytest.skip("no such format")
    weight, bias = layer(groups, outputs, rows)
    f, q = columns(groups, rows, 3000)
    fit, held_out = moments(f[:, :, :1600], q[:, :, :1600], 700), moments(f[:, :, 1600:2000], q[:, :, 1600:2000])
    rounded, simple = closed_form(weight, bias, fit, held_out, kind), nearest(weight, bias, kind)
    assert rounded.ridge in RIDGES
    unseen = f[:, :, 2000:], q[:, :, 2000:]

    assert output_error(weight, bias, rounded, *unseen) < 0.75 * output_error(weight, bias, simple, *unseen)


@pytest.mark.parametrize("rows", [20, 5000])
def test_the_bias_makes_up_for_the_whole_mean(rows: int) -> None:
    weight, bias = layer(1, 3, rows)
    f, q = columns(1, 20, 300)
    f, q = np.resize(f, (1, rows, 300)), np.resize(q, (1, rows, 300))
    rounded = closed_form(weight, bias, *two_parts(f, q, 200), SYMMETRIC)
    wanted = weight @ f.astype(np.float64).mean(axis=2)[:, :, None] + bias[:, :, None]
    got = real(rounded) @ q.astype(np.float64).mean(axis=2)[:, :, None] + rounded.bias[:, :, None]
    np.testing.assert_allclose(got, wanted, atol=1e-3)


def test_where_the_inputs_say_nothing_a_strong_ridge_is_chosen() -> None:
    weight, bias = layer(1, 4, 200)
    rng = np.random.default_rng(0)
    f = rng.normal(size=(1, 200, 150)).astype(np.float32)
    q = f + rng.normal(size=f.shape).astype(np.float32) * 0.01  # noise of which nothing can be learned
    few = closed_form(weight, bias, *two_parts(f, q, 100), SYMMETRIC)
    f, q = columns(1, 20, 5000)
    weight, bias = layer(1, 4, 20)
    many = closed_form(weight, bias, *two_parts(f, q, 4000), SYMMETRIC)
    assert few.ridge is not None and many.ridge is not None
    assert many.ridge < 0.1 < 1 <= few.ridge


@pytest.mark.parametrize("kind", [SYMMETRIC, ASYMMETRIC, Format(8, signed=True, symmetric=True)])
@pytest.mark.parametrize("groups", [1, 3])
def test_what_is_dead_or_scarce_gives_finite_results(kind: Format, groups: int) -> None:
    weight, bias = layer(groups, 4, 30)
    weight[:, 1] = 0  # a channel without weights
    f, q = columns(groups, 30, 9)  # fewer columns than rows
    f[:, 5], q[:, 5] = 0, 0  # a row that is never seen
    f[:, 6], q[:, 6] = 1e4, 1e4  # a constant
    f[:, 7:], q[:, 7:] = f[:, 7:8], q[:, 7:8]  # rows that say the same
    f[0, :, :], q[0, :, :] = (f[0], q[0]) if groups == 1 else (3.3, 3.3)  # a whole group that is constant
    for cut in (0, 6, 9):
        rounded = closed_form(weight, bias, *two_parts(f, q, cut), kind)
        check_sane(rounded, kind, weight.shape)
        assert (real(rounded)[:, 1] == 0).all()
        assert output_error(weight, bias, rounded, f, q) <= output_error(
            weight, bias, nearest(weight, bias, kind), f, q
        )
    np.testing.assert_array_equal(nearest(weight * 0, bias, kind).scale, 1)


def test_zero_inputs_and_zero_weights_round_as_nearest_does() -> None:
    weight, bias = layer(1, 4, 10)
    nothing = np.zeros((1, 10, 20), np.float32)
    rounded = closed_form(weight, bias, moments(nothing, nothing), moments(nothing, nothing), SYMMETRIC)
    np.testing.assert_array_equal(rounded.codes, nearest(weight, bias, SYMMETRIC).codes)
    np.testing.assert_array_equal(rounded.bias, bias)


def test_the_same_inputs_give_the_same_bytes() -> None:
    weight, bias = layer(1, 16, 150)
    f, q = columns(1, 150, 400)
    twice = [closed_form(weight, bias, *two_parts(f, q, 300), SYMMETRIC) for _ in range(2)]
    assert twice[0].codes.tobytes() == twice[1].codes.tobytes()
    assert twice[0].bias.tobytes() == twice[1].bias.tobytes()


def test_what_cannot_be_rounded_is_refused() -> None:
    weight, bias = layer(1, 4, 10)
    f, q = columns(1, 10, 20)
    seen = moments(f, q)
    with pytest.raises(BadInput, match="at least one image"):
        closed_form(weight, bias, Moments(1, 10), Moments(1, 10), SYMMETRIC)
    with pytest.raises(BadInput, match="fit int8"):
        nearest(weight, bias, Format(8))
    with pytest.raises(BadInput, match="fit int8"):
        closed_form(weight, bias, seen, seen, Format(16, signed=True, symmetric=True))
    with pytest.raises(BadInput, match="divisor of the layer's 10 rows"):
        nearest(weight, bias, Format(4, granularity="group", group_size=4))
