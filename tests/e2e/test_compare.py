"""`lowbit compare` through a real process: what comes out, and how it says that something is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from lowbit.core.row import COLUMNS
from lowbit.toolchains.null import MISSING
from tests.e2e.command import NULL, compare, environment, lowbit, make_project, rows
from tests.models import tiny_model
from tests.packages import install


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path)


def test_null_adapters_take_a_study_to_its_page(project: Path) -> None:
    done = compare(*NULL, "--max-drop", "100", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "null/" in done.stdout
    found = rows(project)
    assert all(tuple(row) == (*COLUMNS, "training") for row in found)
    measured = [row for row in found if row["status"] == "measured"]
    assert {row["recipe"] for row in measured} == {"fp32", "int8-static"}
    for row in measured:
        assert row["n_samples"] == 80  # 96 less the 16 that calibrated
        assert row["top1_low"] <= row["top1"] <= row["top1_high"]
        assert row["latency_p50_ms"] > 0
        assert row["loadgen_valid"] is True
        assert (project / "study" / row["artifact"]).is_file()
    assert "<svg" in (project / "study" / "report.html").read_text()
    assert max(row["speedup"] for row in measured if row["recipe"] == "fp32") == 1.0


def test_a_study_holds_no_path_of_its_own_place_and_can_be_moved(project: Path) -> None:
    assert compare(*NULL, "--max-drop", "100", cwd=project).returncode == 0
    moved = (project / "study").rename(project / "moved")
    stored = json.loads((moved / "study.json").read_text())
    assert (moved / stored["report"]["model"]["path"]).is_file()
    assert str(project) not in (moved / "study.json").read_text()
    done = lowbit("report", "moved", "--why", "null/int8-static@null", cwd=project)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_onnxruntime_alone_needs_nothing_else(project: Path) -> None:
    done = compare("--toolchains", "onnxruntime", "--runtimes", "onnxruntime", "--max-drop", "100", cwd=project)
    assert done.returncode == 0, done.stderr + done.stdout
    found = {row["recipe"]: row for row in rows(project)}
    assert found["fp32"]["agreement"] == 1.0
    assert found["fp32"]["kl"] < 1e-9
    assert found["int8-static"]["status"] == "measured"
    assert found["int8-static"]["int8_share"] == 1.0
    assert found["bf16"]["status"] == "unsupported"
    assert found["bf16"]["reason"]
    manifest = json.loads((project / "study/artifacts/onnxruntime-int8-static/manifest.json").read_text())
    assert manifest["preprocess"]["name"] == "unit"
    assert manifest["calibration_samples"] == 16


def test_a_cell_that_misbehaves_is_a_row_and_the_study_goes_on(project: Path) -> None:
    null = ("--toolchains", "null", "--runtimes", "null")
    assert compare(*null, "--recipes", "int8-static", cwd=project).returncode in (0, 3)  # kept, however slow this is
    recipes = "crash,hang,memory,refuse,raise,nan,constant,int8-static"
    done = compare(*null, "--recipes", recipes, "--time-limit", "20", cwd=project)
    assert done.returncode == 3, done.stderr
    found = {row["recipe"]: row for row in rows(project)}
    assert found["int8-static"]["status"] == "measured"
    assert found["int8-static"]["speedup"] is None  # no fp32 row was asked for
    assert found["refuse"]["status"] == "unsupported"
    for recipe, word in {
        "crash": "died of SIGSEGV while opening model.null.json in null",
        "hang": "within 20 s and was killed", "memory": "MemoryError",
        "raise": "told to fail", "nan": "not finite", "constant": "the same for all 80",
    }.items():  # fmt: skip
        assert found[recipe]["status"] == "failed", recipe
        assert word in found[recipe]["reason"], found[recipe]["reason"]
        assert (project / "study" / found[recipe]["log"]).is_file()
    log = (project / "study" / found["crash"]["log"]).read_text()
    assert "Segmentation fault" in log and "in open_session" in log, "the stack of the crash"


def test_json_prints_the_rows_alone_and_the_gate_has_its_status(project: Path) -> None:
    done = compare(*NULL, "--json", "--gate", "--max-drop", "100", cwd=project)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == rows(project)
    closed = compare("--toolchains", "null", "--runtimes", "null", "--recipes", "nan", "--gate", cwd=project)
    assert closed.returncode == 1


def test_report_draws_a_study_again_and_explains_a_row(project: Path) -> None:
    compare("--toolchains", "onnxruntime", "--runtimes", "onnxruntime", "--recipes", "fp32,int8-static", cwd=project)
    page = project / "study" / "report.html"
    before = page.read_text()
    page.unlink()
    again = lowbit("report", "study", cwd=project)
    assert again.returncode == 0, again.stderr
    assert page.read_text() == before
    why = lowbit("report", "study", "--why", "onnxruntime/int8-static@onnxruntime", cwd=project)
    assert why.returncode == 0, why.stderr
    assert "Conv" in why.stdout
    unknown = lowbit("report", "study", "--why", "nobody/nothing@nowhere", cwd=project)
    assert unknown.returncode == 2
    assert "onnxruntime/fp32@onnxruntime" in unknown.stderr


def test_one_output_for_two_classes_is_thresholded(project: Path) -> None:
    tiny_model(project / "one.onnx", classes=1)
    pictures = np.random.default_rng(3).integers(0, 256, (240, 8, 8, 3), dtype=np.uint8)
    logits = _scores(project / "one.onnx", pictures)[:, 0]
    middle = float(np.median(logits))
    right = (logits > middle).astype(int)
    right[:60] = 1 - right[:60]  # what the model gets wrong
    np.savez(project / "two.npz", x=pictures, y=right)
    words = ("--max-drop", "100", "--threshold", str(middle))
    done = compare(*NULL, *words, cwd=project, model="one.onnx", data="two.npz")
    assert done.returncode == 0, done.stderr
    report = json.loads((project / "study" / "study.json").read_text())["report"]
    assert 0.6 < report["reference"]["correct"] / report["reference"]["n_samples"] < 0.9
    for row in rows(project):
        if row["status"] == "measured":  # another function than the model's, so that its answers differ
            assert 0 < row["agreement"] < 1 and 0 < row["top1"] < 1 and row["top5"] is None and row["kl"] > 0


def test_a_float_model_that_only_guesses_asks_whether_the_labels_fit(project: Path) -> None:
    pictures = np.random.default_rng(2).integers(0, 256, (240, 8, 8, 3), dtype=np.uint8)
    answers = _scores(project / "tiny.onnx", pictures).argmax(axis=1)
    others = (answers + 1 + np.arange(240) % 3) % 4  # never what the model answers
    np.savez(project / "shifted.npz", x=pictures, y=others)
    words = ["right on 0 of 224 images (0.00 %)", "do the labels fit?", "order of the classes (0, 1, 2, …)", "--labels"]
    check_refused(compare(*NULL, cwd=project, data="shifted.npz"), words)


def _scores(model: Path, pictures: np.ndarray) -> np.ndarray:
    """What the model answers to pictures [N, H, W, 3] under the preprocessing `unit`."""
    images = (pictures.transpose(0, 3, 1, 2) / np.float32(255)).astype(np.float32)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: images})[0])


@pytest.mark.slow
def test_a_sweep_adds_our_own_rows_and_shows_them_bit_by_bit(project: Path) -> None:
    words = ("--toolchains", "null", "--recipes", "fp32", "--runtimes", "null,onnxruntime", "--bits", "8,4,2")
    done = compare(*words, "--max-drop", "100", cwd=project)
    assert done.returncode == 0, done.stderr
    found = {row["recipe"]: row for row in rows(project) if row["toolchain"] == "lowbit"}
    assert list(found) == ["w8a8", "w4a8", "w2a8"]
    assert all(row["status"] == "measured" and row["int8_share"] == 1.0 for row in found.values())
    assert all("equal to the integer reference" in " ".join(row["notes"]) for row in found.values())
    assert "wNa8 in onnxruntime" in done.stdout
    assert 'id="sweep"' in (project / "study" / "report.html").read_text()


def test_two_commands_on_one_study(project: Path) -> None:
    words = ["compare", "tiny.onnx", "--data", "data.npz", "--preprocess", "unit", "-o", "study", *NULL]
    first = subprocess.Popen(
        [sys.executable, "-m", "lowbit", *words, "--calibration-samples", "16", "--min-duration", "5"],
        cwd=project, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert first.stderr is not None
    first.stderr.readline()  # a job has ended: the study is its own
    second = lowbit(*words, cwd=project)
    first.kill()
    first.communicate()
    assert second.returncode == 2
    assert f"process {first.pid}" in second.stderr


def test_a_callable_in_a_file_is_a_model(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "def net():\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(),"
        " torch.nn.Linear(144, 4))\n"
    )
    make_project(tmp_path)
    done = compare(*NULL, "--max-drop", "100", cwd=tmp_path, model="net.py:net")
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path)[0]["model"] == "net"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipes", "int9"], ["int9", "int8-static", "fp32"]),
        (["--toolchains", "tensorrt"], ["tensorrt", "onnxruntime"]),
        (["--runtimes", "coreml"], ["coreml", "openvino"]),
        (["--calibration-samples", "1"], ["calibration", "1", "at least 2"]),
        (["--batch-size", "4"], ["--batch-size 4", "single-stream"]),
        (["--preprocess", "vgg"], ["vgg", "imagenet"]),
        (["--preprocess", "unit,size=3"], ["size", "resize"]),
        (["--labels", "missing.json"], ["missing.json"]),
        (["--data", "nowhere"], ["nowhere"]),
        (["--rounds", "0"], ["--rounds 0"]),
        (["--bits", "8,1"], ["--bits 8,1", "2 to 8"]),
        (["--bits", "4,4"], ["--bits 4,4", "once"]),
        (["--min-agreement", "101"], ["--min-agreement 101", "0 to 100"]),
        (["--threshold", "0.4"], ["--threshold 0.4", "4 outputs", "leave it out"]),
    ],
)
def test_bad_options_end_with_one_clear_message(project: Path, arguments: list[str], words: list[str]) -> None:
    check_refused(compare(*arguments, cwd=project), words)


def check_refused(done: subprocess.CompletedProcess[str], words: list[str]) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    message = done.stderr.splitlines()[-1]
    for word in words:
        assert word in message, message


def test_bad_files_end_with_one_clear_message(project: Path) -> None:
    whole = (project / "tiny.onnx").read_bytes()
    (project / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    check_refused(compare(cwd=project, model="cut.onnx"), ["cut.onnx"])
    check_refused(compare(cwd=project, model="absent.onnx"), ["absent.onnx", "no such file"])
    (project / "notes.txt").write_text("not a model")
    check_refused(compare(cwd=project, model="notes.txt"), ["notes.txt", "expected"])
    np.savez(project / "floats.npz", x=np.zeros((8, 8, 8, 3), np.float32), y=np.zeros(8, int))
    check_refused(compare(cwd=project, data="floats.npz"), ["float32", "uint8"])
    rng = np.random.default_rng(0)
    np.savez(project / "many.npz", x=rng.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8), y=np.arange(60) % 6)
    check_refused(compare(cwd=project, data="many.npz"), ["6 classes", "4 outputs"])
    np.savez(project / "wide.npz", x=rng.integers(0, 256, (60, 9, 9, 3), dtype=np.uint8), y=np.arange(60) % 4)
    check_refused(compare(cwd=project, data="wide.npz"), ["3 × 8 × 8", "3 × 9 × 9"])
    (project / "wrong.yaml").write_text("resize: 8\ncorp: 8\n")
    check_refused(compare("--preprocess", "wrong.yaml", cwd=project), ["corp", "crop"])
    assert compare(*NULL, "--max-drop", "100", cwd=project).returncode == 0  # and nothing was harmed
    kept = (project / "study" / "results.json").read_bytes()
    check_refused(compare(cwd=project, model="cut.onnx"), ["cut.onnx"])
    assert (project / "study" / "results.json").read_bytes() == kept


def test_no_command_imports_a_vendor_before_it_must() -> None:
    vendors = ("torch", "onnxruntime", "openvino", "nncf", "tensorflow", "ai_edge_litert", "litert_torch", "onnx")
    for statement in ("import lowbit", "from lowbit.cli.main import parser; parser().format_help()"):
        code = f"{statement}; import sys; print([v for v in {vendors!r} if v in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]", statement


def test_doctor_names_the_machine_and_every_adapter(tmp_path: Path) -> None:
    done = lowbit("doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for word in ("processor", "onnxruntime", "openvino", "nncf", "litert", "torch", "int8"):
        assert word in done.stdout


def test_a_build_that_finds_its_input_bad_is_a_row_and_a_missing_package_is_asked_for_again(
    project: Path, tmp_path: Path
) -> None:
    recipes = ("--recipes", "fp32,bad-build,crashed-build,needs-more")
    words = ("--toolchains", "null", "--runtimes", "null", *recipes, "--max-drop", "100", "-o", "bad")
    done = compare(*words, cwd=project)
    assert done.returncode == 3, done.stderr
    found = {row["recipe"]: row for row in json.loads((project / "bad" / "results.json").read_text())}
    assert found["fp32"]["status"] == "measured"
    assert found["bad-build"]["status"] == "failed" and "find its input bad" in found["bad-build"]["reason"]
    assert found["crashed-build"]["status"] == "failed" and "SIGSEGV" in found["crashed-build"]["reason"]
    lacking = found["needs-more"]
    assert lacking["status"] == "unsupported" and "is not installed: pip install 'lowbit[litert]'" in lacking["reason"]
    site = tmp_path / "site"
    install(site, MISSING.replace("-", "_"))
    again = compare(*words, cwd=project, PYTHONPATH=os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    found = {row["recipe"]: row for row in json.loads((project / "bad" / "results.json").read_text())}
    assert found["needs-more"]["status"] == "measured", again.stderr
