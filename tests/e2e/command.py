"""The command line as a real process, and a small project to run it in."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests import models

NULL = ("--toolchains", "null", "--runtimes", "null", "--recipes", "fp32,int8-static")
QUICK = ("--min-duration", "0.05", "--rounds", "1", "--calibration-samples", "16")


def make_project(folder: Path, *, seed: int = 0) -> Path:
    """tiny.onnx and data.npz (96 pictures of 8 × 8, four classes) in `folder`."""
    models.tiny_model(folder / "tiny.onnx", seed=seed)
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (96, 8, 8, 3), dtype=np.uint8)
    np.savez(folder / "data.npz", x=pictures, y=np.arange(96) % 4)
    return folder


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "COLUMNS": "140", "NO_COLOR": "1", **more}


def lowbit(*arguments: str, cwd: Path, time_limit_s: float = 240, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "lowbit", *arguments],
        cwd=cwd,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=time_limit_s,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def compare(*arguments: str, cwd: Path, model: str = "tiny.onnx", data: str = "data.npz", **more: str) -> Any:
    """`lowbit compare` on the small project, in the study folder `study`, with short timings."""
    words = ("compare", model, "--data", data, "--preprocess", "unit", "-o", "study", *QUICK, *arguments)
    return lowbit(*words, cwd=cwd, time_limit_s=240, **more)


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "study" / "results.json").read_text())
    return found
