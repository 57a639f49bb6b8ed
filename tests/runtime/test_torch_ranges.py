"""Streaming observation by torch, held to the definition of a histogram in tests/unit/test_ranges.py."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lowbit.core.errors import BadInput
from lowbit.measure.memory import peak_above
from lowbit.quant.formats import Format
from lowbit.quant.plan.plan import RangeMethod
from lowbit.quant.ranges.limits import limits
from lowbit.quant.ranges.observers import Observers
from lowbit.torchgraph.importer import import_graph
from tests.unit.test_ranges import METHODS, SPREADS, Floats, batches, counted, spread

torch.set_num_threads(1)  # two threads on a busy machine wait for each other
law = settings(max_examples=40, deadline=None, derandomize=True)


def observed(*parts: Floats, method: RangeMethod = "mse") -> Observers:
    observers = Observers({"x": method})
    for part in parts:
        observers.observe("x", torch.from_numpy(part))
    return observers


@law
@given(st.lists(batches, min_size=1, max_size=4), st.sampled_from((2, 4, 8)))
def test_batch_by_batch_gives_the_limits_of_the_whole(parts: list[Floats], bits: int) -> None:
    observers, whole = observed(*parts), counted(np.concatenate(parts))
    for method in METHODS:
        assert observers.limits("x", Format(bits), method) == limits(whole, method, Format(bits))


@pytest.mark.parametrize("name", SPREADS)
def test_large_tensors_are_counted_in_pieces(name: str) -> None:
    values = spread(name, 700_001)
    reordered = np.random.default_rng(0).permutation(values)
    whole = counted(values)
    for method in METHODS:
        found = observed(values).limits("x", Format(4), method)
        assert found == limits(whole, method, Format(4))
        assert found == observed(reordered[:5], reordered[5:]).limits("x", Format(4), method)


def test_shape_and_layout_do_not_matter() -> None:
    x = torch.from_numpy(spread("linear", 2 * 3 * 4 * 5)).reshape(2, 3, 4, 5)
    expected = observed(x.numpy()).limits("x", Format(3))
    for same in (x.to(memory_format=torch.channels_last), x.permute(1, 3, 0, 2), x.flatten(), x.requires_grad_()):
        observers = Observers({"x": "mse"})
        observers.observe("x", same)
        assert observers.limits("x", Format(3)) == expected


def test_tensors_that_share_a_range_have_that_of_their_union() -> None:
    a, b = spread("relu"), 16 * spread("swish")
    observers = Observers({"a": "mse", "b": "mse", "min": "min-max", "max": "min-max"})
    for name, values in {"a": a, "b": b, "min": a, "max": b}.items():
        observers.observe(name, torch.from_numpy(values))
    union = observed(np.concatenate([a, b]))
    assert observers.limits_of(("a", "b"), Format(4)) == union.limits("x", Format(4))
    assert observers.limits_of(("min", "max"), Format(4)) == union.limits("x", Format(4), "min-max")
    with pytest.raises(BadInput, match=r"a, min share one range, but not its method \(min-max, mse\)"):
        observers.limits_of(("a", "min"), Format(4))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_finite_is_refused_by_name(bad: float, method: RangeMethod) -> None:
    values = spread("linear", 100_000)
    values[77_777] = bad
    with pytest.raises(BadInput, match=r"activation 'x'.*finite"):
        observed(values, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_calibration_set_is_refused(method: RangeMethod) -> None:
    observers = observed(np.zeros((0, 3), np.float32), method=method)
    with pytest.raises(BadInput, match="'x': an empty calibration set"):
        observers.limits("x", Format(8))


def test_a_histogram_must_be_asked_for() -> None:
    with pytest.raises(BadInput, match=r"'x' was observed for min-max only.*'entropy'"):
        observed(spread("relu"), method="min-max").limits("x", Format(8), "entropy")


@pytest.mark.parametrize("constant", [0.0, 3.25, -1e-30])
@pytest.mark.parametrize("method", METHODS)
def test_a_constant_activation_is_its_own_limits(constant: float, method: RangeMethod) -> None:
    values = np.full((4, 100), constant, np.float32)
    assert observed(values, method=method).limits("x", Format(8)) == (values[0, 0], values[0, 0])


def test_memory_grows_neither_with_the_batch_nor_with_the_number_of_batches() -> None:
    values = torch.randn(24_000_000)  # 96 MB
    observers = Observers({"x": "entropy"})
    observers.observe("x", values[:1_000_000])

    def observe() -> None:
        observers.observe("x", values)
        for part in torch.split(values, 1_000_000):
            observers.observe("x", part)

    assert peak_above(observe) < 8e6


def test_a_real_network_is_observed_to_within_a_bin(shared: Path) -> None:
    module = import_graph(shared / "models" / "cifar10-resnet20.onnx")
    layers = [name for name, layer in module.named_modules() if isinstance(layer, torch.nn.ReLU)]
    observers, kept = Observers(dict.fromkeys(layers, "percentile")), {name: list[torch.Tensor]() for name in layers}

    def watch(name: str) -> None:
        def hook(_layer: object, _inputs: object, result: torch.Tensor) -> None:
            observers.observe(name, result)
            kept[name].append(result.clone().flatten())

        module.get_submodule(name).register_forward_hook(hook)

    for name in layers:
        watch(name)
    with torch.no_grad():
        for seed in range(3):
            module(torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(seed)))
    assert len(layers) == 19
    for name, parts in kept.items():
        values = torch.cat(parts).numpy()
        assert observers.limits(name, Format(8), "min-max") == (values.min(), values.max())
        exact = np.quantile(values, 0.999, method="inverted_cdf")
        assert observers.limits(name, Format(4))[1] == pytest.approx(exact, abs=float(values.max()) / 1024)
