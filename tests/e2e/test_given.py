"""`lowbit compare --given` through a real process: files of others, fitting and not, beside what lowbit makes."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, quant_pre_process, quantize_static

from tests import models
from tests.e2e.command import compare, lowbit, make_project, rows


class Pictures(CalibrationDataReader):  # type: ignore[misc]
    """The project's pictures, as `--preprocess unit` makes inputs of them."""

    def __init__(self, project: Path) -> None:
        x = np.load(project / "data.npz")["x"].transpose(0, 3, 1, 2).astype(np.float32) / 255
        self.batches: Iterator[npt.NDArray[np.float32]] = iter(np.split(x, 12))

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"input": batch}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    make_project(tmp_path)
    quant_pre_process(tmp_path / "tiny.onnx", tmp_path / "prepared.onnx")
    quantize_static(tmp_path / "prepared.onnx", tmp_path / "theirs.onnx", Pictures(tmp_path))
    return tmp_path


def fixed_to(batch_size: int, source: Path, target: Path) -> None:
    """The same graph for calls of one size only."""
    model = onnx.load(source)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch_size
    del model.graph.value_info[:]
    onnx.save(model, target)


FIGURES = ("top1", "top5", "agreement", "kl", "p_value", "size_bytes", "int8_share")


@pytest.mark.slow
def test_a_given_file_is_measured_like_the_same_file_of_ours(project: Path) -> None:
    """Its figures are those of the study that made it, and it may be the file to ship."""
    words = ("--runtimes", "onnxruntime,openvino", "--no-timing", "--max-drop", "100")
    ours = compare("--toolchains", "onnxruntime", "--recipes", "int8-static,int8-dynamic", *words, cwd=project)
    assert ours.returncode == 0, ours.stderr
    made = {(row["recipe"], row["runtime"]): row for row in rows(project)}
    for recipe in ("int8-static", "int8-dynamic"):
        shutil.copy(
            project / "study" / "artifacts" / f"onnxruntime-{recipe}" / "model.onnx", project / f"{recipe}.onnx"
        )
    shutil.rmtree(project / "study")

    given = ("--given", "int8-static.onnx", "--given", "int8-dynamic.onnx")
    done = compare("--toolchains", "given", *given, *words, cwd=project)
    assert done.returncode == 0, done.stderr
    found = {(row["recipe"], row["runtime"]): row for row in rows(project)}
    assert found.keys() == made.keys()
    for cell, row in found.items():
        assert row["status"] == "measured"
        assert {key: row[key] for key in FIGURES} == {key: made[cell][key] for key in FIGURES}
        assert (row["toolchain"], row["weight_bits"], row["activation_bits"], row["claim"]) == ("given", *[None] * 3)
        assert row["intended"] == (row["runtime"] == "onnxruntime")
        assert not any("preprocessing" in note for note in row["notes"]), row["notes"]
    assert made["int8-static", "onnxruntime"]["int8_share"] == 1
    assert "ship" in done.stdout
    assert "given-int8-" in done.stdout.rpartition("ship")[2]


@pytest.mark.slow
def test_files_of_all_formats_have_the_figures_of_the_study_that_made_them(project: Path) -> None:
    words = ("--no-timing", "--max-drop", "100")
    ours = compare("--toolchains", "litert,nncf", "--recipes", "fp32,int8-static", *words, cwd=project)
    assert ours.returncode == 0, ours.stderr
    made = {(f"{row['toolchain']}-{row['recipe']}", row["runtime"]): row for row in rows(project)}
    folders = sorted((project / "study" / "artifacts").iterdir())
    assert len(folders) == 4
    for folder in folders:
        for path in folder.glob("model.*"):
            shutil.copy(path, project / f"{folder.name}{path.suffix}")
    shutil.rmtree(project / "study")

    files = [path for path in project.iterdir() if path.suffix in (".xml", ".tflite")]
    given = [word for path in files for word in ("--given", path.name)]
    done = compare("--toolchains", "given", *given, *words, cwd=project)
    assert done.returncode == 0, done.stderr
    found = {(row["recipe"], row["runtime"]): row for row in rows(project)}
    assert found.keys() == made.keys()
    for cell, row in found.items():
        assert row["status"] == made[cell]["status"] == "measured"
        assert {key: row[key] for key in FIGURES} == {key: made[cell][key] for key in FIGURES}
        assert row["intended"] == made[cell]["intended"]
        assert not any("preprocessing" in note for note in row["notes"]), row["notes"]


