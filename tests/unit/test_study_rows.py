from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lowbit.core.adapter import RuntimeInfo, ToolchainInfo
from lowbit.core.codec import to_plain
from lowbit.core.host import Host
from lowbit.core.model import FloatModel
from lowbit.core.outcome import Accuracy, Timing
from lowbit.core.preprocess import Preprocess
from lowbit.core.recipe import Recipe
from lowbit.core.samples import Samples
from lowbit.core.settings import Settings
from lowbit.study import keys
from lowbit.study.ask import StudyRequest
from lowbit.study.cells import PlannedBuild, make_plan
from lowbit.study.rows import CellState, Common, mark_miscomputed, rows_of
from lowbit.worker.jobs import JobResult

FP32, INT16 = Recipe("fp32", 32, 32, "float"), Recipe("int16x8", 8, 16, "integer")
TOOL = ToolchainInfo("tool", (), None, "onnx", ("a",), (FP32, INT16))
BUILDS = make_plan([TOOL], [RuntimeInfo(name, (), None, ("onnx",)) for name in ("a", "b")]).builds
COMMON = Common("m", "d", 1000, "single-stream", 1, 1, official=False, host_id="h", accuracy=True)


def cell(build: PlannedBuild, runtime: str, right: np.ndarray, folder: Path, p50: float = 1.0) -> CellState:
    path = folder / f"{build.name}-{runtime}.npy"
    np.save(path, right)
    accuracy = Accuracy(len(right), int(right.sum()), None, 1.0, 0.0, 0, 0, 1.0)
    timing = Timing(p50, p50, p50, 1e3 / p50, 64, True, "VALID", 1000, 0.1, 0.1, 0.0, 0.0, 0.0, False)
    timings = [replace(timing, latency_p50_ms=p50 * factor) for factor in (1.0, 1.1, 0.9)]
    return CellState(
        build, runtime, built=JobResult("done"), accuracy=JobResult("done", data=to_plain(accuracy)), right=path,
        timings=[JobResult("done", data=to_plain(timing)) for timing in timings],
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


def test_rounds_become_medians_with_their_spread_and_speedup_is_over_the_best_fp32(tmp_path: Path) -> None:
    right = np.arange(100) < 90
    slow, fast = cell(BUILDS[0], "a", right, tmp_path, p50=4.0), cell(BUILDS[0], "b", right, tmp_path, p50=2.0)
    rows = rows_of([slow, fast, cell(BUILDS[1], "a", right, tmp_path, p50=1.0)], (), COMMON)
    assert [row.speedup for row in rows] == pytest.approx([0.5, 1.0, 2.0])
    assert rows[0].latency_p50_ms == 4.0
    assert (rows[0].latency_p50_low_ms, rows[0].latency_p50_high_ms) == pytest.approx((3.6, 4.4))
    assert rows[0].top1 == 0.9
    hidden = rows_of([slow], (), replace(COMMON, accuracy=False))
    assert hidden[0].top1 is None
    assert hidden[0].agreement == 1.0


def test_a_row_says_which_package_is_outside_its_bounds(tmp_path: Path) -> None:
    made = cell(BUILDS[0], "a", np.arange(100) < 90, tmp_path)
    made.outside = ("nncf 4.1 is outside the versions that lowbit is made for (>=3.0)",)
    (row,) = rows_of([made], (), COMMON)
    assert row.note is not None
    assert "nncf 4.1 is outside" in row.note


def request(**changes: object) -> StudyRequest:
    plain = StudyRequest("m.onnx", "d", Path("study"), Preprocess("unit"))
    return replace(plain, **changes)  # type: ignore[arg-type]


MODEL = FloatModel(Path("m"), "d1", "m", "m.onnx", "s1", "x", "y", (3, 8, 8), 4, probabilities=False)
HOST = Host("h1", "cpu", ("avx2",), 2, 2, "unknown", 1, "Linux", "3.11")
SAMPLES = Samples(Path("s"), "calibration", "c1", ("a", "b"), np.zeros((2, 8, 8, 3), np.uint8), np.zeros(2, int))


def test_whatever_can_change_an_artifact_changes_its_key() -> None:
    build = BUILDS[1]
    base = keys.build_key(request(), build, MODEL, SAMPLES, HOST)
    assert base == keys.build_key(request(), build, replace(MODEL, path=Path("elsewhere")), SAMPLES, HOST)
    changed = [
        keys.build_key(request(), replace(build, versions={"tool": "2.0"}), MODEL, SAMPLES, HOST),
        keys.build_key(request(), replace(build, recipe=replace(INT16, options={"x": 1})), MODEL, SAMPLES, HOST),
        keys.build_key(request(), build, replace(MODEL, digest="d2"), SAMPLES, HOST),
        keys.build_key(request(), build, MODEL, replace(SAMPLES, digest="c2"), HOST),
        keys.build_key(request(preprocess=Preprocess("raw", scale=1.0)), build, MODEL, SAMPLES, HOST),
        keys.build_key(request(settings=Settings(seed=1)), build, MODEL, SAMPLES, HOST),
        keys.build_key(request(), build, MODEL, SAMPLES, replace(HOST, isa=("avx512_vnni",))),
    ]
    assert len({base, *changed}) == len(changed) + 1
    assert base == keys.build_key(request(settings=Settings(rounds=9)), build, MODEL, SAMPLES, HOST)
