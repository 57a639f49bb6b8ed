"""Placement on small graphs: how wide layers and tensors are; first and last ones, and those that are named."""

from typing import Any

import numpy as np
import pytest

from lowbit.core.errors import BadInput
from lowbit.quant.formats import Format
from lowbit.quant.plan.scheme import Override, Scheme, widths
from tests.unit.test_placement import bits, conv, graph, head, layer, main, node, plan, product


def test_two_convolutions_of_the_input_are_both_first_layers_and_the_input_stays_wide() -> None:
    found = plan(
        graph(conv("x", "c1"), conv("x", "c2"), node("Add", "c1 c2", "a"), conv("a", "c3"), *head("c3")), "w2a2"
    )
    assert bits(found) == {"c1": (8, 8), "c2": (8, 8), "c3": (2, 2), "y": (8, 8)}
    assert main(found)["x"] == 8
    assert layer(found, "c1").why == "first or last layer"


def test_ends_may_be_narrow_and_the_input_still_has_8_bits() -> None:
    found = plan(graph(conv("x", "c1"), conv("c1", "c2"), *head("c2")), "w3a3", ends=3)
    assert bits(found) == {"c1": (3, 3), "c2": (3, 3), "y": (3, 3)}
    assert main(found) == {"x": 8, "c1": 3, "c2": 8, "pool": 3, "flat": 3}
    assert product(found) == {"x": 3}


@pytest.mark.parametrize("recipe", ["w8a8", "w4a8", "w2a16"])
def test_wide_activations_need_no_narrower_copies(recipe: str) -> None:
    found = plan(
        graph(conv("x", "c1"), conv("c1", "c2"), node("Add", "c1 c2", "a"), conv("a", "c3"), *head("c3")), recipe
    )
    assert product(found) == {}
    read = widths(recipe)[1]
    assert {main(found)[name] for name in ("x", "c1", "a", "flat")} == {read}


def test_an_override_names_layers_and_wins_over_first_and_last() -> None:
    model = graph(conv("x", "c1"), conv("c1", "c2"), conv("c2", "c3"), *head("c3"))
    found = plan(model, "w4a4", overrides=(Override("c[12]", 6, 8), Override("c*", 2, 2)))
    assert bits(found) == {"c1": (6, 8), "c2": (6, 8), "c3": (2, 2), "y": (8, 8)}
    assert main(found) == {"x": 8, "c1": 8, "c2": 2, "c3": 8, "pool": 8, "flat": 8}
    assert layer(found, "c3").why == "named by c*"


def test_no_layer_reads_fewer_bits_than_it_asks_for() -> None:
    model = graph(conv("x", "c0"), conv("c0", "c1"), conv("c1", "c2"), conv("c1", "c3"), node("Add", "c2 c3", "a"),
                  *head("a"))  # fmt: skip
    found = plan(model, "w6a6", overrides=(Override("c3", 4, 4),))
    assert main(found)["c1"] == 6
    assert product(found).get("c1", 6) >= 6


def test_a_scale_and_shift_a_channel_has_8_bits() -> None:
    found = plan(graph(conv("x", "c1"), node("Conv", "c1 w1 b", "s", group=4), conv("s", "c2"), *head("c2"),
                       w1=np.ones((4, 1, 1, 1))), "w2a4")  # fmt: skip
    assert bits(found) == {"c1": (8, 8), "s": (8, 8), "c2": (2, 4), "y": (8, 8)}


@pytest.mark.parametrize(("weight_bits", "symmetric", "expected"), [
    (8, None, True), (4, None, True), (3, None, False), (2, None, False), (8, False, True), (4, False, False),
    (2, True, True),
])  # fmt: skip
def test_weights_are_asymmetric_below_4_bits_and_never_at_8(
    weight_bits: int, symmetric: bool | None, expected: bool
) -> None:
    model = graph(conv("x", "c1"), conv("c1", "c2"), *head("c2"))
    found = plan(model, f"w{weight_bits}a8", symmetric=symmetric)
    assert layer(found, "c2").format == Format(weight_bits, True, expected, "channel")


