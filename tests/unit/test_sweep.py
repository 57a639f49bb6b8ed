"""From lists of settings to cells: which there are, what their files and rows are called, what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lowbit.core.adapter import RuntimeInfo, ToolchainInfo
from lowbit.core.cell import Cell
from lowbit.core.errors import BadInput
from lowbit.core.host import Host
from lowbit.core.recipe import Recipe
from lowbit.core.settings import Settings
from lowbit.core.sweep import full_name, swept_in
from lowbit.measure.host import limits
from lowbit.study import api
from lowbit.study.ask import StudyRequest
from lowbit.study.cells import files_of, plan_cells
from lowbit.study.sweep import check_isa

FP32 = Recipe("fp32", 32, 32, "float")
HOST = Host("h1", "cpu", ("avx2", "fma", "avx512f", "avx512bw"), 2, 2, "unknown", 1, "Linux", "3.11")


def asked(monkeypatch: pytest.MonkeyPatch, **options: Any) -> StudyRequest:
    """The request that `compare` would carry out."""
    requests: list[StudyRequest] = []
    monkeypatch.setattr(api, "run_study", lambda request, _: requests.append(request))
    api.compare("m.onnx", "d", preprocess="unit", out="s", **options)
    return requests[0]


def cells_of(request: StudyRequest) -> list[tuple[str, int, int]]:
    return [(each.scenario, each.batch_size, each.threads) for each in request.all_settings]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [("single-stream", 1, 1)]),
        ({"scenario": "multi-stream"}, [("multi-stream", 8, 1)]),
        ({"scenario": "offline"}, [("offline", 32, 1)]),
        ({"scenario": "multi-stream", "batch_size": 2}, [("multi-stream", 2, 1)]),
        (
            {"scenario": ("single-stream", "offline"), "batch_size": (1, 2, 4)},
            [("single-stream", 1, 1), ("offline", 1, 1), ("offline", 2, 1), ("offline", 4, 1)],
        ),
        (
            {"scenario": ("single-stream", "multi-stream", "offline"), "batch_size": 4},
            [("single-stream", 1, 1), ("multi-stream", 8, 1), ("offline", 4, 1)],
        ),
        (
            {"scenario": ("multi-stream", "single-stream"), "threads": [2, 1]},
            [("multi-stream", 8, 2), ("multi-stream", 8, 1), ("single-stream", 1, 2), ("single-stream", 1, 1)],
        ),
        (
            {"scenario": "offline", "batch_size": (4, 1), "threads": (1, 2)},
            [("offline", 4, 1), ("offline", 4, 2), ("offline", 1, 1), ("offline", 1, 2)],
        ),
    ],
)
def test_lists_make_every_combination_and_batch_sizes_are_those_of_offline(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], expected: list[tuple[str, int, int]]
) -> None:
    request = asked(monkeypatch, seed=3, min_duration=0.5, **options)
    assert cells_of(request) == expected
    assert {(each.seed, each.min_duration_s, each.rounds) for each in request.all_settings} == {(3, 0.5, 3)}


def test_instruction_sets_multiply_the_cells_and_are_none_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    both = asked(monkeypatch, isa=["avx2", "avx512"], threads=(1, 2)).all_settings
    assert [(each.isa, each.threads) for each in both] == [("avx2", 1), ("avx2", 2), ("avx512", 1), ("avx512", 2)]
    assert asked(monkeypatch).settings.isa is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threads": (1, 2, 1)}, ("--threads 1,2,1", "each value once")),
        ({"threads": ()}, ("--threads", "empty")),
        ({"threads": (1, 0)}, ("--threads 0", "1 or more")),
        ({"scenario": ("offline", "offline")}, ("--scenario offline,offline", "each value once")),
        ({"scenario": ("offline", "online")}, ("--scenario online", "one of single-stream")),
        ({"scenario": "offline", "batch_size": (4, -1)}, ("--batch-size -1", "1 or more")),
        ({"scenario": ("single-stream", "multi-stream"), "batch_size": (1, 2)}, ("--batch-size 1,2", "offline")),
        ({"batch_size": (1, 2)}, ("--batch-size 2", "1 in the single-stream scenario")),
        ({"scenario": "multi-stream", "batch_size": (8, 16)}, ("--batch-size 16", "at most 8")),
        ({"isa": ("avx2", "avx2")}, ("--isa avx2,avx2", "each value once")),
    ],
)
def test_a_bad_list_is_refused_in_one_line_that_names_the_option(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], words: tuple[str, str]
) -> None:
    with pytest.raises(BadInput) as refused:
        asked(monkeypatch, **options)
    assert "\n" not in str(refused.value)
    assert all(word in str(refused.value) for word in words)


def test_an_instruction_set_that_the_processor_lacks_is_refused_with_what_it_has() -> None:
    assert limits(HOST) == ("avx2", "avx512")
    check_isa([Settings(isa="avx2"), Settings(isa="avx512"), Settings()], HOST)
    for unknown in ("avx512_vnni", "neon", "AVX2"):
        with pytest.raises(BadInput, match=f"^--isa {unknown}: .*this processor has avx2, avx512$"):
            check_isa([Settings(isa="avx2"), Settings(isa=unknown)], HOST)
    with pytest.raises(BadInput, match="has none"):
        check_isa([Settings(isa="avx2")], replace(HOST, isa=("asimd", "asimddp")))


def test_names_tell_what_is_swept_and_nothing_else() -> None:
    one, many = Settings("offline", threads=2, batch_size=8), Settings("offline", threads=1, batch_size=16)
    assert swept_in([one]) == ()
    assert full_name("t/r@a", one, swept_in([one])) == "t/r@a"
    assert full_name("nncf/int8-static@openvino", one, swept_in([one, many])) == (
        "nncf/int8-static@openvino [batch 8, 2 threads]"
    )
    limited = [replace(many, isa="avx2"), replace(many, isa="avx512")]
    assert [full_name("t/r@a", each, swept_in(limited)) for each in limited] == ["t/r@a [avx2]", "t/r@a [avx512]"]
    single = [Settings(), Settings("multi-stream", batch_size=8), many]
    names = {full_name("t/r@a", each, swept_in(single)) for each in single}
    assert len(names) == 3
    assert "t/r@a [single-stream, batch 1]" in names


def test_a_file_that_fixes_its_batch_is_made_once_a_size_and_its_folder_names_the_size() -> None:
    readers = [RuntimeInfo("a", (), None, ("tflite", "onnx"))]
    (fixed,) = plan_cells([ToolchainInfo("edge", (), None, "tflite", ("a",), (FP32,))], readers).builds
    (free,) = plan_cells([ToolchainInfo("hub", (), None, "onnx", ("a",), (FP32,))], readers).builds
    settings = [Settings("offline", threads, size) for size in (1, 8) for threads in (1, 2)]
    made = files_of(fixed, settings)
    assert [build.folder for build, _ in made] == ["edge-fp32-batch1", "edge-fp32-batch8"]
    assert [[each.batch_size for each in served] for _, served in made] == [[1, 1], [8, 8]]
    assert [(build.folder, served) for build, served in files_of(free, settings)] == [("hub-fp32", settings)]
    of_threads = settings[:2]  # one size: the folder is called as it always was
    assert [(build.folder, served) for build, served in files_of(fixed, of_threads)] == [("edge-fp32", of_threads)]
    assert {Cell(build, "a", served[0]).name for build, served in made} == {"edge/fp32@a"}


def test_the_first_settings_are_those_of_builds_and_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    request = asked(monkeypatch, threads=(2, 1), scenario="offline")
    assert request.inputs.threads == 2
    assert request.out == Path("s")
