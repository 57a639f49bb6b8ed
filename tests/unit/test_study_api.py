"""The Python API passes on what it is given, and the command that it names asks for the same."""

import inspect
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from lowbit.cli.main import parser
from lowbit.core.study_file import Options
from lowbit.core.training import TrainingOptions
from lowbit.data.preprocess import parse
from lowbit.study import api
from lowbit.study.ask import StudyRequest
from lowbit.study.profiling import ProfileRequest
from lowbit.study.quantize import QuantizeRequest
from lowbit.study.request import compare_request


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `compare`, `quantize` and `profile` would carry out."""
    requests: list[Any] = []
    monkeypatch.setattr(api, "run_study", lambda request, _: requests.append(request))
    monkeypatch.setattr(api, "run_quantize", lambda request, _: requests.append(request))
    monkeypatch.setattr(api, "run_profile", lambda request, _: requests.append(request))
    return requests


def again(command: str) -> dict[str, Any]:
    """The arguments that a command line stands for."""
    words = shlex.split(command)
    assert words[:2] == ["lowbit", "compare"]
    return {
        key: value for key, value in vars(parser().parse_args(words[1:])).items() if key not in ("run", "json", "gate")
    }


def test_paths_are_taken_wherever_names_are(asked: list[Any], tmp_path: Path) -> None:
    settings = tmp_path / "p.yaml"
    settings.write_text("name: unit\n")
    api.compare(Path("m.onnx"), Path("d/data.npz"), preprocess=settings)
    api.quantize(Path("m.onnx"), Path("d"), Path("o.onnx"), recipe="w4a8", preprocess=settings)
    study, quantized = asked
    assert (study.model, study.data, study.out) == ("m.onnx", "d/data.npz", Path("m-data"))
    assert (quantized.model, quantized.data, quantized.out) == ("m.onnx", "d", Path("o.onnx"))
    assert study.preprocess.name == quantized.preprocess.name == "unit"
    assert again(study.command)["model"] == "m.onnx"


GIVEN: list[dict[str, Any]] = [
    {},
    {"toolchains": [], "recipes": [], "bits": [], "runtimes": []},
    {"toolchains": ["null"], "recipes": {"fp32": 1}, "bits": (width for width in (8, 4)), "runtimes": ("null",)},
    {"timing": False, "official": True, "limit": 20},
    {"given": "a.onnx"},
    {"given": (path for path in (Path("a, b.onnx"), "of mine/c.xml"))},
    {"scenario": ["single-stream", "offline"], "threads": [1, 2], "batch_size": range(1, 4), "isa": "avx2"},
    {"scenario": "offline", "threads": (count for count in (1, 2)), "batch_size": 4},
    {"scenario": ("offline",), "threads": [2], "batch_size": (4,), "isa": ["avx2", "avx512"]},
    {"weights": Path("w.pt"), "labels": "l.json", "out": Path("a study"), "min_duration": 0.5, "batch_size": 1},
]


@pytest.mark.parametrize("options", GIVEN)
def test_the_command_to_repeat_asks_for_the_same(asked: list[Any], options: dict[str, Any]) -> None:
    api.compare("m.onnx", "data.npz", preprocess="unit", **options)
    api.compare(**again(asked[0].command))
    first, second = asked
    assert isinstance(first, StudyRequest)
    assert second == first
    assert "''" not in first.command
    assert all(isinstance(path, Path) for path in first.given)
    if options.get("bits"):
        assert first.bits == (8, 4)


def test_every_argument_of_compare_is_in_the_command(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument that is added later must not be forgotten there."""
    fetched: list[str] = []
    monkeypatch.setattr("lowbit.study.request.fetch", lambda model, _: fetched.append(model))
    others: dict[str, Any] = {
        "preprocess": "raw", "weights": "w.pt", "download": True, "labels": "l.json", "among": "data",
        "calibration_samples": 7,
        "seed": 3, "limit": 9, "toolchains": ("a",), "recipes": ("b",), "bits": (4,), "runtimes": ("c",),
        "scenario": "offline", "threads": 2, "batch_size": 5, "isa": ("avx2",), "min_duration": 0.1, "rounds": 2,
        "official": True, "timing": False, "input_size": "8x8", "threshold": 0.25, "min_agreement": 80.0,
        "optimize": "size", "max_drop": 2.5, "time_limit": 60.0, "out": "s", "rules": "v2.1", "target_latency": 20.0,
        "given": ["a, b.onnx", "c.tflite"], "epochs": 4, "trust": True, "train_samples": 900,
    }  # fmt: skip
    server: dict[str, Any] = {  # not offline, not official, and timed
        "scenario": "server", "target_qps": 50.0, "budget": "20m", "profile": True,
    }  # fmt: skip
    named = {
        name for name, parameter in inspect.signature(api.compare).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name != "progress"
    }  # fmt: skip
    assert named == set(others) | set(server)
    api.compare("m.onnx", "d", **others)
    assert again(asked[0].command) == others | {"model": "m.onnx", "data": "d"}
    assert fetched == ["m.onnx"]
    api.compare("m.onnx", "d", preprocess="raw", **server)
    assert again(asked[1].command) == server | {"model": "m.onnx", "data": "d", "preprocess": "raw"}


def test_every_argument_of_quantize_arrives(asked: list[Any]) -> None:
    api.quantize(
        "m.onnx", "d", "o.onnx", recipe="w4a8", preprocess="raw", weights="w.pt", rounding="nearest", range="mse",
        symmetric=False, group_size=32, ends=4, layers={"a*": "w8a8"}, calibration_samples=7, seed=3, threads=1,
        time_limit=9.0, cache="c", trust=True, epochs=2, label_loss=0.3, train_samples=900, budget="2m",
        max_memory="3GB", labels=__file__,
    )  # fmt: skip
    [request] = asked
    assert isinstance(request, QuantizeRequest)
    assert request.training == TrainingOptions(2, 0.3, 120.0, 3 * 10**9)
    assert (request.training_samples, request.labels) == (900, Path(__file__))
    options = {"rounding": "nearest", "range": "mse", "symmetric": False, "group_size": 32, "ends": 4}
    assert {key: request.options[key] for key in options} == options
    assert request.options["overrides"] == [{"pattern": "a*", "weight_bits": 8, "activation_bits": 8}]
    found = (request.weights, request.calibration_samples, request.seed, request.threads, request.time_limit_s)
    assert found == (Path("w.pt"), 7, 3, 1, 9.0)
    assert (request.cache, request.trust) == (Path("c"), True)


def test_every_argument_of_profile_arrives(asked: list[Any]) -> None:
    api.profile(
        "a.onnx", Path("b.onnx"), data="d", runtimes=["r"], preprocess="raw", model=Path("m.keras"), trust=True,
        threads=2, batch_size=4, runs=60, time_limit=9.0,
    )  # fmt: skip
    paths = (Path("a.onnx"), Path("b.onnx"))
    assert asked == [ProfileRequest(paths, "d", ("r",), parse("raw"), "m.keras", 2, 4, 60, 9.0, trust=True)]


def test_a_study_file_can_say_whatever_compare_takes() -> None:
    """But for what belongs to the whole run: its folder, its budget, and who listens."""
    named = {
        name for name, each in inspect.signature(compare_request).parameters.items() if each.kind is each.KEYWORD_ONLY
    }
    assert {each.name for each in fields(Options)} == {"data"} | (named - {"out", "budget", "listener"})
