"""Which tensors around a Concat get ranges of their own, from given ranges."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from lowbit.core.codec import save_json
from lowbit.core.errors import BadInput
from lowbit.quant.plan.files import read_plan
from lowbit.quant.plan.plan import QuantPlan, TensorPlan
from lowbit.quant.ranges.origins import origins
from lowbit.quant.ranges.shared import with_own_ranges
from tests.unit.test_placement import conv, graph, groups, head, main, node, plan


def decided(model: ir.Model, reach: dict[str, float], found: QuantPlan | None = None) -> QuantPlan:
    """The plan after a range pass in which values reach from 0 to `reach`."""
    found = plan(model, "w8a8") if found is None else found
    sources = origins(model, found)

    def limits(tensors: Iterable[TensorPlan]) -> tuple[float, float]:
        return 0.0, max(reach[name] for tensor in tensors for name in sources[tensor.tensor])

    return with_own_ranges(model, found, limits)


def dense() -> ir.Model:
    """c1, c2 and c3 read all that came before: c2 as j1, c3 as j2, the head as j3."""
    return graph(conv("x", "c0"), conv("c0", "c1"), node("Concat", "c0 c1", "j1", axis=1),
                 node("Conv", "j1 w2 b", "c2"), node("Concat", "c0 c1 c2", "j2", axis=1), node("Conv", "j2 w3 b", "c3"),
                 node("Concat", "c0 c1 c2 c3", "j3", axis=1), node("Conv", "j3 w4 b", "c4"), *head("c4"),
                 w2=np.ones((4, 8, 1, 1)), w3=np.ones((4, 12, 1, 1)), w4=np.ones((4, 16, 1, 1)))  # fmt: skip


def test_a_plan_leaves_it_to_the_range_pass() -> None:
    found = plan(dense(), "w8a8")
    assert found.undecided == ("j1", "j2", "j3")
    assert frozenset({"c0", "c1", "c2", "c3", "j1", "j2", "j3"}) in groups(found)


def test_ranges_that_are_alike_stay_one() -> None:
    found = decided(dense(), {"c0": 4.0, "c1": 3.9, "c2": 4.2, "c3": 4.0})
    assert found == replace(plan(dense(), "w8a8"), undecided=())


def test_small_tensors_that_only_wide_concats_read_are_rounded_once() -> None:
    """c0 is in all of them and reaches furthest: every Concat has its steps, and nobody reads the others directly."""
    found = decided(dense(), {"c0": 10.0, "c1": 1.0, "c2": 0.1, "c3": 5.0})
    assert groups(found) & {frozenset({"c0", "c1", "c2", "c3", "j1", "j2", "j3"})}


def test_a_dense_block_whose_range_grows_has_a_range_for_each_step() -> None:
    found = decided(dense(), {"c0": 1.0, "c1": 1.1, "c2": 4.0, "c3": 16.0})
    assert frozenset({"c0", "c1", "j1"}) in groups(found)  # their steps are alike
    assert frozenset({"c2", "j2"}) in groups(found)
    assert frozenset({"c3", "j3"}) in groups(found)
    whys = {tensor.tensor: tensor.why for tensor in found.tensors}
    assert "steps 14.5 times as wide" in whys["c0"]
    assert "steps 4.0 times as wide" in whys["j2"]
    assert "of its own" not in whys["c3"] + whys["c4"]
    assert any("7 tensors around Concat nodes have 3 ranges" in note for note in found.notes)
    assert main(found) == main(plan(dense(), "w8a8"))


def test_what_one_concat_alone_reads_has_its_range() -> None:
    model = graph(conv("x", "c1"), conv("x", "c2"), node("MaxPool", "c2", "p", kernel_shape=[1, 1]),
                  node("Concat", "c1 p", "j", axis=1), node("Conv", "j w2 b", "c3"), *head("c3"),
                  w2=np.ones((4, 8, 1, 1)))  # fmt: skip
    assert frozenset({"c1", "c2", "p", "j"}) in groups(decided(model, {"c1": 0.01, "c2": 9.0}))


@pytest.mark.parametrize("reader", ["Add", "Sigmoid", "output"])
def test_what_another_reads_too_has_its_own(reader: str) -> None:
    also = {"Add": [node("Add", "c1 c1", "z")], "Sigmoid": [node("Sigmoid", "c1", "z")], "output": []}[reader]
    model = graph(conv("x", "c1"), conv("x", "c2"), *also, node("Concat", "c1 c2", "j", axis=1),
                  node("Conv", "j w2 b", "c3"), *head("c3"), outputs=f"y {'c1' if reader == 'output' else 'z'}",
                  w2=np.ones((4, 8, 1, 1)))  # fmt: skip
    found = decided(model, {"c1": 1.0, "c2": 9.0, "z": 2.0, "c3": 1.0})
    assert frozenset({"c2", "j"}) in groups(found)
    assert frozenset({"c1", "c2", "j"}) in groups(decided(model, {"c1": 7.0, "c2": 9.0, "z": 2.0, "c3": 1.0}))


def test_what_moves_entries_goes_with_them() -> None:
    """Nothing is gained by a range of its own behind a pooling: its numbers have been rounded already."""
    model = graph(conv("x", "c1"), node("MaxPool", "c1", "p", kernel_shape=[1, 1]), conv("p", "c2"),
                  node("Concat", "p c2", "j", axis=1), node("Conv", "j w2 b", "c3"), *head("c3"),
                  w2=np.ones((4, 8, 1, 1)))  # fmt: skip
    assert {frozenset({"c1", "p"}), frozenset({"c2", "j"})} <= groups(decided(model, {"c1": 1.0, "c2": 9.0}))


def test_a_fixed_range_is_left_alone() -> None:
    start = plan(dense(), "w8a8")
    tensors = (replace(t, range="fixed", limits=(0.0, 3.0)) if t.tensor[0] in "cj" else t for t in start.tensors)
    fixed = replace(start, tensors=tuple(tensors))
    found = decided(dense(), {"c0": 1.0, "c1": 1.0, "c2": 4.0, "c3": 16.0}, fixed)
    assert found == replace(fixed, undecided=())


def test_a_plan_that_was_decided_is_carried_out_as_it_stands(tmp_path: Path) -> None:
    reach = {"c0": 1.0, "c1": 1.1, "c2": 4.0, "c3": 16.0}
    found = decided(dense(), reach)
    save_json(tmp_path / "plan.json", found)
    again = read_plan(tmp_path / "plan.json", dense(), "digest")
    assert again == found == decided(dense(), reach, again)
    shared = replace(plan(dense(), "w8a8"), undecided=())  # as a user may write it
    assert decided(dense(), reach, shared) == shared


def test_what_is_undecided_must_be_a_concat(tmp_path: Path) -> None:
    save_json(tmp_path / "plan.json", replace(plan(dense(), "w8a8"), undecided=("j1", "c3")))
    with pytest.raises(BadInput, match="names undecided Concat nodes c3"):
        read_plan(tmp_path / "plan.json", dense(), "digest")
