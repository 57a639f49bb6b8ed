"""`lowbit quantize --epochs` through a real process: what it writes and says, and what a kill does to it."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import lowbit
from tests.e2e.command import environment, make_project
from tests.e2e.command import lowbit as command

# Rounded to nearest, 2 bits leave much to gain.
BASE = ("quantize", "digits-cnn", "--data", "digits", "--recipe", "w2a4", "--rounding", "nearest", "--threads", "1")


def train(folder: Path, *arguments: str, out: str = "out.onnx") -> subprocess.CompletedProcess[str]:
    return command(*BASE, *arguments, "-o", out, cwd=folder)


def test_a_trained_file_says_how_it_was_trained(tmp_path: Path) -> None:
    done = train(tmp_path, "--epochs", "4", "--label-loss", "0.2")
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "on 134 held-out pictures: loss" in text
    manifest = json.loads((tmp_path / "out.onnx.manifest.json").read_text())
    training = manifest["training"]
    points, best = training["points"], training["points"][training["best"]]
    assert f"{points[-1]['images']:,} pictures seen of 1,213 and their labels" in text
    assert training["images"] + training["held_out"] == 1347
    assert [point["images"] for point in points] == sorted(point["images"] for point in points)
    assert best["loss"] == min(point["loss"] for point in points) < 0.8 * points[0]["loss"]
    assert best["accuracy"] > points[0]["accuracy"]
    assert [each["runtime"] for each in manifest["verified"]] == ["onnxruntime", "openvino"]
    assert {path.name for path in tmp_path.iterdir()} == {"out.onnx", "out.onnx.plan.json", "out.onnx.manifest.json"}


def test_from_python(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    common: dict[str, Any] = {"recipe": "w2a4", "preprocess": "unit", "threads": 1, "rounding": "nearest"}
    plain = lowbit.quantize(project / "tiny.onnx", project / "data.npz", project / "plain.onnx", **common)
    made = lowbit.quantize(
        project / "tiny.onnx", project / "data.npz", project / "out.onnx", **common, epochs=30, train_samples=80,
        max_memory="2GB",
    )  # fmt: skip
    training = made.manifest.training
    assert training is not None
    assert training.gained
    assert training.images + training.held_out == 80
    assert training.options.max_memory == 2 * 10**9
    assert abs(made.manifest.size_bytes - plain.manifest.size_bytes) < 0.01 * plain.manifest.size_bytes


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--epochs", "0"), "--epochs 0: expected 1 or more"),
        (("--epochs", "1", "--label-loss", "-1"), "--label-loss -1: expected 0"),
        (("--epochs", "1", "--train-samples", "0"), "--train-samples 0: expected at least 20"),
        (("--epochs", "1", "--train-samples", "12"), "--train-samples 12: expected at least 20"),
        (("--epochs", "1", "--budget", "soon"), "--budget soon: expected a time above 0"),
        (("--epochs", "1", "--max-memory", "lots"), "--max-memory lots: expected bytes, as in 4GB"),
        (("--train-samples", "100", "--label-loss", "0.2"), "--label-loss, --train-samples: without --epochs"),
        (("--epochs", "1", "--label-loss", "1", "--labels", "no.json"), "--labels no.json: no such file"),
    ],
)
def test_bad_input(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    (tmp_path / "out.onnx").write_text("older")
    done = train(tmp_path, *arguments)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out.onnx", "older")]


LONG = (
    "quantize", "tiny.onnx", "--data", "data.npz", "--preprocess", "unit", "--recipe", "w2a4", "--rounding", "nearest",
    "--threads", "1", "--epochs", "1000", "-o", "out.onnx",
)  # fmt: skip


def killed(folder: Path, moments: int, seed: int) -> int:
    """Kill the command at so many moments of its training, each after another checkpoint; the number that were hit."""
    chance, hit = random.Random(seed), 0
    words = [sys.executable, "-P", "-m", "lowbit", *LONG]
    for _ in range(moments):
        before = checkpoint(folder)
        process = subprocess.Popen(words, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while process.poll() is None and checkpoint(folder) == before:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.3))
        if process.poll() is None:
            hit += 1
        process.send_signal(signal.SIGKILL)
        process.communicate()
        while checkpoint(folder) is not None and recently(folder):
            time.sleep(0.1)  # its child dies a moment later
    return hit


def checkpoint(folder: Path) -> int | None:
    found = [path.stat().st_mtime_ns for path in (folder / "out.onnx.training").rglob("state.pt")]
    return found[0] if found else None


def recently(folder: Path) -> bool:
    at = checkpoint(folder)
    return at is not None and time.time_ns() - at < 3e8


@pytest.mark.slow
def test_a_training_that_is_killed_at_ten_moments_goes_on_to_the_same_file(tmp_path: Path) -> None:
    make_project(tmp_path)
    assert killed(tmp_path, 10, 4) == 10
    done = command(*LONG, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "out.onnx.training").exists()
    (tmp_path / "out.onnx").rename(tmp_path / "killed.onnx")
    whole = command(*LONG, cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert (tmp_path / "out.onnx").read_bytes() == (tmp_path / "killed.onnx").read_bytes()
