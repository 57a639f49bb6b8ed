from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lowbit.core.adapter import RuntimeInfo, ToolchainInfo
from lowbit.core.artifact import Manifest
from lowbit.core.cell import Build, Cell, Outcome
from lowbit.core.host import Host
from lowbit.core.model import FloatModel
from lowbit.core.outcome import Accuracy, Timing
from lowbit.core.preprocess import Preprocess
from lowbit.core.recipe import Recipe
from lowbit.core.samples import Samples
from lowbit.core.settings import Settings
from lowbit.core.verified import LayerCheck, ScoresCheck, Verified
from lowbit.measure.stats import paired_margin
from lowbit.measure.verify import shortfall
from lowbit.study import keys
from lowbit.study.ask import StudyRequest
from lowbit.study.cells import plan_cells
from lowbit.study.choose import choose
from lowbit.study.rows import CellState, Common, mark_miscomputed, noise_of, rows_of
from lowbit.study.verification import failure_of

FP32, INT16 = Recipe("fp32", 32, 32, "float"), Recipe("int16x8", 8, 16, "integer")
TOOL = ToolchainInfo("tool", (), None, "onnx", ("a",), (FP32, INT16))
BUILDS = plan_cells([TOOL], [RuntimeInfo(name, (), None, ("onnx",)) for name in ("a", "b")]).builds
READER = RuntimeInfo("a", (), None, ("onnx",))
FLOAT = Accuracy(1000, 920, None, 1.0, None, 0, 0, 1.0)
COMMON = Common("m", "d", 1000, Settings(), host_id="h", accuracy=True, float_accuracy=FLOAT)


def cell(build: Build, runtime: str, right: np.ndarray, folder: Path, p50: float = 1.0) -> CellState:
    path = folder / f"{build.folder}-{runtime}.npy"
    np.save(path, right)
    accuracy = Accuracy(len(right), int(right.sum()), None, 1.0, 0.0, 0, 0, 1.0)
    timing = Timing(
        p50, p50, p50, p50, p50, 1e3 / p50, None, 64, 64, 1.0, True, "VALID", 1000, 0.1, 0.1, 0.0, 0.0, 0.0, False
    )
    timings = [replace(timing, latency_p50_ms=p50 * factor) for factor in (1.0, 1.1, 0.9)]
    return CellState(
        Cell(build, runtime, Settings()), accuracy=Outcome("done", accuracy), right=path,
        timings=[Outcome("done", timing) for timing in timings],
    )  # fmt: skip


def test_a_file_that_one_runtime_computes_wrongly_fails_there_with_both_figures(tmp_path: Path) -> None:
    good = np.arange(1000) < 917
    cells = [
        cell(BUILDS[1], "a", good, tmp_path),
        cell(BUILDS[1], "b", np.arange(1000) < 140, tmp_path),
        cell(BUILDS[0], "a", good, tmp_path),
        cell(BUILDS[0], "b", np.arange(1000) < 900, tmp_path),  # 1.7 points: within the rule
    ]
    mark_miscomputed(cells)
    rows = rows_of(cells, (), COMMON)
    assert [row.status for row in rows] == ["measured", "failed", "measured", "measured"]
    assert rows[1].reason is not None
    assert "14.00 %" in rows[1].reason
    assert "91.70 %" in rows[1].reason


def test_a_difference_that_may_be_chance_is_no_failure(tmp_path: Path) -> None:
    few = np.arange(40) < 38
    cells = [cell(BUILDS[0], "a", few, tmp_path), cell(BUILDS[0], "b", np.arange(40) < 36, tmp_path)]  # 5 points
    mark_miscomputed(cells)
    assert all(each.alive for each in cells)


def test_a_pass_that_ended_early_is_the_float_models_figure_and_their_difference(tmp_path: Path) -> None:
    state = cell(BUILDS[1], "a", np.arange(400) < 350, tmp_path)
    early = Accuracy(400, 350, 390, 0.98, 0.01, b=6, c=2, p_value=0.29)
    state.accuracy = Outcome("done", early)
    (row,) = rows_of([state], (), COMMON)
    assert row.top1 == pytest.approx(0.92 - 4 / 400)
    assert row.top1_low is not None and row.top1_high is not None
    margin = paired_margin(6, 2, 400)
    assert row.top1_high - row.top1_low > 2 * margin
    assert row.n_samples == 400
    assert row.top5 is None
    assert any("400 of 1,000 images" in note and f"± {100 * margin:.2f} points" in note for note in row.notes)


