"""Plans as files: they come back as they went, and what does not fit is refused with what to do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from lowbit.core.codec import load_json, save_json, to_plain
from lowbit.core.errors import BadInput
from lowbit.quant.plan.files import notes_of, plan_for, read_plan
from lowbit.quant.plan.plan import QuantPlan
from tests.unit.test_placement import bits, conv, graph, head, main, node, product

Change = Callable[[dict[str, Any]], object]
DIGEST = "0123456789abcdef"


def network() -> ir.Model:
    return graph(conv("x", "c1"), node("Relu", "c1", "r1"), conv("r1", "c2"), node("Add", "c2 r1", "a"),
                 conv("a", "c3"), node("Sigmoid", "c3", "s"), *head("s"))  # fmt: skip


def saved(folder: Path, change: Change = lambda _plan: None, recipe: str = "w4a4") -> Path:
    """A plan's file as a user left it."""
    plain = to_plain(plan_for(network(), DIGEST, recipe, {}))
    change(plain)
    path = folder / "plan.json"
    path.write_text(json.dumps(plain))
    return path


@pytest.mark.parametrize("recipe", ["w8a8", "w4a4", "w2a16", "w3a8-ir", "w4a8-tflite"])
def test_a_plan_comes_back_as_it_was_saved(tmp_path: Path, recipe: str) -> None:
    plan = plan_for(network(), DIGEST, recipe, {})
    save_json(tmp_path / "plan.json", plan)
    assert load_json(QuantPlan, tmp_path / "plan.json") == plan
    assert read_plan(tmp_path / "plan.json", network(), DIGEST) == plan
    assert plan_for(network(), DIGEST, recipe, {"plan": str(tmp_path / "plan.json")}) == plan


def test_a_recipe_and_its_options_make_the_plan() -> None:
    options = {
        "rounding": "nearest",
        "overrides": [{"pattern": "c2", "weight_bits": 6, "activation_bits": 8}],
        "ends": 4,
    }
    plan = plan_for(network(), DIGEST, "w4a4", options)
    assert plan.recipe == "w4a4"
    assert plan.graph_digest == DIGEST
    assert bits(plan) == {"c1": (4, 4), "c2": (6, 8), "c3": (4, 4), "y": (4, 4)}
    assert {layer.rounding for layer in plan.layers} == {"nearest"}


