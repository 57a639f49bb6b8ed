"""Jobs and outcomes as files: nothing is lost on the way, and a study may be moved."""

import json
from pathlib import Path

import pytest

from lowbit.core.artifact import Artifact
from lowbit.core.cell import Failure, Outcome
from lowbit.core.errors import DamagedFile
from lowbit.core.outcome import Timing
from lowbit.core.preprocess import Preprocess
from lowbit.core.settings import Settings
from lowbit.worker.jobs import SamplesJob, SpeedJob
from lowbit.worker.stored_jobs import load_job, load_outcome, save_job, save_outcome

TIMING = Timing(1.0, 1.1, 1.2, 1.3, 1.1, 990.0, None, 64, 64, 0.1, True, "VALID", 1000, 0.1, 0.2, 0.0, 0.0, 0.0, False)


def test_paths_within_the_study_move_with_it_and_others_stay(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    artifact = Artifact(old / "artifacts" / "a" / "m.onnx", "onnx", "d", (3, 8, 8), 4)
    job = SpeedJob(artifact, "onnxruntime", old / "cache" / "s", Preprocess("unit"), Settings(), old / "logs")
    save_job(tmp_path / "job.json", job, old)
    assert str(old) not in (tmp_path / "job.json").read_text()
    moved = load_job(tmp_path / "job.json", new)
    assert isinstance(moved, SpeedJob)
    assert moved.artifact.path == new / "artifacts" / "a" / "m.onnx"
    assert (moved.samples, moved.logs) == (new / "cache" / "s", new / "logs")
    users = SamplesJob(str(tmp_path / "data"), Preprocess("unit"), 8, 0, None, old / "cache" / "s", 1)
    save_job(tmp_path / "job.json", users, old)
    moved = load_job(tmp_path / "job.json", new)
    assert isinstance(moved, SamplesJob)
    assert (moved.data, moved.out) == (str(tmp_path / "data"), new / "cache" / "s")


def test_outcomes_come_back_as_they_went(tmp_path: Path) -> None:
    path = tmp_path / "outcome.json"
    for outcome in (
        Outcome("done", TIMING),
        Outcome("unsupported", reason="it has none", remedy="take another"),
        Outcome("missing", reason="x is not installed", remedy="pip install x"),
        Outcome("bad-input", reason="infinite"),
        Outcome("failed", reason="SIGSEGV"),
    ):
        save_outcome(path, outcome)
        assert load_outcome(path, Timing) == outcome
    path.write_text(json.dumps({"end": "done", "reason": "", "remedy": "", "data": {"latency": 1}}))
    with pytest.raises(DamagedFile, match="no result of this version"):
        load_outcome(path, Timing)


def test_what_a_row_says_of_each_end() -> None:
    assert Outcome("done", TIMING).failure is None
    assert Outcome("missing", reason="x", remedy="pip").failure == Failure("unsupported", "x: pip")
    assert Outcome("unsupported", reason="x", log="logs/a").failure == Failure("unsupported", "x", "logs/a")
    assert Outcome("bad-input", reason="infinite").failure == Failure("failed", "infinite")
    assert Outcome("failed", reason="x").failure == Failure("failed", "x")
