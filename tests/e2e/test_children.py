"""Children: whose code they run, what is set for them, and what is said when the system or lowbit itself fails."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.command import NULL, compare, environment, make_project

PRELUDE = "import sys, lowbit.cli.main as main\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path)


WORDS = (
    "compare", "tiny.onnx", "--data", "data.npz", "--preprocess", "unit", "-o", "study", *NULL, "--no-timing",
    "--calibration-samples", "16", "--max-drop", "100",
)  # fmt: skip


def lowbit(project: Path, code: str = "", *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """The command as the script `lowbit` starts it (the folder is not searched for packages), after `code`."""
    return subprocess.run(
        [sys.executable, "-P", "-c", f"{PRELUDE}{code}\nsys.exit(main.main())", *(words or WORDS)],
        cwd=project, env=environment(**more), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def logs(project: Path) -> str:
    return "".join(path.read_text() for path in (project / "study/logs").rglob("*.log"))


def test_no_file_of_the_users_folder_is_taken_for_a_package(project: Path) -> None:
    for name in ("cattrs", "numpy", "onnxruntime"):
        (project / f"{name}.py").write_text("open('was-run', 'w').close()\nraise SystemExit('the user’s own file')\n")
    done = lowbit(project)
    assert done.returncode == 0, done.stderr
    assert not (project / "was-run").exists()


@pytest.mark.parametrize("spec", [pytest.param("net.py:make", marks=pytest.mark.slow), "nets.small:make"])
def test_a_users_model_still_imports_what_lies_beside_it(project: Path, spec: str) -> None:
    (project / "nets").mkdir()
    (project / "nets/__init__.py").touch()
    code = (
        "from torch import nn\nimport sizes\n\n"
        "def make():\n    import late\n"
        "    return nn.Sequential(nn.Conv2d(3, late.WIDTH, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), "
        "nn.Linear(late.WIDTH, sizes.CLASSES))\n"
    )
    (project / "net.py").write_text(code)
    (project / "nets/small.py").write_text(code)
    (project / "sizes.py").write_text("CLASSES = 4\n")
    (project / "late.py").write_text("WIDTH = 5\n")
    (project / "onnxscript.py").write_text("raise SystemExit('not the package')\n")  # torch imports it afterwards
    done = lowbit(project, "", *WORDS[:1], spec, *WORDS[2:])
    assert done.returncode == 0, done.stderr


def test_what_is_set_for_children_is_logged_and_what_the_user_set_is_kept(project: Path) -> None:
    assert lowbit(project).returncode == 0
    assert "set by lowbit: HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 OPENVINO_TELEMETRY_OPT_OUT=1 PYTHONHASHSEED=0" in (
        logs(project)
    )
    (project / "net.py").write_text("import os\nraise RuntimeError(f\"offline is {os.environ['HF_HUB_OFFLINE']}\")\n")
    done = lowbit(project, "", *WORDS[:1], "net.py:make", *WORDS[2:], HF_HUB_OFFLINE="0")
    assert done.returncode == 2
    assert "offline is 0" in done.stderr


REFUSED = """
import os

def refuse(pid, flags=0):
    raise PermissionError(1, "Operation not permitted")

os.pidfd_open = refuse
"""
NO_FORK = """
import subprocess

class Refused(subprocess.Popen):
    def __init__(self, *words, **options):
        raise BlockingIOError(11, "Resource temporarily unavailable")

subprocess.Popen = Refused
"""
BROKEN = """
import lowbit.cli.compare as module

def broken(options):
    raise FileNotFoundError(2, "No such file", "/proc/x")

module.run = broken
"""
UNREADABLE = """
import lowbit.cli.compare as module

def broken(options):
    raise PermissionError(13, "Permission denied", "data.npz")