def test_files_are_compared_between_runtimes_on_images_that_both_answered(tmp_path: Path) -> None:
    whole, early = cell(BUILDS[1], "a", np.arange(1000) < 917, tmp_path), cell(BUILDS[1], "b", np.ones(1), tmp_path)
    right = np.full(1000, -1, np.int8)
    right[:200] = np.arange(200) < 120  # the other one has all 200 of them right
    assert early.right is not None
    np.save(early.right, right)
    early.accuracy = Outcome("done", Accuracy(200, 120, None, 0.6, 1.0, b=80, c=0, p_value=0.0))
    mark_miscomputed([whole, early])
    assert whole.alive
    assert early.broken is not None and "60.00 %" in early.broken.reason


def test_rounds_become_medians_with_their_spread_and_speedup_is_over_the_best_fp32(tmp_path: Path) -> None:
    right = np.arange(1000) < 900
    slow, fast = cell(BUILDS[0], "a", right, tmp_path, p50=4.0), cell(BUILDS[0], "b", right, tmp_path, p50=2.0)
    rows = rows_of([slow, fast, cell(BUILDS[1], "a", right, tmp_path, p50=1.0)], (), COMMON)
    assert [row.speedup for row in rows] == pytest.approx([0.5, 1.0, 2.0])
    assert rows[0].latency_p50_ms == 4.0
    assert (rows[0].latency_p50_low_ms, rows[0].latency_p50_high_ms) == pytest.approx((3.6, 4.4))
    assert rows[0].top1 == 0.9
    hidden = rows_of([slow], (), replace(COMMON, accuracy=False))
    assert hidden[0].top1 is None
    assert hidden[0].agreement == 1.0


def test_fp32_is_what_is_float_in_32_bits_whatever_its_name(tmp_path: Path) -> None:
    named = Recipe("float", 32, 32, "float", series="wNa32"), Recipe("fp32", 8, 8, "integer")
    builds = plan_cells([replace(TOOL, recipes=named)], [RuntimeInfo("a", (), None, ("onnx",))]).builds
    right = np.arange(1000) < 900
    rows = rows_of([cell(builds[0], "a", right, tmp_path, 2.0), cell(builds[1], "a", right, tmp_path, 1.0)], (), COMMON)
    assert [row.speedup for row in rows] == pytest.approx([1.0, 2.0])
    assert [(row.claim, row.series) for row in rows] == [("float", "wNa32"), ("integer", "")]


def test_speed_ups_stay_within_the_same_settings(tmp_path: Path) -> None:
    right = np.arange(1000) < 900
    one, two = Settings("offline", threads=1), Settings("offline", threads=2)
    alone = Settings("offline", threads=4)

    def at(settings: Settings, build: Build, rate: float) -> CellState:
        made = cell(build, "a", right, tmp_path)
        made.cell = replace(made.cell, settings=settings, swept=("threads",))
        made.timings = [Outcome("done", replace(made.timings[0].result, samples_per_s=rate))]
        return made

    cells = [
        at(one, BUILDS[0], 100.0), at(one, BUILDS[1], 300.0),
        at(two, BUILDS[0], 200.0), at(two, BUILDS[1], 800.0),
        at(alone, BUILDS[1], 900.0),  # nothing to compare with
    ]  # fmt: skip
    rows = rows_of(cells, (), COMMON)
    assert [row.speedup for row in rows] == [1.0, 3.0, 1.0, 4.0, None]
    assert [(row.threads, row.scenario) for row in rows[1::2]] == [(1, "offline"), (2, "offline")]
    assert rows[3].name == "tool/int16x8@a [2 threads]"
    assert len({row.name for row in rows}) == len(rows) == len(noise_of(cells))
    assert set(noise_of(cells)) == {row.name for row in rows}
    best = choose(rows, 0.9, optimize="latency", max_drop=1.0, settings=one)
    assert best.row == 1  # the fastest of one thread, although others are faster
    assert best.tied == ()
    assert choose(rows, 0.9, optimize="latency", max_drop=1.0).row == 4


def test_accuracy_is_held_against_other_runtimes_with_the_same_settings_only(tmp_path: Path) -> None:
    good, poor = np.arange(1000) < 917, np.arange(1000) < 140
    saturated, full = cell(BUILDS[1], "a", poor, tmp_path), cell(BUILDS[1], "b", good, tmp_path)
    saturated.cell = replace(saturated.cell, settings=Settings(isa="avx2"), swept=("isa",))
    mark_miscomputed([saturated, full])
    assert saturated.alive
    (row,) = rows_of([saturated], (), COMMON)
    assert row.isa == "avx2"
    assert any("saturate" in note for note in row.notes)
    full.cell = replace(full.cell, settings=Settings(isa="avx2"))
    mark_miscomputed([saturated, full])
    assert not saturated.alive


