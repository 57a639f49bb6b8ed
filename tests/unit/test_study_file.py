"""Study files: what is read, and what is refused with file, line and key."""

from pathlib import Path
from typing import Any

import pytest

from lowbit.core import discover
from lowbit.core.errors import BadInput
from lowbit.core.figure import Figure, Selector, limit_of
from lowbit.core.row import Row
from lowbit.study.claims import claim, holds, selects
from lowbit.study.file import open_study, shipped
from lowbit.study.run import RunRequest, planned_run
from tests.models import tiny_model

TEXT = """\
title: Two models
source: {document: A paper, machine: a desk}
needs:
  - {name: net, what: a network, otherwise: digits-cnn}
defaults:
  data: digits
  runtimes: onnxruntime
models:
  - name: one
    model: $net
    recipes: [fp32, int8-static]
    parts:
      - {scenario: offline, batch_size: [1, 4]}
      - limit: 20
  - name: two
    model: digits-cnn
published:
  - {claim: faster, where: figure 1, quantity: rate, value: 2.0, of: {model: one}, holds: ">= 1.5"}
"""


def opened(tmp_path: Path, text: str) -> Any:
    (tmp_path / "study.yaml").write_text(text)
    return open_study(str(tmp_path / "study.yaml"))


def test_options_stand_beside_the_models_own_keys_and_one_value_is_a_list(tmp_path: Path) -> None:
    study = opened(tmp_path, TEXT).study
    assert study.defaults.said() == {"data": "digits", "runtimes": ("onnxruntime",)}
    one, two = study.models
    assert one.options.said() == {"recipes": ("fp32", "int8-static")}
    assert [part.options.said() for part in one.parts] == [
        {"scenario": ("offline",), "batch_size": (1, 4)},
        {"limit": 20},
    ]
    assert (two.options.said(), two.parts) == ({}, ())
    assert study.published[0].of == Selector(model="one")


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("title: Two", "titel: Two", 1, "no field is called 'titel'"),
        ("machine: a desk", "maschine: a desk", 2, "source: no field is called 'maschine'"),
        ("data: digits", "data: 3", 6, "defaults.data: 3, expected a text"),
        ("limit: 20", "limit: [20]", 14, "models[0].parts[1].limit: [20], expected a whole number"),
        ("[1, 4]", "[1, x]", 13, "models[0].parts[0].batch_size[1]: 'x', expected a whole number"),
        ("scenario: offline", "scenario: sometimes", 13, "'sometimes', expected 'single-stream'"),
        ("name: two", "name: one", 15, "models[1].name: 'one' stands here a second time"),
        ("name: two", "name: Two!", 15, "'Two!'; expected small letters"),
        ("value: 2.0", "value: [2.0]", 18, "published[0].value: [2.0], expected a number"),
        ("quantity: rate", "quantity: speed", 18, "published[0].quantity: 'speed', expected 'top1'"),
        (", of: {model: one}", "", 18, "published[0]: names no cell"),
        ('holds: ">= 1.5"', "holds: fast", 18, "published[0].holds: 'fast', expected >=, <=, > or <"),
        (', holds: ">= 1.5"', "", 18, "expected either `holds`"),
        ("models:", "models: []\nmodel:", 9, "no field is called 'model'"),
        ("  data: digits", "  data: digits\n  data: digits", 7, "'data' stands here a second time, after line 6"),
        ("title: Two models", 'title: "Two models', 18, "no YAML"),
    ],
)
def test_what_is_wrong_is_told_with_file_line_and_key(tmp_path: Path, old: str, new: str, line: int, said: str) -> None:
    assert old in TEXT
    with pytest.raises(BadInput) as error:
        opened(tmp_path, TEXT.replace(old, new))
    assert f"study.yaml, line {line}: " in str(error.value)
    assert said in str(error.value)


