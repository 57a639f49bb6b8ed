"""What is finished is never lost and never done again; what has changed is never answered from before."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests import models
from tests.e2e.command import NULL, compare, environment, lowbit, make_project, rows

WORDS = (
    "compare", "tiny.onnx", "--data", "data.npz", "--preprocess", "unit", "-o", "study",
    "--toolchains", "onnxruntime", "--runtimes", "onnxruntime", "--recipes", "fp32,int8-static",
    "--calibration-samples", "16", "--min-duration", "0.3", "--rounds", "3", "--max-drop", "100",
)  # fmt: skip
ONE = (*NULL[:-1], "int8-static")  # one artifact, so that each command is quick
KINDS = ["samples", "model", "build", "build", "accuracy", "accuracy", "speed", "speed", "speed", "speed"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path)


def start(project: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "lowbit", *WORDS],
        cwd=project, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in a shell's background jobs
    )  # fmt: skip


def finished_jobs(project: Path) -> dict[Path, tuple[int, bytes]]:
    """Every stored result: when it was written, and what it says."""
    found = {}
    for path in (project / "study").rglob("*.json"):
        if path.name.startswith(".") or "logs" in path.parts or "artifacts" in path.parts:
            continue
        content = path.read_bytes()
        if path.parent != project / "study" and "end" in (plain := json.loads(content)) and plain["end"] == "done":
            found[path] = (path.stat().st_mtime_ns, content)
    return found


def started_jobs(project: Path) -> dict[Path, str]:
    return {path: json.loads(path.read_text())["kind"] for path in (project / "study").glob("logs/*/*.job.json")}


def children_of(pid: int) -> list[psutil.Process]:
    """Processes that were started for the command `pid`, however far down."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("LOWBIT_PARENT") == str(pid) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def wait_until_running(project: Path, command: "subprocess.Popen[str]", kind: str, since_ns: int) -> bool:
    """Wait until the command has started a job of this kind; False when it ended without one."""
    while command.poll() is None:
        jobs = started_jobs(project)
        if any(found == kind and path.stat().st_mtime_ns >= since_ns for path, found in jobs.items()):
            return True
        time.sleep(0.01)
    return False


