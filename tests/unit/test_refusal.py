"""A vendor's refusal is told apart from what may end otherwise next time."""

import re
from pathlib import Path

import pytest

from lowbit.core.errors import UnsupportedError
from lowbit.core.refusal import refusal, vendor_call


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"something")
    return path


def test_a_refusal_is_one_line_without_places(file: Path) -> None:
    error = RuntimeError(f"Exception from src/core.cpp:97:\nCheck 'x' failed at y.cpp:1:\n  {file}: odd\n  operator\n")
    made = refusal("X cannot load it", error, file, "build it again")
    assert made.reason == "X cannot load it: model.onnx: odd operator"
    assert made.remedy == "build it again"


def test_a_refusal_without_words_names_its_kind(file: Path) -> None:
    assert refusal("X cannot load it", RuntimeError(), file).reason == "X cannot load it: RuntimeError"


def test_a_long_refusal_is_cut(file: Path) -> None:
    reason = refusal("X", RuntimeError("word " * 1000), file).reason
    assert 250 < len(reason) <= 303
    assert reason.endswith(" …")


@pytest.mark.parametrize("error", [MemoryError(), PermissionError("no"), UnsupportedError("no scale")])
def test_what_is_no_vendors_refusal_goes_on_as_it_is(error: Exception, file: Path) -> None:
    with pytest.raises(type(error)) as caught:
        refusal("X cannot load it", error, file)
    assert caught.value is error


@pytest.mark.parametrize(
    "words",
    [
        "std::bad_alloc",  # the C++ library's
        "bfc_arena.cc:360 Failed to allocate memory for requested buffer of size 140737488355328",  # ONNX Runtime's
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes",  # torch's
    ],
)
def test_want_of_memory_is_no_refusal(words: str, file: Path) -> None:
    error = RuntimeError(words)
    with pytest.raises(MemoryError, match=re.escape(words)) as caught:
        refusal("X cannot load it", error, file)
    assert caught.value.__cause__ is error


def test_a_vendors_call_is_refused_by_what_the_vendor_raises_only(file: Path) -> None:
    with pytest.raises(UnsupportedError, match="X cannot load it: odd"), vendor_call("X cannot load it", file):
        raise RuntimeError("odd")
    with pytest.raises(KeyError), vendor_call("X cannot load it", file, errors=(RuntimeError,)):
        raise KeyError("ours")


def test_a_file_that_is_gone_is_no_refusal(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        refusal("X cannot load it", RuntimeError("failed to open"), tmp_path / "gone.onnx")