def test_code_of_a_model_is_trusted_where_its_entry_says_so(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(TEXT.replace("    model: $net", "    model: $net\n    trust: true"))
    _, parts, _ = planned_run(RunRequest(str(tmp_path / "study.yaml"), tmp_path / "out", {}))
    assert [(part.entry.name, part.request.inputs.trust) for part in parts] == [
        ("one", True), ("one", True), ("two", False),
    ]  # fmt: skip


def test_models_of_a_package_that_is_not_installed_are_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = discover.versions
    monkeypatch.setattr(discover, "versions", lambda names: installed([name for name in names if name != "tensorflow"]))
    given = {"mobilenetv2": str(tmp_path / "tiny.onnx"), "pictures": "digits"}
    tiny_model(tmp_path / "tiny.onnx")
    _, parts, untried = planned_run(RunRequest("mlperf-edge", tmp_path / "out", given))
    assert untried == {"mobilenetv2-keras": "tensorflow is not installed: pip install 'lowbit[tensorflow]'"}
    assert {part.entry.name for part in parts} == {"mobilenetv2", "densenet121", "vgg19"}
    (tmp_path / "study.yaml").write_text(TEXT.replace("otherwise: digits-cnn", "otherwise: 'keras:MobileNetV2'"))
    _, parts, untried = planned_run(RunRequest(str(tmp_path / "study.yaml"), tmp_path / "out", {}))
    assert (list(untried), {part.entry.name for part in parts}) == (["one"], {"two"})
    monkeypatch.setattr(discover, "versions", lambda _: {})
    with pytest.raises(BadInput, match=r"no model can be measured: .* not installed: pip install"):
        planned_run(RunRequest(str(tmp_path / "study.yaml"), tmp_path / "out", {}))


def test_a_study_that_is_nowhere_names_those_that_come_with_lowbit() -> None:
    names = "below-8-bits, digits-tflite, mlperf-edge, torch-resnet34"
    with pytest.raises(BadInput, match=f"nowhere: no such file.*{names}"):
        open_study("nowhere")


@pytest.mark.parametrize("name", sorted(shipped()))
def test_what_comes_with_lowbit_can_be_read_and_names_its_source(name: str) -> None:
    study = open_study(name).study
    assert study.source is not None
    assert study.published


def test_all_forty_figures_of_the_study_below_8_bits_are_there() -> None:
    gained = [each for each in open_study("below-8-bits").study.published if each.quantity == "gained"]
    assert len(gained) == 40
    figures = {each.claim: each.value for each in gained}
    assert figures["ResNet-18, CIFAR-10, 4 bits after training (13.36 %, float 80.39 %)"] == -67.03
    assert figures["ResNet-50, Imagenette, 4 bits with training (11.29 %, float 96.03 %)"] == -84.74


def row(recipe: str, speed: float, **more: Any) -> Row:
    plain: dict[str, Any] = {
        "model": "m", "data": "d", "n_samples": 9, "toolchain": "t", "recipe": recipe, "weight_bits": 8,
        "activation_bits": 8, "runtime": "r", "intended": True, "scenario": "offline", "status": "measured",
        "threads": 1, "batch_size": 1, "official": False, "host_id": "h", "samples_per_s": speed,
    }  # fmt: skip
    return Row(**(plain | more))


RATIO = Figure("faster", "here", "rate", 2.0, Selector(recipe="int8"), Selector(recipe="fp32"), holds=">= 2.0")


def test_a_ratio_is_of_one_models_rows_and_the_best_model_counts() -> None:
    rows = {"slow": (row("fp32", 10.0), row("int8", 15.0)), "fast": (row("fp32", 100.0), row("int8", 250.0))}
    found = claim(RATIO, rows, {"slow": None, "fast": None})
    assert (found.verdict, found.measured) == ("held", 2.5)
    assert found.rows == ("fast: t/int8@r", "fast: t/fp32@r")
    only_slow = claim(RATIO, {"slow": rows["slow"]}, {"slow": None})
    assert (only_slow.verdict, only_slow.measured) == ("not held", 1.5)


def test_a_ratio_is_of_rows_with_the_same_settings() -> None:
    sizes = {1: (10.0, 15.0), 2: (20.0, 22.0), 4: (12.0, 30.0)}
    rows = [
        row(recipe, speed, batch_size=size, swept=("batch_size",))
        for size, speeds in sizes.items()
        for recipe, speed in zip(("fp32", "int8"), speeds, strict=True)
    ]
    found = claim(RATIO, {"m": rows}, {"m": None})
    assert found.measured == 2.5  # 30 / 12, and not the fastest over the fastest, 30 / 20
    assert found.rows == ("m: t/int8@r [batch 4]", "m: t/fp32@r [batch 4]")
    across = Figure("", "", "rate", 3.0, Selector(recipe="int8", batch_size=4), Selector(recipe="fp32", batch_size=1),
                    holds=">= 3.0")  # fmt: skip
    assert claim(across, {"m": rows}, {"m": None}).measured == 3.0  # the figure itself names both
    alone = [row("fp32", 10.0), row("int8", 30.0, batch_size=4)]
    assert claim(RATIO, {"m": alone}, {"m": None}).verdict == "could not be tried"


def test_a_ratio_is_of_one_part_of_the_study_where_there_is_one() -> None:
    parts = [row("fp32", 8.0), row("int8", 20.0), row("fp32", 10.0, swept=("isa",)), row("int8", 21.0, swept=("isa",))]
    assert claim(RATIO, {"m": parts}, {"m": None}).measured == 2.5  # and not 21 / 8


def test_what_was_not_measured_could_not_be_tried_and_says_why() -> None:
    rows = {"m": (row("fp32", 10.0), row("int8", 15.0, status="unsupported", reason="no kernel"))}
    found = claim(RATIO, rows, {"m": None})
    assert (found.verdict, found.measured) == ("could not be tried", None)
    assert "no kernel" in found.reason
    arm = claim(Figure("on ARM", "there", "rate", 4.0, untried="arm"), rows, {"m": None})
    assert (arm.verdict, arm.reason) == ("could not be tried", "it was measured on an ARM processor")


def test_a_gain_is_in_points_over_float() -> None:
    figure = Figure("loses a little", "table", "gained", -0.5, Selector(recipe="int8"), holds=">= -0.5")
    rows = {"m": (row("int8", 1.0, top1=0.91),)}
    found = claim(figure, rows, {"m": 0.914})
    assert found.measured == pytest.approx(-0.4)
    assert found.verdict == "held"


@pytest.mark.parametrize(("text", "value", "held"), [
    (">= 2.0", 2.0, True), (">= 2.0", 1.99, False), ("<= 2", 2.0, True), ("< 2", 2.0, False), ("> -1.5", -1.4, True),
])  # fmt: skip
def test_limits(text: str, value: float, held: bool) -> None:
    assert holds(Figure("c", "w", "rate", 9.9, holds=text), value) is held
    assert limit_of(text)[1] == float(text.lstrip("<>= "))


def test_a_tolerance_is_a_share_of_the_published_value() -> None:
    figure = Figure("c", "w", "size_mb", -10.0, within=0.1)
    assert holds(figure, -10.9)
    assert not holds(figure, -11.1)


def test_a_selector_admits_what_it_leaves_out() -> None:
    selector = Selector(model="m", recipe="int8", batch_size=1)
    assert selects(selector, "m", row("int8", 1.0))
    assert not selects(selector, "other", row("int8", 1.0))
    assert not selects(selector, "m", row("int8", 1.0, batch_size=8))


@pytest.mark.parametrize("name", sorted(shipped()))
def test_what_comes_with_lowbit_can_be_planned_with_everything_given(name: str, tmp_path: Path) -> None:
    """Every option, recipe and cell that it names exists; nothing is measured."""
    model = tmp_path / "tiny.onnx"
    tiny_model(model)
    study = open_study(name).study
    own = {"data": "digits", "model": str(model)}
    used = {entry.model[1:]: own["model"] for entry in study.models if entry.model.startswith("$")}
    given = {need.name: used.get(need.name, own["data"]) for need in study.needs if need.otherwise != ""}
    _, parts, untried = planned_run(RunRequest(name, tmp_path / "out", given))
    assert not untried
    assert {part.entry.name for part in parts} == {entry.name for entry in study.models}
