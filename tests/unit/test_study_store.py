"""A study's folder: one command at a time, nobody else's files, and no remains of a command that was killed."""

import fcntl
import os
from pathlib import Path

import pytest

from lowbit.core.errors import BadInput
from lowbit.study.store import LOCK, Store, locked


def test_a_new_folder_becomes_a_study(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "study") as store:
        assert store.folder == tmp_path / "a" / "study"
        assert (store.folder / LOCK).read_text() == str(os.getpid())


def test_a_second_command_is_told_who_works_there_and_may_go_on_afterwards(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "study"),
        pytest.raises(BadInput, match=f"process {os.getpid()}"),
        locked(tmp_path / "study"),
    ):
        pass
    with locked(tmp_path / "study"):
        pass


def test_a_lock_file_that_nobody_holds_is_no_lock(tmp_path: Path) -> None:
    """As a killed command leaves it: the kernel has let go of it."""
    (tmp_path / LOCK).write_text("999999")
    with locked(tmp_path) as store, (store.folder / LOCK).open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BadInput, match="holds no study"), locked(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_that_cannot_be_is_bad_input_with_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"--cache .*file/study"), locked(tmp_path / "file" / "study", "--cache"):
        pass


def test_what_a_killed_command_had_written_aside_is_removed_and_nothing_else(tmp_path: Path) -> None:
    with locked(tmp_path) as store:
        kept = store.cell("k") / "accuracy.json"
        kept.parent.mkdir(parents=True)
        kept.write_text("{}")
        half_file, half_folder = (
            store.cell("k") / ".lowbit-tmp.half",
            store.artifact("null-fp32").with_name(".lowbit-tmp.x"),
        )
        half_file.write_text("{")
        half_folder.mkdir(parents=True)
        (half_folder / "model").write_text("half")
    with locked(tmp_path):
        assert kept.exists()
        assert not half_file.exists()
        assert not half_folder.exists()


def test_every_place_lies_in_the_folder_and_no_two_are_one() -> None:
    store = Store(Path("/study"))
    places = [
        store.samples("k"), store.model("k"), store.reference("k"), store.conversions, store.artifact("k"),
        store.build_result("k"), store.cell("k"), store.logs("k"),
    ]  # fmt: skip
    assert len(set(places)) == len(places)
    assert all(store.folder in place.parents for place in places)
    assert store.relative(store.cell("k")) == "cells/k"