def test_a_reduced_range_is_for_8_bit_weights_whose_products_are_added() -> None:
    """In depthwise convolutions and tables nothing saturates; beside 16-bit activations runtimes compute in float."""
    turned = node("ConvTranspose", "c1 w2 b", "t", kernel_shape=[1, 1])
    model = graph(conv("x", "c1"), turned, node("Conv", "t wd b", "d", group=4), conv("d", "c2"), *head("c2"),
                  w2=np.ones((4, 4, 1, 1)), wd=np.ones((4, 1, 3, 3)))  # fmt: skip

    def reduced(recipe: str, **scheme: Any) -> set[str]:
        found = plan(model, recipe, reduce_range=True, **scheme)
        return {layer.node for layer in found.layers if layer.format is not None and layer.format.reduced}

    assert reduced("w8a8") == {"c1", "t", "c2", "y"}
    assert reduced("w4a8") == {"c1", "y"}
    assert reduced("w8a16") == set()
    assert reduced("w4a8", ends=4) == set()
    assert not any(layer.format.reduced for layer in plan(model, "w8a8").layers if layer.format is not None)


@pytest.mark.parametrize(("bits_", "reduce_range", "symmetric"), [(7, False, False), (7, True, True), (6, True, False)])
def test_asymmetric_weights_of_7_bits_reach_too_far_for_a_reduced_range(
    bits_: int, reduce_range: bool, symmetric: bool
) -> None:
    model = graph(conv("x", "c1"), conv("c1", "c2"), *head("c2"))
    found = plan(model, f"w{bits_}a8", symmetric=False, reduce_range=reduce_range)
    assert layer(found, "c2").format == Format(bits_, True, symmetric, "channel")


def test_groups_of_rows_are_for_matrix_products() -> None:
    model = graph(conv("x", "c1"), *head("c1"))
    found = plan(model, "w4a8", group_size=2)
    assert layer(found, "c1").format == Format(8, True, True, "channel")
    assert layer(found, "y").format == Format(8, True, True, "group", 2)


def test_a_grouped_transposed_convolution_has_one_scale() -> None:
    turned = node("ConvTranspose", "c1 w2 b", "c2", group=2)
    found = plan(graph(conv("x", "c1"), turned, *head("c2"), w2=np.ones((4, 2, 1, 1))))
    assert layer(found, "c2").format == Format(4, True, True, "tensor")


@pytest.mark.parametrize(("recipe", "method"), [
    ("w8a8", "min-max"), ("w7a7", "min-max"), ("w6a6", "mse"), ("w3a3", "mse"),
])  # fmt: skip
def test_the_method_of_a_range_goes_by_its_width(recipe: str, method: str) -> None:
    found = plan(graph(conv("x", "c1"), conv("c1", "c2"), *head("c2")), recipe)
    methods = {tensor.tensor: tensor.range for tensor in found.tensors}
    assert methods["c1"] == method
    assert methods["x"] == "min-max"
    asked = plan(graph(conv("x", "c1"), conv("c1", "c2"), *head("c2")), recipe, range="entropy")
    assert {tensor.range for tensor in asked.tensors} == {"entropy"}


def test_tensors_that_share_a_range_share_its_method() -> None:
    found = plan(graph(conv("x", "c1"), node("Clip", "c1 zero six", "r"), conv("r", "c2"),
                       node("Concat", "r c2", "j", axis=1), node("Conv", "j w2 b", "c3"), *head("c3"),
                       w2=np.ones((4, 8, 1, 1)), zero=0.0, six=6.0))  # fmt: skip
    by_group: dict[str, set[tuple[str, int]]] = {}
    for tensor in found.tensors:
        by_group.setdefault(tensor.group, set()).add((tensor.range, tensor.format.bits))
    assert all(len(kinds) == 1 for kinds in by_group.values())


@pytest.mark.parametrize(("weights", "activations", "what"), [
    (1, 8, "1 bits"), (9, 8, "9 bits"), (16, 8, "16 bits"), (8, 1, "1 bits"), (8, 9, "9 bits"), (8, 15, "15 bits"),
])  # fmt: skip
def test_other_widths_are_refused(weights: int, activations: int, what: str) -> None:
    with pytest.raises(BadInput, match=what):
        Scheme(weights, activations)
    with pytest.raises(BadInput, match=what):
        Scheme(8, 8, overrides=(Override("c", weights, activations),))