@pytest.mark.parametrize(("recipe", "options", "says"), [
    ("w1a8", {}, "weights of 1 bits"), ("w9a8", {}, "weights of 9 bits"), ("w8a1", {}, "activations of 1 bits"),
    ("w8a9", {}, "activations of 9 bits"), ("int8", {}, "expected wNaM"), ("w4", {}, "expected wNaM"),
    ("w4a4", {"roundin": "nearest"}, "options"), ("w4a4", {"rounding": "up"}, "options"),
    ("w4a4", {"ends": 9}, "9 bits"),
    ("w4a4", {"overrides": [{"pattern": "c", "weight_bits": 1, "activation_bits": 8}]}, "weights of 1 bits"),
])  # fmt: skip
def test_what_is_no_recipe_is_refused(recipe: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        plan_for(network(), DIGEST, recipe, options)


def test_groups_that_do_not_fill_a_weight_are_refused_before_anything_is_measured() -> None:
    with pytest.raises(BadInput, match="group size 3: layer 'y' has 4 inputs"):
        plan_for(network(), DIGEST, "w4a8", {"group_size": 3})


def _layer(plan: dict[str, Any], name: str = "c2") -> dict[str, Any]:
    return next(layer for layer in plan["layers"] if layer["node"] == name)


def _tensor(plan: dict[str, Any], name: str = "r1", role: str = "main") -> dict[str, Any]:
    return next(tensor for tensor in plan["tensors"] if tensor["tensor"] == name and tensor["role"] == role)


@pytest.mark.parametrize(("change", "says"), [
    (lambda plan: plan.update(graph_digest="f" * 16), "another model .graph ffffffffffff, not 0123456789ab.*--dry-run"),
    (lambda plan: plan["layers"].pop(1), "lacks layers c2"),
    (lambda plan: _layer(plan).update(node="conv2"), "names layers conv2"),
    (lambda plan: _tensor(plan).update(tensor="r9"), "names tensors r9"),
    (lambda plan: _tensor(plan, role="product").update(tensor="r9"), "names tensors r9"),
    (lambda plan: plan["tensors"].remove(_tensor(plan, "a")), "lacks tensors a"),
    (lambda plan: plan["tensors"].append(_tensor(plan, "a")), "twice the tensors a;"),
    (lambda plan: plan["layers"].append(_layer(plan)), "twice the layers c2;"),
    (lambda plan: _tensor(plan).update(range="fixed"), "'r1'.*fixed.*give .lo, hi."),
    (lambda plan: _tensor(plan).update(range="fixed", limits=[3.0, -1.0]), "'r1'.*give .lo, hi."),
    (lambda plan: _tensor(plan).update(range="fixed", limits=[0.0, float("nan")]), "'r1'.*give .lo, hi."),
    (lambda plan: _tensor(plan).update(range="fixed", limits=[0.0, float("inf")]), "'r1'.*give .lo, hi."),
    (lambda plan: _tensor(plan, "pool")["format"].update(bits=4), "'pool'.*'flat'.*one range"),
    (lambda plan: _tensor(plan, "flat").update(range="fixed", limits=[0.0, 1.0]), "'pool'.*'flat'.*one range"),
    (lambda plan: _layer(plan).update(format=None), "layer 'c2'.*format"),
    (lambda plan: _layer(plan)["format"].update(granularity="group", group_size=3), "layer 'c2'.*granularity"),
    (lambda plan: _layer(plan)["format"].update(bits=8, symmetric=False), "layer 'c2'.*8 bits"),
    (lambda plan: _layer(plan)["format"].update(bits=16), "layer 'c2'.*16 bits"),
    (lambda plan: _layer(plan)["format"].update(bits=1), "1 bits"),
    (lambda plan: _layer(plan)["format"].update(bits=9), "9 bits"),
    (lambda plan: _layer(plan).update(rounding="up"), r"plan.layers.1..rounding: 'up', expected 'nearest' or 'cl"),
    (lambda plan: plan.update(colour="red"), "no plan.*no field is called 'colour'"),
    (lambda plan: plan.pop("layers"), "plan.layers: missing"),
    (lambda plan: _layer(plan)["format"].update(signed="false"), r"layers.1..format.signed: 'false', expected true"),
    (lambda plan: _layer(plan)["format"].update(bits=4.9), r"plan.layers.1..format.bits: 4.9, expected a whole number"),
    (lambda plan: _layer(plan)["format"].update(bits=True), r"plan.layers.1..format.bits: True, expected a whole"),
    (lambda plan: _layer(plan).update(activation_bits="4"), r"plan.layers.1..activation_bits: '4', expected a whole"),
    (lambda plan: _tensor(plan).update(range="fixed", limits=["0", "1"]), r"limits.0.: '0', expected a number"),
    (lambda plan: plan.update(notes="none"), "plan.notes: 'none', expected a list"),
    (lambda plan: _layer(plan).update(activation_bits=3), "'c2' has activation_bits 3, but .*'r1'.* format.bits 4"),
    (lambda plan: _layer(plan).update(activation_bits=16), "'c2' has activation_bits 16, but .*'r1'.* format.bits 8"),
    (lambda plan: _tensor(plan, role="product")["format"].update(bits=3), "'c2' has activation_bits 4.*format.bits 3"),
    (lambda plan: _layer(plan).update(op_type="Gemm"), "'c2' is Gemm .*the model's is Conv"),
    (lambda plan: _layer(plan).update(weight="w9"), "'c2' is Conv with weight 'w9'"),
    (lambda plan: plan["floats"].clear(), "lacks floats s"),
    (lambda plan: _tensor(plan).update(group="a"), "'r1' is in group 'a'.*leave it at 'r1'"),
    (lambda plan: _tensor(plan)["format"].update(granularity="channel"), "'r1' has granularity 'channel'"),
    (lambda plan: _layer(plan, "y")["format"].update(granularity="group", group_size=3), "size 3: layer 'y' has 4 in"),
])  # fmt: skip
def test_a_plan_that_does_not_fit_is_refused(tmp_path: Path, change: Change, says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        read_plan(saved(tmp_path, change), network(), DIGEST)
    assert str(tmp_path / "plan.json") in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"w4a4"', "<xml/>"])
def test_what_is_no_json_or_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(BadInput, match="no plan"):
        read_plan(tmp_path / "plan.json", network(), DIGEST)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(b"\x08\x0a\xff\xfe\x00")
    with pytest.raises(BadInput, match="no plan"):
        read_plan(tmp_path / "plan.json", network(), DIGEST)


def test_a_plan_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"No such file.*check the path"):
        read_plan(tmp_path / "none.json", network(), DIGEST)
    with pytest.raises(BadInput, match=r"directory.*check the path"):
        read_plan(tmp_path, network(), DIGEST)


def test_widths_ranges_and_rounding_may_be_edited(tmp_path: Path) -> None:
    def change(plan: dict[str, Any]) -> None:
        _layer(plan).update(rounding="nearest", activation_bits=3)
        _layer(plan)["format"].update(bits=3, symmetric=False)
        _tensor(plan, role="product")["format"].update(bits=3)
        _tensor(plan).update(range="fixed", limits=[0.0, 2.5])

    plan = read_plan(saved(tmp_path, change), network(), DIGEST)
    assert bits(plan)["c2"] == (3, 3)
    assert product(plan)["r1"] == 3
    assert main(plan)["r1"] == 8
    assert next(tensor.limits for tensor in plan.tensors if tensor.tensor == "r1") == (0.0, 2.5)


def test_the_notes_say_what_is_not_as_the_recipe_says() -> None:
    notes = notes_of(plan_for(network(), DIGEST, "w4a4", {}))
    assert notes[0] == "2 of 4 layers at w8a8: first or last layer (c1, y)"
    assert "stay at 8 bits" in notes[1]
    assert notes[2] == "in float: 1 Sigmoid"
    assert notes_of(plan_for(network(), DIGEST, "w8a8", {})) == ("in float: 1 Sigmoid",)