def left_after_a_moment(command: subprocess.Popen[str]) -> list[psutil.Process]:
    """The children that still run once the kernel has had 5 s to carry out their kill."""
    deadline = time.monotonic() + 5
    while (left := children_of(command.pid)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


@pytest.mark.timeout(600)
def test_kill_at_ten_moments_loses_nothing_repeats_nothing_and_leaves_nobody(project: Path) -> None:
    chance = random.Random(8)
    hit = []
    for kind in KINDS:
        before = finished_jobs(project)
        since = time.time_ns()
        command = start(project)
        if wait_until_running(project, command, kind, since):
            time.sleep(chance.uniform(0.0, 0.6))
            hit.append(kind)
        command.send_signal(signal.SIGKILL)
        command.communicate()
        assert left_after_a_moment(command) == [], f"killed during {kind}: a child survived"
        after = finished_jobs(project)
        for path, job in before.items():
            assert after.get(path) == job, f"killed during {kind}: {path} was done again or lost"
    assert {"build", "accuracy", "speed"} <= set(hit), hit
    before = finished_jobs(project)
    last = start(project)
    _, stderr = last.communicate(timeout=200)
    assert last.returncode == 0, stderr
    after = finished_jobs(project)
    assert all(after[path] == job for path, job in before.items())
    assert {row["status"] for row in rows(project) if row["artifact"]} == {"measured"}
    jobs = len(after)
    again = start(project)
    _, stderr = again.communicate(timeout=100)
    assert "build" not in stderr
    assert "accuracy" not in stderr
    assert "timing" not in stderr
    assert len(finished_jobs(project)) == jobs


def test_interrupt_ends_the_children_and_says_how_to_go_on(project: Path) -> None:
    command = start(project)
    assert wait_until_running(project, command, "build", 0)
    command.send_signal(signal.SIGINT)
    _, stderr = command.communicate(timeout=30)
    assert command.returncode == 130
    assert "the same command goes on" in stderr
    assert "Traceback" not in stderr
    assert left_after_a_moment(command) == []


def stages(stderr: str) -> set[str]:
    return {line.split()[0].rstrip(",") for line in stderr.splitlines() if "/" in line}


def test_what_changed_is_measured_anew_and_nothing_else(project: Path) -> None:
    assert compare(*ONE, cwd=project).returncode in (0, 3)
    same = compare(*ONE, cwd=project)
    assert stages(same.stderr) == set(), same.stderr

    preprocess = compare(*ONE, "--preprocess", "unit,mean=0.1", cwd=project)
    assert {"data", "build", "accuracy", "timing"} <= stages(preprocess.stderr)
    assert stages(compare(*ONE, cwd=project).stderr) & {"accuracy", "timing"} == set()  # the old cells still stand

    models.tiny_model(project / "tiny.onnx", seed=1)
    model = compare(*ONE, cwd=project)
    assert {"model", "build", "accuracy", "timing"} <= stages(model.stderr)
    assert "data" not in stages(model.stderr)

    rng = np.random.default_rng(5)
    np.savez(project / "data.npz", x=rng.integers(0, 256, (96, 8, 8, 3), dtype=np.uint8), y=np.arange(96) % 4)
    data = compare(*ONE, cwd=project)
    assert {"data", "build", "accuracy", "timing"} <= stages(data.stderr)

    artifact = next((project / "study/artifacts/null-int8-static").glob("*.null.json"))
    artifact.write_text(artifact.read_text() + " ")  # somebody edits a file that the study made
    edited = compare(*ONE, cwd=project)
    assert "build" in stages(edited.stderr)


@pytest.mark.slow
def test_weights_that_only_the_users_code_knows_of_are_noticed(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    (project / "net.py").write_text(
        "import torch\n"
        "def net():\n"
        "    layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4))\n"
        "    layers.load_state_dict(torch.load('inner.pt', weights_only=True))\n"
        "    return layers\n"
    )
    write = "import torch, sys; torch.manual_seed(int(sys.argv[1])); "
    write += "torch.save(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4)).state_dict(), 'inner.pt')"

    def kl_with(seed: str) -> tuple[float, set[str]]:
        subprocess.run([sys.executable, "-c", write, seed], cwd=project, check=True)
        done = compare(*ONE, "--max-drop", "100", cwd=project, model="net.py:net")
        assert done.returncode == 0, done.stderr
        return rows(project)[0]["kl"], stages(done.stderr)

    first, _ = kl_with("1")
    other, ran = kl_with("2")
    assert first != other
    assert "accuracy" in ran
    same, ran = kl_with("2")
    assert same == other
    assert ran == {"model"}  # the graph is made anew to see that nothing changed


def test_what_is_damaged_or_removed_is_made_again(project: Path) -> None:
    assert compare(*ONE, "--max-drop", "100", cwd=project).returncode == 0
    study = project / "study"
    expected = [{key: row[key] for key in ("toolchain", "recipe", "top1", "agreement", "kl")} for row in rows(project)]
    accuracy = next(study.glob("cells/*/accuracy.json"))
    for damage in (
        lambda: accuracy.write_text(accuracy.read_text()[:100]),
        lambda: next(study.glob("artifacts/*/manifest.json")).write_text("{"),
        lambda: shutil.rmtree(next(path for path in study.glob("cache/samples-*") if path.is_dir())),
        lambda: shutil.rmtree(next(path for path in study.glob("cache/model-*") if path.is_dir())),
        lambda: shutil.rmtree(next(path for path in study.glob("cache/reference-*") if path.is_dir())),
        lambda: next(study.glob("cells/*/right.npy")).unlink(),
        lambda: (study / "study.json").write_text('{"report": {}, "cells": {}}'),
    ):
        damage()
        again = compare(*ONE, "--max-drop", "100", cwd=project)
        assert again.returncode == 0, again.stderr
        found = [{key: row[key] for key in expected[0]} for row in rows(project)]
        assert found == expected


def test_a_damaged_study_is_told_so(project: Path) -> None:
    assert compare(*NULL, "--max-drop", "100", cwd=project).returncode == 0
    (project / "study" / "study.json").write_text('{"report": {}, "cells": {}}')
    done = lowbit("report", "study", cwd=project)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "repeat `lowbit compare`" in done.stderr


def test_a_folder_with_other_things_is_left_alone(project: Path) -> None:
    own = project / "study" / "cache" / ".mine"
    own.mkdir(parents=True)
    done = compare(*NULL, cwd=project)
    assert done.returncode == 2
    assert "is not empty and holds no study" in done.stderr
    assert own.is_dir()


@pytest.mark.slow  # a wider sweep keeps what is there likewise (test_sweep.py)
def test_more_rounds_keep_the_earlier_ones(project: Path) -> None:
    assert compare(*NULL, "--max-drop", "100", cwd=project).returncode == 0
    before = finished_jobs(project)
    more = compare(*NULL, "--max-drop", "100", "--rounds", "2", cwd=project)
    assert more.returncode == 0
    after = finished_jobs(project)
    assert all(after[path] == job for path, job in before.items())
    assert stages(more.stderr) == {"timing"}
    assert any(row["latency_p50_high_ms"] >= row["latency_p50_low_ms"] for row in rows(project) if row["artifact"])