def test_what_does_not_fit_is_a_row_with_its_reason_and_the_others_are_measured(project: Path) -> None:
    whole = (project / "theirs.onnx").read_bytes()
    (project / "broken.onnx").write_bytes(whole[: len(whole) // 2])
    models.tiny_model(project / "seven.onnx", classes=7)
    large = onnx.load(project / "tiny.onnx")
    for side in (2, 3):
        large.graph.input[0].type.tensor_type.shape.dim[side].dim_value = 16
    onnx.save(large, project / "large.onnx")
    names = ("theirs", "broken", "seven", "large")
    given = [word for name in names for word in ("--given", f"{name}.onnx")]
    done = compare("--toolchains", "given", "--no-timing", "--max-drop", "100", *given, cwd=project)
    assert done.returncode == 3, done.stderr  # one is broken in the runtime that it should run in
    found = {row["recipe"]: row for row in rows(project) if row["intended"]}
    assert {name: found[name]["status"] for name in names} == {
        "theirs": "measured", "broken": "failed", "seven": "unsupported", "large": "unsupported",
    }  # fmt: skip
    assert "broken.onnx: not an ONNX model, or cut short" in found["broken"]["reason"]
    assert "seven.onnx gives 7 scores an image, the float model gives 4" in found["seven"]["reason"]
    assert "large.onnx takes images of 3 x 16 x 16, the float model takes 3 x 8 x 8" in found["large"]["reason"]
    assert str(project) not in json.dumps(rows(project))


def test_a_fixed_size_is_honoured_in_a_sweep_and_an_edited_file_is_measured_anew(project: Path) -> None:
    fixed_to(4, project / "theirs.onnx", project / "four.onnx")
    words = (
        "--toolchains", "given", "--runtimes", "onnxruntime", "--scenario", "offline", "--batch-size", "1,8",
        "--no-timing", "--max-drop", "100", "--given", "four.onnx", "--given", "theirs.onnx",
    )  # fmt: skip
    done = compare(*words, cwd=project)
    assert done.returncode == 0, done.stderr
    found = {(row["recipe"], row["batch_size"]): row for row in rows(project)}
    assert sorted(found) == [("four", 1), ("four", 8), ("theirs", 1), ("theirs", 8)]
    assert {row["status"] for row in found.values()} == {"measured"}
    assert sorted(path.name for path in (project / "study" / "artifacts").iterdir()) == ["given-four", "given-theirs"]
    manifest = json.loads((project / "study" / "artifacts" / "given-four" / "manifest.json").read_text())
    assert (manifest["batch_size"], manifest["made_for"]) == (4, ["onnxruntime"])
    for size in (1, 8):
        fixed, free = found["four", size], found["theirs", size]
        assert (fixed["top1"], fixed["agreement"], fixed["int8_share"]) == tuple(
            free[key] for key in ("top1", "agreement", "int8_share")
        )
        assert any("takes 4 images a call" in note for note in fixed["notes"])
        assert not any("images a call" in note for note in free["notes"])

    shutil.copy(project / "tiny.onnx", project / "theirs.onnx")
    again = compare(*words, cwd=project)
    assert again.returncode == 0, again.stderr
    jobs = [line.split(" ✓ ")[1] for line in again.stderr.splitlines() if " ✓ " in line]
    assert jobs
    assert all("theirs" in job for job in jobs), jobs
    assert {row["agreement"] for row in rows(project) if row["recipe"] == "theirs"} == {1.0}


@pytest.mark.slow
def test_calls_of_any_size_are_timed_with_a_file_of_a_fixed_size(project: Path) -> None:
    fixed_to(4, project / "theirs.onnx", project / "four.onnx")
    done = compare(
        "--toolchains", "given", "--runtimes", "onnxruntime,openvino", "--scenario", "offline", "--batch-size", "1,8",
        "--max-drop", "100", "--given", "four.onnx", cwd=project,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = rows(project)
    assert len(found) == 4
    assert all(row["status"] == "measured" and row["samples_per_s"] > 0 for row in found)


def test_external_data_comes_along_and_the_study_can_be_moved(project: Path) -> None:
    model = onnx.load(project / "theirs.onnx")
    (project / "split").mkdir()
    onnx.save(model, project / "split" / "theirs.onnx", save_as_external_data=True, location="theirs.data",
              size_threshold=0)  # fmt: skip
    words = ("--toolchains", "given", "--runtimes", "onnxruntime", "--no-timing", "--max-drop", "100")
    done = compare(*words, "--given", "split/theirs.onnx", cwd=project)
    assert done.returncode == 0, done.stderr
    (row,) = rows(project)
    folder = project / "study" / "artifacts" / "given-theirs"
    assert {path.name for path in folder.iterdir()} == {"theirs.onnx", "theirs.data", "manifest.json"}
    assert row["size_bytes"] == sum(path.stat().st_size for path in folder.glob("theirs.*"))
    shutil.rmtree(project / "split")
    (project / "study").rename(project / "moved")
    seen = lowbit("inspect", "moved/artifacts/given-theirs", "--runtimes", "onnxruntime", cwd=project)
    assert seen.returncode == 0, seen.stderr
    assert "theirs by given" in seen.stdout


def test_a_quantized_file_alone_is_told_how_to_be_given(project: Path) -> None:
    done = compare(cwd=project, model="theirs.onnx")
    assert done.returncode == 2
    said = done.stderr.splitlines()[-1]
    for command in ("lowbit compare FLOAT.onnx --given theirs.onnx", "lowbit inspect", "lowbit diff"):
        assert command in said


def test_a_missing_file_ends_the_command_in_one_line_before_anything_runs(project: Path) -> None:
    done = compare("--given", "absent.onnx", cwd=project)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("lowbit: --given absent.onnx: no such file")
    assert not (project / "study").exists()


STUDY = """\
title: Theirs
needs:
  - {name: other, what: another version}
defaults: {data: data.npz, preprocess: unit, calibration_samples: 16, timing: false}
models:
  - name: tiny
    model: tiny.onnx
    given: [theirs.onnx, $other]
    toolchains: given
    runtimes: onnxruntime
    max_drop: 100
"""


def test_a_study_file_names_given_files_beside_it(project: Path) -> None:
    (project / "theirs.yaml").write_text(STUDY)
    away = project / "away"
    away.mkdir()
    shutil.copy(project / "tiny.onnx", away / "mine.onnx")
    done = lowbit("run", "../theirs.yaml", "--with", "other=mine.onnx", "--json", cwd=away)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    found = {row["recipe"]: row for row in said["rows"]}
    assert {name: row["status"] for name, row in found.items()} == {"theirs": "measured", "mine": "measured"}
    assert found["theirs"]["agreement"] < found["mine"]["agreement"] == 1
    absent = lowbit("run", "../theirs.yaml", "--with", "other=absent.onnx", cwd=away)
    assert absent.returncode == 2
    assert absent.stderr.endswith(
        "models[0]: --given absent.onnx: no such file; expected a file ending in .onnx, .xml, .tflite\n"
    )


def with_softmax(source: Path, target: Path) -> None:
    """The same graph with a Softmax behind its scores."""
    model = onnx.load(source)
    (output,) = model.graph.output
    probabilities = onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["batch", 4])
    model.graph.node.append(onnx.helper.make_node("Softmax", [output.name], ["probabilities"], axis=1))
    model.graph.output.pop()
    model.graph.output.append(probabilities)
    onnx.save(model, target)


def channels_last_in_half(source: Path, target: Path) -> None:
    """The same graph that takes images [N, H, W, C] of float16."""
    model = onnx.load(source)
    (image,) = model.graph.input
    last = onnx.helper.make_tensor_value_info("last", onnx.TensorProto.FLOAT16, ["batch", 8, 8, 3])
    nodes = [
        onnx.helper.make_node("Cast", ["last"], ["wide"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Transpose", ["wide"], [image.name], perm=[0, 3, 1, 2]),
        *model.graph.node,
    ]
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend(nodes)
    model.graph.input.append(last)
    onnx.save(model, target)


@pytest.mark.slow
def test_files_that_end_or_begin_otherwise_are_compared_in_the_float_models_terms(project: Path) -> None:
    with_softmax(project / "theirs.onnx", project / "squashed.onnx")
    channels_last_in_half(project / "tiny.onnx", project / "last.onnx")
    integers = onnx.load(project / "theirs.onnx")
    integers.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    integers.graph.node.insert(0, onnx.helper.make_node("Cast", ["bytes"], ["input"], to=onnx.TensorProto.FLOAT))
    integers.graph.input[0].name = "bytes"
    onnx.save(integers, project / "bytes.onnx")
    given = [word for name in ("theirs", "squashed", "last", "bytes") for word in ("--given", f"{name}.onnx")]
    words = ("--toolchains", "given", "--runtimes", "onnxruntime,openvino", "--no-timing", "--max-drop", "100")
    done = compare(*words, *given, cwd=project)
    assert done.returncode == 0, done.stderr
    found = {(row["recipe"], row["runtime"]): row for row in rows(project)}
    for runtime in ("onnxruntime", "openvino"):
        theirs, squashed, last, integer = (found[name, runtime] for name in ("theirs", "squashed", "last", "bytes"))
        assert (squashed["top1"], squashed["agreement"]) == (theirs["top1"], theirs["agreement"])
        assert squashed["kl"] == pytest.approx(theirs["kl"], rel=1e-2, abs=1e-9)
        assert squashed["notes"] == [
            "its scores are probabilities and are compared as the logits that the float model gives"
        ]
        assert last["agreement"] >= 0.95
        assert last["kl"] < theirs["kl"]
        assert integer["status"] == "unsupported"
    assert "bytes is tensor(uint8)" in found["bytes", "onnxruntime"]["reason"]
    assert "tells no scale" in found["bytes", "openvino"]["reason"]
