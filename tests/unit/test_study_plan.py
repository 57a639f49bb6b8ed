from dataclasses import replace

import pytest

from lowbit.core.adapter import RuntimeInfo, ToolchainInfo
from lowbit.core.errors import BadInput
from lowbit.core.recipe import Recipe
from lowbit.study.cells import plan_cells, short_names

FP32, INT8 = Recipe("fp32", 32, 32, "float"), Recipe("int8-static", 8, 8, "integer")
MAKER = ToolchainInfo("maker", ("numpy",), None, "onnx", ("native",), (FP32, INT8), {"bf16": "it has none"})
NATIVE = RuntimeInfo("native", ("numpy",), None, ("onnx",))
ALIEN = RuntimeInfo("alien", ("numpy",), None, ("tflite", "onnx"))
ABSENT = RuntimeInfo("absent", ("no-such-package-at-all",), "openvino", ("onnx",))


def test_every_runtime_that_reads_the_format_gets_the_file_intended_ones_first() -> None:
    plan = plan_cells([MAKER], [ALIEN, NATIVE])
    assert [(build.recipe.name, build.runtimes) for build in plan.builds] == [
        ("fp32", ("native", "alien")),
        ("int8-static", ("native", "alien")),
    ]
    assert [(item.recipe, item.reason) for item in plan.impossible] == [("bf16", "it has none")]
    assert plan.builds[0].versions.keys() == {"numpy"}


def test_a_missing_package_is_a_reason_with_its_remedy() -> None:
    plan = plan_cells([MAKER], [NATIVE, ABSENT])
    assert plan.missing == {"absent": "no-such-package-at-all is not installed: pip install 'lowbit[openvino]'"}
    assert plan.builds[0].runtimes == ("native", "absent")
    lacking = ToolchainInfo("lacking", ("no-such-package-at-all",), "litert", "onnx", ("native",), (FP32, INT8))
    plan = plan_cells([lacking], [NATIVE])
    assert plan.builds == ()
    assert [item.recipe for item in plan.impossible] == ["fp32", "int8-static"]
    assert all("lowbit[litert]" in item.reason for item in plan.impossible)


def test_recipes_narrow_and_an_unknown_one_lists_the_choices() -> None:
    plan = plan_cells([MAKER], [NATIVE], ("bf16", "fp32"))
    assert [build.recipe.name for build in plan.builds] == ["fp32"]
    assert [item.recipe for item in plan.impossible] == ["bf16"]
    with pytest.raises(BadInput, match=r"'int9'.*bf16, fp32, int8-static"):
        plan_cells([MAKER], [NATIVE], ("int9",))


def test_a_sweep_makes_our_own_recipes_besides_and_families_have_short_names() -> None:
    asked = [Recipe(name, 4, 8, "integer", on_request=True) for name in ("w4a8", "w2a8", "w2a8-ir")]
    own = ToolchainInfo("lowbit", (), None, "onnx", ("native",), (Recipe("w8a8", 8, 8, "integer"), *asked),
                        families=("wNaM", "wNaM-ir"))  # fmt: skip
    other = ToolchainInfo("other", (), None, "onnx", ("native",), tuple(asked))
    for recipes, made in (
        ((), ["lowbit/w8a8", "lowbit/w2a8"]),
        (("w4a8",), ["lowbit/w4a8", "lowbit/w2a8", "other/w4a8"]),
    ):
        plan = plan_cells([own, other], [NATIVE], recipes, ["w2a8"])
        assert [f"{build.toolchain.name}/{build.recipe.name}" for build in plan.builds] == made
    assert short_names(own) == ("w8a8", "wNaM", "wNaM-ir")
    with pytest.raises(BadInput, match="choose from w8a8, wNaM, wNaM-ir"):
        plan_cells([own], [NATIVE], ("int9",))


def test_a_recipe_of_its_own_may_be_made_for_fewer_runtimes() -> None:
    own = Recipe("int16x8", 8, 16, "integer", made_for=("alien",))
    maker = ToolchainInfo("maker", (), None, "onnx", ("native", "alien"), (FP32, own))
    plan = plan_cells([maker], [ALIEN, NATIVE])
    assert [build.made_for for build in plan.builds] == [("native", "alien"), ("alien",)]
    assert plan.builds[1].runtimes == ("alien", "native")


def test_a_recipe_that_trains_is_made_when_it_is_named_or_epochs_are_given_and_always_with_its_control() -> None:
    qat = Recipe("int8-qat", 8, 8, "integer", on_request=True, epochs=3, control="int8-fine")
    fine = Recipe("int8-fine", 8, 8, "integer", on_request=True, epochs=3)
    trainer = ToolchainInfo("trainer", (), None, "onnx", ("native",), (FP32, fine, qat))
    for recipes, epochs, made in (
        ((), None, [("fp32", None)]),
        (("int8-qat",), None, [("int8-fine", 3), ("int8-qat", 3)]),
        (("int8-fine",), None, [("int8-fine", 3)]),
        ((), 5, [("fp32", None), ("int8-fine", 5), ("int8-qat", 5)]),
        (("fp32",), 1, [("fp32", None), ("int8-fine", 1), ("int8-qat", 1)]),
    ):
        plan = plan_cells([trainer, MAKER], [NATIVE], recipes, epochs=epochs)
        found = [build.recipe for build in plan.builds if build.toolchain.name == "trainer"]
        assert [(recipe.name, recipe.epochs) for recipe in found] == made
    with pytest.raises(BadInput, match="--epochs 2: expected a toolchain that trains, but none of maker does"):
        plan_cells([MAKER], [NATIVE], epochs=2)


def test_what_goes_on_from_another_recipe_is_trained_where_that_one_is_made() -> None:
    widths = [Recipe(name, 4, 4, "integer", on_request=name != "w8a8") for name in ("w8a8", "w4a4", "w2a2")]
    trained = [replace(each, name=f"{each.name}-qat", on_request=True, epochs=3, control=each.name) for each in widths]
    trainer = ToolchainInfo("trainer", (), None, "onnx", ("native",), (*widths, *trained))
    for recipes, epochs, made in (
        ((), None, ["w8a8"]),
        ((), 2, ["w8a8", "w8a8-qat"]),
        (("w4a4",), 2, ["w4a4", "w4a4-qat"]),
        (("w2a2-qat",), None, ["w2a2", "w2a2-qat"]),
    ):
        plan = plan_cells([trainer], [NATIVE], recipes, epochs=epochs)
        assert [build.recipe.name for build in plan.builds] == made


def test_nothing_left_to_measure_is_bad_input() -> None:
    with pytest.raises(BadInput, match="nothing to measure"):
        plan_cells([ToolchainInfo("m", (), None, "strange", ("native",), (FP32,))], [NATIVE])