def test_what_a_row_must_tell_are_fields_and_a_list(tmp_path: Path) -> None:
    noted = replace(FP32, note="storage only; computed in fp32")
    (build,) = plan_cells([replace(TOOL, recipes=(noted,))], [RuntimeInfo("a", (), None, ("onnx",))]).builds
    one = cell(build, "a", np.arange(1000) < 900, tmp_path)
    one.timings[1] = Outcome("done", replace(one.timings[1].result, disturbed=True))
    (row,) = rows_of([one], (), COMMON)
    assert row.notes == ("storage only; computed in fp32",)
    assert row.disturbed


def test_a_row_says_which_package_is_outside_its_bounds(tmp_path: Path) -> None:
    made = cell(BUILDS[0], "a", np.arange(1000) < 900, tmp_path)
    made.outside = ("nncf 4.1 is outside the versions that lowbit is made for (>=3.0)",)
    (row,) = rows_of([made], (), COMMON)
    assert "nncf 4.1 is outside the versions that lowbit is made for (>=3.0)" in row.notes


def request(**changes: object) -> StudyRequest:
    plain = StudyRequest("m.onnx", "d", Path("study"), Preprocess("unit"))
    return replace(plain, **changes)  # type: ignore[arg-type]


MODEL = FloatModel(Path("m"), "d1", "m", "m.onnx", "s1", "x", "y", (3, 8, 8), 4, probabilities=False)
HOST = Host("h1", "cpu", ("avx2",), 2, 2, "unknown", 1, "Linux", "3.11")
SAMPLES = Samples(Path("s"), "calibration", "c1", ("a", "b"), np.zeros((2, 8, 8, 3), np.uint8), np.zeros(2, int))


def key_of(asked: StudyRequest, build: Build, model: FloatModel, samples: Samples, host: Host) -> str:
    return keys.build_key(asked.inputs, build, model, samples, host, asked.settings.batch_size)


def test_whatever_can_change_an_artifact_changes_its_key() -> None:
    build = BUILDS[1]
    base = key_of(request(), build, MODEL, SAMPLES, HOST)
    assert base == key_of(request(), build, replace(MODEL, path=Path("elsewhere")), SAMPLES, HOST)
    changed = [
        key_of(request(), replace(build, versions={"tool": "2.0"}), MODEL, SAMPLES, HOST),
        key_of(request(), replace(build, recipe=replace(INT16, options={"x": 1})), MODEL, SAMPLES, HOST),
        keys.build_key(request().inputs, build, MODEL, SAMPLES, HOST, 1, classes=(1, 0)),
        key_of(request(), build, replace(MODEL, digest="d2"), SAMPLES, HOST),
        key_of(request(), build, MODEL, replace(SAMPLES, digest="c2"), HOST),
        key_of(request(preprocess=Preprocess("raw", scale=1.0)), build, MODEL, SAMPLES, HOST),
        key_of(request(settings=Settings(seed=1)), build, MODEL, SAMPLES, HOST),
        key_of(request(), build, MODEL, SAMPLES, replace(HOST, isa=("avx512_vnni",))),
    ]
    assert len({base, *changed}) == len(changed) + 1
    assert base == key_of(request(settings=Settings(rounds=9)), build, MODEL, SAMPLES, HOST)


def test_the_users_own_keras_file_is_in_the_key_of_what_may_start_from_it() -> None:
    own = replace(MODEL, keras_file=Path("m.h5"))
    of = [
        key_of(request(), BUILDS[1], model, SAMPLES, HOST)
        for model in (MODEL, own, replace(own, source_digest="s2"), replace(MODEL, source_digest="s2"))
    ]
    assert of[0] == of[3]
    assert len(set(of)) == 3


def test_a_setting_changes_the_keys_of_what_it_can_change_and_no_others() -> None:
    made = Manifest(
        "k", "tool", INT16, "onnx", "m.onnx", ("m.onnx",), ("a",), {}, Preprocess("unit"), "m", "d1", 8, None, {}, "e1",
        1, 0.0, 0.0, None,
    )  # fmt: skip
    base = keys.cell_key(made, "a", {"a": "1"}, "r", 32, 1, None)
    others = [
        keys.cell_key(made, "a", {"a": "1"}, "r", 32, 2, None),
        keys.cell_key(made, "a", {"a": "1"}, "r", 32, 1, "avx2"),
        keys.cell_key(made, "a", {"a": "1"}, "r", 1, 1, None),
        keys.cell_key(replace(made, batch_size=8), "a", {"a": "1"}, "r", 32, 1, None),
    ]
    assert len({base, *others}) == 5
    settings = Settings("offline", 1, 8)
    timed = [
        keys.timing_key(each, HOST)
        for each in (
            settings, replace(settings, threads=2), replace(settings, batch_size=4), replace(settings, isa="avx2"),
            replace(settings, scenario="multi-stream"), replace(settings, seed=1), replace(settings, official=True),
            replace(settings, min_duration_s=9.0),
        )
    ]  # fmt: skip
    assert len(set(timed)) == len(timed)
    assert keys.timing_key(replace(settings, rounds=9), HOST) == timed[0]


