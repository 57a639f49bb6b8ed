"""`lowbit run` through a real process: two models in a study file, resumed, drawn again, refused where it is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import lowbit, make_project

STUDY = """\
title: Two networks
about: Are they quick?
source: {document: Nobody, machine: a desk}
needs:
  - {name: other, what: a second network}
  - {name: first, what: a network, otherwise: tiny.onnx, then: A tiny network stands for it.}
defaults:
  data: data.npz
  preprocess: unit
  toolchains: ["null"]
  runtimes: ["null"]
  recipes: [fp32, int8-static]
  min_duration: 0.05
  rounds: 1
  calibration_samples: 16
  max_drop: 100
models:
  - name: one
    model: $first
    title: The first network
    parts:
      - limit: 40
      - {limit: 40, scenario: offline, batch_size: [1, 4]}
  - name: two
    model: $other
published:
  - {claim: small, where: table 1, quantity: size_mb, value: 5.0, of: {model: one, recipe: int8-static}, holds: "<= 5"}
  - {claim: huge, where: table 2, quantity: size_mb, value: 900, of: {model: one, recipe: fp32}, within: 0.1}
  - {claim: the other, where: table 3, quantity: rate, value: 1, of: {model: two}, holds: "> 0"}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    make_project(tmp_path)
    (tmp_path / "nets.yaml").write_text(STUDY)
    return tmp_path


def finished(project: Path) -> dict[str, int]:
    places = [project / "nets" / "cells", project / "nets" / "cache"]
    return {str(path): path.stat().st_mtime_ns for place in places for path in place.rglob("*.json")}


def test_a_study_file_is_measured_once_and_shows_published_figures_beside_ours(project: Path) -> None:
    done = lowbit("run", "nets.yaml", "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    verdicts = {each["figure"]["claim"]: each["verdict"] for each in said["claims"]}
    assert verdicts == {"small": "held", "huge": "not held", "the other": "could not be tried"}
    assert "other was not given" in said["claims"][2]["reason"]
    settings = {(row["recipe"], row["scenario"], row["batch_size"]) for row in said["rows"]}
    assert settings == {
        (recipe, *how)
        for recipe in ("fp32", "int8-static")
        for how in (("single-stream", 1), ("offline", 1), ("offline", 4))
    }
    assert {row["status"] for row in said["rows"]} == {"measured"}
    assert (project / "nets" / said["rows"][0]["artifact"]).exists()
    before = finished(project)
    again = lowbit("run", "nets.yaml", "--gate", cwd=project)
    assert again.returncode == 1  # a claim is not held
    assert finished(project) == before, "a second run measured something again"
    lacking = "not measured: other was not given (--with)"
    notes = ("A tiny network stands for it", lacking)
    for words in ("The first network", "published figures", "not held", "table 2", *notes):
        assert words in again.stdout
    page = (project / "nets" / "report.html").read_text()
    assert "The first network" in page and "900.00 MB" in page and "not held" in page
    assert lacking in page and "1 model ·" in page
    drawn = lowbit("report", "nets", cwd=project)
    assert drawn.returncode == 0 and "published figures" in drawn.stdout
    why = lowbit("report", "nets", "--why", "one: null/fp32@null", cwd=project)
    assert why.returncode == 0, why.stderr
    lost = lowbit("report", "nets", "--why", "null/fp32@null", cwd=project)
    assert lost.returncode == 2 and "expected MODEL: ROW" in lost.stderr


@pytest.mark.slow
def test_what_is_given_takes_the_place_of_what_was_left_out(project: Path) -> None:
    done = lowbit("run", "nets.yaml", "--with", "other=tiny.onnx", "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["claims"][2]["verdict"] == "held"
    assert len(said["rows"]) == 8
    builds = list((project / "nets" / "cache" / "builds").glob("*.json"))
    assert len(builds) == 2, "two models with the same graph were built twice"


@pytest.mark.parametrize(
    ("arguments", "old", "new", "words"),
    [
        ((), "limit: 40\n", "limmit: 40\n", ("line 22", "'limmit'")),
        ((), "of: {model: two}", "of: {model: three}", ("line 29", "names no cell")),
        ((), "recipe: fp32}", "recipe: fp23}", ("line 28", "names no cell")),
        ((), "model: $first", "model: gone.onnx", ("line 22", "gone.onnx", "no such file")),
        ((), "model: $first", "model: $frist", ("line 19", "$frist", "no need of that name")),
        ((), "data: data.npz", "data: [data.npz]", ("line 8", "expected a text")),
        ((), "scenario: offline", "scenario: offlin", ("line 23", "'offlin'")),
        (("--with", "third=x"), "", "", ("--with third", "other, first")),
    ],
)
def test_what_is_wrong_ends_with_one_line(
    project: Path, arguments: tuple[str, ...], old: str, new: str, words: tuple[str, ...]
) -> None:
    assert old in STUDY
    (project / "nets.yaml").write_text(STUDY.replace(old, new, 1))
    done = lowbit("run", "nets.yaml", *arguments, cwd=project)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    assert not (project / "nets").exists()


def test_what_comes_with_lowbit_is_listed_with_what_it_needs(project: Path) -> None:
    done = lowbit("run", "--list", cwd=project)
    assert done.returncode == 0, done.stderr
    for words in ("mlperf-edge", "torch-resnet34", "below-8-bits", "--with mobilenetv2="):
        assert words in done.stdout
    assert lowbit("run", cwd=project).returncode == 2
