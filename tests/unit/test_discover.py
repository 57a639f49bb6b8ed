"""Finding adapters: by file, by entry point, by name; and what is said when one is not there."""

from importlib import metadata
from pathlib import Path

import pytest

from lowbit.core.adapter import RuntimeInfo
from lowbit.core.discover import require, versions
from lowbit.core.errors import BadInput, UnsupportedError
from lowbit.runtimes.find import runtimes
from lowbit.toolchains.find import toolchains

TOY = """
from contextlib import contextmanager
from lowbit.core.adapter import RuntimeInfo

INFO = RuntimeInfo(name="toy", packages=(), extra=None, reads=("onnx",))
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, entry: str, module: str = "", source: str = TOY) -> None:
    """A package of someone else's, as pip would leave it: a module and its metadata."""
    if module:
        (folder / f"{module}.py").write_text(source)
    info = folder / "lowbit_toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lowbit-toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[lowbit.runtimes]\n{entry}\n")
    monkeypatch.syspath_prepend(str(folder))


def test_own_adapters_are_found_by_file_name() -> None:
    assert {"onnxruntime", "openvino"} <= set(runtimes())
    assert {"onnxruntime", "nncf"} <= set(toolchains())
    assert list(runtimes()) == sorted(runtimes())


def test_hidden_ones_only_when_named() -> None:
    assert "null" not in runtimes()
    assert list(runtimes(("null", "onnxruntime"))) == ["null", "onnxruntime"]


def test_an_unknown_name_lists_the_choices() -> None:
    with pytest.raises(BadInput, match=r"no runtime is called 'onnx'; choose from .*onnxruntime, openvino") as caught:
        runtimes(("onnx",))
    assert "null" not in str(caught.value)
    with pytest.raises(BadInput, match="no toolchain is called 'find'"):
        toolchains(("find",))


def test_an_entry_point_is_a_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "toy = lowbit_toy_good", "lowbit_toy_good")
    assert runtimes()["toy"].INFO.reads == ("onnx",)
    assert "onnxruntime" in runtimes()


def test_an_entry_point_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "toy = lowbit_toy_absent")
    with pytest.raises(BadInput, match=r"toy = lowbit_toy_absent cannot be imported"):
        runtimes()
    assert list(runtimes(("onnxruntime",))) == ["onnxruntime"]  # it does not stand in the way of others


@pytest.mark.parametrize(
    ("entry", "source", "said"),
    [
        ("toy = lowbit_toy_raises", "raise OSError('libtoy.so is missing')", "OSError: libtoy.so is missing"),
        ("toy = lowbit_toy_faceless", "", "AttributeError: .* 'INFO'"),
        ("toy = lowbit_toy_whole:adapter", TOY, "AttributeError: .* 'adapter'"),
    ],
)
def test_an_entry_point_that_is_no_adapter(
    entry: str, source: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = entry.removeprefix("toy = ").partition(":")[0]
    install(tmp_path, monkeypatch, entry, module, source)
    with pytest.raises(BadInput, match=rf"{entry} cannot be imported \({said}.*repair or uninstall its package"):
        runtimes()


def test_an_entry_point_may_not_take_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "openvino = lowbit_toy_thief", "lowbit_toy_thief")
    with pytest.raises(BadInput, match="takes a name that another adapter has"):
        runtimes()


def test_versions_of_what_is_there() -> None:
    assert versions(("numpy", "lowbit-no-such-package")) == {"numpy": metadata.version("numpy")}


def test_what_is_missing_is_named_with_the_remedy() -> None:
    some = RuntimeInfo("x", ("numpy", "lowbit-no-such-package"), extra="openvino", reads=())
    with pytest.raises(UnsupportedError) as caught:
        require(some)
    assert caught.value.reason == "lowbit-no-such-package is not installed"
    assert caught.value.remedy == "pip install 'lowbit[openvino]'"
    assert require(RuntimeInfo("x", ("numpy",), extra=None, reads=())) == {"numpy": metadata.version("numpy")}