def test_a_file_that_falls_short_of_the_reference_fails_and_one_that_cannot_be_judged_says_so(tmp_path: Path) -> None:
    right = np.arange(1000) < 900
    layer = LayerCheck("Conv_0", "Conv", 1000, 0.45, 40, "float")
    scores = ScoresCheck(8, 80, 0.1, 1.0, 1.0, 0.0, 0.0)
    wrong = Outcome("done", Verified("a", (layer,), (), scores))
    far = Outcome("done", Verified("a", (), (), replace(scores, error=0.5)))
    unjudged: Outcome[Verified] = Outcome("unsupported", reason="a sum reaches 3e9, beyond int32")
    good = Outcome("done", Verified("a", (replace(layer, equal=0.999, largest=1),), (), scores))
    cells = [cell(BUILDS[0], "a", right, tmp_path) for _ in range(4)]
    for state, outcome in zip(cells, (wrong, far, unjudged, good), strict=True):
        state.verified, state.broken = outcome, failure_of(outcome)
    rows = rows_of(cells, (), COMMON)
    assert [row.status for row in rows] == ["failed", "failed", "measured", "measured"]
    assert rows[0].reason is not None and "Conv Conv_0: 45 % of its codes" in rows[0].reason
    assert rows[1].reason is not None and "0.5 of their spread" in rows[1].reason
    assert "not verified: a sum reaches 3e9, beyond int32" in rows[2].notes


def test_a_tie_among_few_codes_is_no_shortfall() -> None:
    scores = ScoresCheck(8, 80, 0.1, 1.0, 1.0, 0.0, 0.0)
    for codes, unequal, largest, short in (
        (80, 2, 1, False),
        (80, 4, 1, True),
        (80, 1, 2, True),
        (10_000, 99, 1, False),
    ):
        layer = LayerCheck("Gemm_7", "Gemm", codes, 1 - unequal / codes, largest, "float")
        assert (shortfall(Verified("a", (layer,), (), scores)) is not None) is short


def test_the_key_of_an_artifact_has_the_packages_of_its_recipe() -> None:
    recipe = Recipe("w4a8-ir", 4, 8, "integer", packages=("pillow",))
    [build] = plan_cells([ToolchainInfo("own", ("numpy",), None, "onnx", ("a",), (recipe,))], [READER]).builds
    assert build.versions.keys() == {"numpy", "pillow"}
    newer = replace(build, versions={**build.versions, "pillow": "999"})
    assert key_of(request(), build, MODEL, SAMPLES, HOST) != key_of(request(), newer, MODEL, SAMPLES, HOST)


def test_a_recipe_that_needs_a_missing_package_is_unsupported_and_the_others_are_made() -> None:
    needs = Recipe("w8a8-tflite", 8, 8, "integer", packages=("no-such-package-at-all",), extra="litert")
    plan = plan_cells([ToolchainInfo("own", ("numpy",), "torch", "onnx", ("a",), (FP32, needs))], [READER])
    assert [build.recipe.name for build in plan.builds] == ["fp32"]
    [lacking] = plan.impossible
    assert lacking.reason == "no-such-package-at-all is not installed: pip install 'lowbit[litert]'"


def test_a_verification_answers_only_for_its_file_its_runtime_and_its_processor() -> None:
    manifest = Manifest(
        "k", "lowbit", FP32, "onnx", "m.onnx", ("m.onnx",), ("a",), {}, Preprocess("unit"), "m", "d", 8, None, {}, "f1",
        1, 0.0, 0.0, None, verifiable=True,
    )  # fmt: skip
    packages = {"openvino": "1"}
    base = keys.verify_key(manifest, SAMPLES, "a", packages, 8, HOST)
    changed = [
        keys.verify_key(replace(manifest, digest="f2"), SAMPLES, "a", packages, 8, HOST),
        keys.verify_key(replace(manifest, key="k2"), SAMPLES, "a", packages, 8, HOST),
        keys.verify_key(manifest, replace(SAMPLES, digest="c2"), "a", packages, 8, HOST),
        keys.verify_key(manifest, SAMPLES, "b", packages, 8, HOST),
        keys.verify_key(manifest, SAMPLES, "a", {"openvino": "2"}, 8, HOST),
        keys.verify_key(manifest, SAMPLES, "a", packages, 9, HOST),
        keys.verify_key(manifest, SAMPLES, "a", packages, 8, replace(HOST, id="h2")),
    ]
    assert len({base, *changed}) == len(changed) + 1
