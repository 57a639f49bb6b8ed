"""`lowbit.compare` as a Python user calls it."""

from pathlib import Path

import pytest

import lowbit
from lowbit.core.row import COLUMNS
from tests.e2e.command import make_project


def test_a_study_from_python_and_back_from_its_folder(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    stages: set[str] = set()
    result = lowbit.compare(
        str(project / "tiny.onnx"),
        str(project / "data.npz"),
        preprocess="unit",
        calibration_samples=16,
        toolchains=["null"],
        runtimes=["null"],
        recipes=["fp32", "int8-static"],
        min_duration=0.05,
        rounds=1,
        max_drop=100,
        out=project / "study",
        progress=lambda event: stages.add(event.stage),
    )
    assert {"data", "model", "build", "accuracy"} <= stages
    assert result.winner in result.rows
    frame = result.to_frame()
    assert tuple(frame.columns) == COLUMNS
    assert list(frame["recipe"]) == ["fp32", "int8-static"]
    assert "<table" in result._repr_html_()
    assert "--recipes fp32,int8-static" in result.report.command
    again = lowbit.load(project / "study")
    assert again.rows == result.rows
    assert again.report == result.report


def test_bad_arguments_are_bad_input_before_anything_runs(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    model, data = str(project / "tiny.onnx"), str(project / "data.npz")
    with pytest.raises(lowbit.BadInput, match="--preprocess is missing"):
        lowbit.compare(model, data)
    with pytest.raises(lowbit.BadInput, match="--optimize speed: expected one of latency, size, memory"):
        lowbit.compare(model, data, preprocess="unit", optimize="speed")  # type: ignore[arg-type]
    stages: list[str] = []
    with pytest.raises(lowbit.BadInput, match="no such file"):
        lowbit.compare(
            str(project / "absent.onnx"), data, preprocess="unit", out=project / "study",
            calibration_samples=16, progress=lambda event: stages.append(event.stage),
        )  # fmt: skip
    assert stages == []  # not even the pictures were decoded