module.run = broken
"""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (REFUSED, "starts no child process (Operation not permitted)"),
        (NO_FORK, "starts no child process (Resource temporarily unavailable)"),
        (BROKEN, "lowbit crashed: FileNotFoundError: [Errno 2] No such file: '/proc/x'"),
        (
            "import lowbit.cli.compare as module\nmodule.run = lambda options: 1 / 0",
            "lowbit crashed: ZeroDivisionError: division by zero",
        ),
    ],
)
def test_a_crash_ends_with_70_and_one_sentence_that_names_its_log(
    project: Path, tmp_path: Path, code: str, said: str
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    done = lowbit(project, code, TMPDIR=str(place))
    assert done.returncode == 70, done.stderr
    line = done.stderr.splitlines()[-1]
    assert said in line
    assert "check the path" not in done.stderr
    assert "Traceback" not in done.stderr
    [log] = place.glob("lowbit-crash-*.log")
    assert line.endswith(f"the traceback is in {log}")
    assert "Traceback" in (story := log.read_text())
    assert "lowbit compare tiny.onnx" in story


def test_a_path_of_the_users_own_is_bad_input(project: Path) -> None:
    done = lowbit(project, "", "inspect", "missing/m.onnx")
    assert done.returncode == 2
    done = lowbit(project, UNREADABLE)
    assert done.returncode == 2
    assert "lowbit: data.npz: Permission denied; check the path and its rights" in done.stderr


def test_a_failed_job_ends_with_70_and_names_its_log(project: Path) -> None:
    (project / "net.py").write_text("import os\nos.abort()\n")
    done = lowbit(project, "", *WORDS[:1], "net.py:make", *WORDS[2:])
    assert done.returncode == 70
    log = done.stderr.splitlines()[-1].partition("; its log is ")[2]
    assert Path(log).is_file()


@pytest.mark.parametrize(("there", "why"), [("nothing", "model"), ("folder", "model"), ("nothing", "data")])
def test_a_refused_compare_leaves_nothing_behind(project: Path, there: str, why: str) -> None:
    if there == "folder":
        (project / "deep/study").mkdir(parents=True)
    if why == "data":
        (project / "data.npz").write_bytes(b"PK nonsense")
    before = sorted(project.rglob("*"))
    model = "absent.onnx" if why == "model" else "tiny.onnx"
    done = lowbit(project, "", "compare", model, *WORDS[2:6], "-o", "deep/study")
    assert done.returncode == 2, done.stderr
    assert sorted(project.rglob("*")) == before


def test_a_study_that_was_there_is_kept(project: Path) -> None:
    assert lowbit(project).returncode == 0
    before = sorted(project.rglob("*"))
    assert lowbit(project, "", *WORDS[:1], "absent.onnx", *WORDS[2:]).returncode == 2
    assert sorted(project.rglob("*")) == before


def test_without_timing_rows_are_measured_and_the_smallest_wins(project: Path) -> None:
    done = compare("--toolchains", "onnxruntime", "--runtimes", "onnxruntime", "--recipes", "fp32,fp16",
                   "--no-timing", "--max-drop", "100", cwd=project)  # fmt: skip
    assert done.returncode == 0, done.stderr
    from lowbit.study.result import load

    study = load(project / "study")
    assert [row.status for row in study.rows] == ["measured", "measured"]
    assert all(row.latency_p50_ms is None and row.peak_memory_bytes is None for row in study.rows)
    assert all(row.agreement is not None and row.size_bytes for row in study.rows)
    sizes = [row.size_bytes or 0 for row in study.rows]
    assert study.winner is not None
    assert study.winner.size_bytes == min(sizes)
    assert study.report.choice.optimize == "size"
    assert "not timed" in done.stdout
    assert "Nothing was timed" in done.stdout
    assert "smallest" in done.stdout
    assert "None" not in done.stdout
    page = study.page.read_text()
    assert "No row was measured and timed" in page
    assert "Not an official MLPerf run" not in page
    assert "--no-timing" in study.report.command
