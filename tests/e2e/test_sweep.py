"""A sweep as a command: killed and resumed, then widened; what is measured anew is what is new."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lowbit.measure.host import facts, limits
from tests.e2e.command import NULL, QUICK, compare, environment, lowbit, make_project, rows
from tests.e2e.test_resume import finished_jobs, left_after_a_moment, wait_until_running

WORDS = (
    "compare", "tiny.onnx", "--data", "data.npz", "--preprocess", "unit", "-o", "study", *QUICK,
    *NULL[:-1], "int8-static", "--max-drop", "100", "--scenario", "offline", "--threads", "1,2",
)  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path)


def rounds(project: Path) -> set[Path]:
    """The finished rounds of timing, without repetitions of disturbed ones."""
    return set((project / "study" / "cells").glob("*/*-round-1.json"))


def test_a_killed_sweep_goes_on_and_a_wider_one_measures_only_what_is_new(project: Path) -> None:
    command = subprocess.Popen(
        [sys.executable, "-m", "lowbit", *WORDS, "--batch-size", "1,4"],
        cwd=project, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert wait_until_running(project, command, "speed", 0)
    command.send_signal(signal.SIGKILL)
    command.communicate()
    assert left_after_a_moment(command) == []
    before = finished_jobs(project)
    assert len(rounds(project)) < 4

    done = lowbit(*WORDS, "--batch-size", "1,4", cwd=project)
    assert done.returncode == 0, done.stderr
    after = finished_jobs(project)
    assert all(after[path] == job for path, job in before.items())
    found = rows(project)
    assert [(row["batch_size"], row["threads"], row["status"]) for row in found] == [
        (1, 1, "measured"), (1, 2, "measured"), (4, 1, "measured"), (4, 2, "measured")
    ]  # fmt: skip
    assert len({row["samples_per_s"] for row in found}) == 4  # no timing stands for another cell's
    assert len(list(project.glob("study/cells/*/accuracy.json"))) == 1  # neither changes what null answers
    assert [path.name for path in (project / "study" / "artifacts").iterdir()] == ["null-int8-static"]
    assert "batch  threads" in done.stdout

    wider = lowbit(*WORDS, "--batch-size", "1,4,8", cwd=project)
    assert wider.returncode == 0, wider.stderr
    kept, last = after, finished_jobs(project)
    assert all(last[path] == job for path, job in kept.items())
    new = {path for path in last if path not in kept and path in rounds(project)}
    sizes = [json.loads(path.read_text())["job"]["settings"]["batch_size"] for path in speed_jobs(project, new)]
    assert sizes == [8, 8]
    assert {line.split()[0].rstrip(",") for line in wider.stderr.splitlines() if "/" in line} == {"timing"}
    why = lowbit("report", "study", "--why", "null/int8-static@null [batch 8, 2 threads]", cwd=project)
    assert "projection" in why.stdout


def speed_jobs(project: Path, results: set[Path]) -> list[Path]:
    """The jobs, as they were given, of these results."""
    return [project / "study" / "logs" / path.parent.name / f"{path.stem}.job.json" for path in results]


def test_a_runtime_that_cannot_be_limited_is_unsupported_and_says_so(project: Path) -> None:
    here = limits(facts())
    if not here:
        pytest.skip("this processor has no instruction set that a runtime can be limited to")
    done = compare(*NULL[:-1], "int8-static", "--isa", here[0], "--json", cwd=project)
    (row,) = json.loads(done.stdout)
    assert (row["status"], row["isa"]) == ("unsupported", here[0])
    assert "null asks the processor and cannot be limited" in row["reason"]
    assert (project / "study" / row["artifact"]).is_file()


def test_a_bad_list_ends_with_one_line_and_leaves_nothing(project: Path) -> None:
    done = compare(*NULL, "--threads", "1,1", "--isa", "avx9", cwd=project)
    assert done.returncode == 2
    assert done.stderr == "lowbit: --threads 1,1: expected each value once\n"
    assert not (project / "study").exists()
    absent = compare(*NULL, "--isa", "avx9", cwd=project)
    assert absent.returncode == 2
    assert absent.stderr.startswith("lowbit: --isa avx9: expected")
    assert not (project / "study").exists()
