"""Jobs in child processes, with the null runtime: what is kept, what is done again, what ends how, and who is left."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from lowbit.core.artifact import Artifact
from lowbit.core.settings import Settings
from lowbit.study.execute.local import LocalExecutor, Progress
from lowbit.study.execute.placed import PlacedJob, finished
from lowbit.worker.jobs import PrecisionJob
from tests.packages import install

LIMIT_S = 120.0


class Study:
    """A folder, and jobs in it that ask the null runtime what it executes: the cheapest children there are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ended: list[str] = []
        self.reasons: list[str] = []

    def job(self, name: str, behaviour: str = "well", *, runtime: str = "null", batch_size: int = 1) -> PlacedJob[Any]:
        file = self.folder / f"{behaviour}.null.json"
        file.write_text(json.dumps({"outputs": 4, "weight_bits": 8, "macs": 0, "behaviour": behaviour}))
        settings = Settings(scenario="offline", batch_size=batch_size)
        out = self.folder / f"{name}-operators.json"
        job = PrecisionJob(Artifact(file, "null", "d", (3, 8, 8), 4), runtime, settings, (), out)
        return PlacedJob(name, job, self.folder / f"{name}.json", self.folder / "logs", leaves=(out,))

    def run(
        self,
        *jobs: PlacedJob[Any],
        slots: int = 2,
        limit_s: float = LIMIT_S,
        listener: Callable[[Progress], None] = lambda _: None,
    ) -> list[str]:
        """How the jobs ended; `ended` names those that were carried out and not only read."""
        self.ended = []

        def listen(progress: Progress) -> None:
            self.ended += [progress.ended] if progress.ended else []
            listener(progress)

        results = LocalExecutor(self.folder, limit_s, 1, listen).run("stage", jobs, slots)
        assert all(result.log is not None and (self.folder / result.log).is_file() for result in results)
        self.reasons = [result.reason for result in results]
        return [result.end for result in results]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def test_what_is_done_or_refused_is_kept_and_what_failed_is_tried_again(study: Study) -> None:
    jobs = [study.job("well"), study.job("refused", "refuse"), study.job("memory", "memory")]
    assert study.run(*jobs) == ["done", "unsupported", "failed"]
    assert "told to refuse" in study.reasons[1]
    assert "MemoryError" in study.reasons[2]
    assert sorted(study.ended) == ["memory", "refused", "well"]
    assert study.run(*jobs) == ["done", "unsupported", "failed"]
    assert study.ended == ["memory"]


@pytest.mark.parametrize("damage", ["leaves", "cut", "result"])
def test_what_is_gone_or_damaged_is_not_finished(damage: str, study: Study) -> None:
    """Without a child: `finished` decides what is kept."""
    job = study.job("well")
    job.leaves[0].write_text("{}")
    job.result.write_text('{"end": "done"}')
    assert finished(job) is not None
    if damage == "leaves":
        job.leaves[0].unlink()
    elif damage == "cut":
        job.result.write_text('{"end": "do')
    else:
        job.result.unlink()
    assert finished(job) is None


def test_a_crash_and_a_hang_are_told_and_the_others_go_on(study: Study) -> None:
    well = study.job("well")
    assert study.run(well) == ["done"]
    ends = study.run(study.job("crash", "crash"), study.job("hang", "hang"), well, limit_s=5)
    assert ends[1:] == ["failed", "done"]
    assert "5 s and was killed" in study.reasons[1]
    assert ends[0] == "failed"
    assert "SIGSEGV" in study.reasons[0] or "5 s" in study.reasons[0]  # a slow machine may not get that far
    assert psutil.Process().children(recursive=True) == []


def test_two_settings_are_two_jobs_and_neither_answers_for_the_other(study: Study) -> None:
    one, eight = study.job("cell-1", batch_size=1), study.job("cell-8", batch_size=8)
    assert study.run(one, eight) == ["done", "done"]
    said = [json.loads((study.folder / "logs" / f"cell-{size}.job.json").read_text())["job"] for size in (1, 8)]
    assert [job["settings"]["batch_size"] for job in said] == [1, 8]
    assert study.run(eight, one) == ["done", "done"]
    assert study.ended == []


def test_jobs_of_one_result_are_done_once_and_answer_for_each_other(study: Study) -> None:
    one, other = study.job("shared"), study.job("alone")
    ends = study.run(one, replace(one, name="the same for another cell"), other)
    assert ends == ["done", "done", "done"]
    assert sorted(study.ended) == ["alone", "shared"]


def test_a_jobs_own_variables_and_threads_reach_its_child_and_no_other(study: Study) -> None:
    limited = replace(study.job("limited"), environment={"ONEDNN_MAX_CPU_ISA": "AVX2"}, threads=2)
    assert study.run(limited, study.job("free")) == ["done", "done"]
    said = {name: (study.folder / "logs" / f"{name}.log").read_text().splitlines()[0] for name in ("limited", "free")}
    assert "ONEDNN_MAX_CPU_ISA=AVX2" in said["limited"]
    assert "OMP_NUM_THREADS=2" in said["limited"]
    assert "ONEDNN_MAX_CPU_ISA" not in said["free"]
    assert "OMP_NUM_THREADS=1" in said["free"]


def test_an_interrupt_leaves_nobody_and_the_next_run_goes_on(study: Study) -> None:
    jobs = [study.job("first"), study.job("second", "hang")]

    def interrupt(progress: Progress) -> None:
        if progress.ended == "first":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.run(*jobs, slots=2, listener=interrupt)
    assert psutil.Process().children(recursive=True) == []
    again = [jobs[0], study.job("second")]  # the same place, and a file that behaves now
    assert study.run(*again) == ["done", "done"]
    assert study.ended == ["second"]


def test_what_one_job_finds_bad_is_its_own_affair(study: Study) -> None:
    assert study.run(study.job("bad", runtime="nobody"), study.job("good")) == ["bad-input", "done"]
    assert "no runtime is called 'nobody'" in study.reasons[0]
    assert study.run(study.job("bad", runtime="nobody"), study.job("good")) == ["bad-input", "done"]
    assert study.ended == ["bad"]  # what was bad is looked at again, what is done is kept


def test_jobs_of_one_group_never_run_side_by_side(study: Study) -> None:
    jobs = [
        PlacedJob(name, made.job, made.result, made.logs, made.leaves, group="vendor")
        for name in ("a", "b")
        for made in [study.job(name)]
    ]
    together: list[tuple[str, ...]] = []
    assert study.run(*jobs, listener=lambda progress: together.append(progress.running)) == ["done", "done"]
    assert max(map(len, together)) == 1


TOY = """
from contextlib import contextmanager

from lowbit.core.adapter import OpPrecision, RuntimeInfo
from lowbit.core.discover import require

INFO = RuntimeInfo(name="toy", packages=("toy-vendor",), extra=None, reads=("null",))


class Toy:
    def executed_precision(self):
        return [OpPrecision("guess", "Guess", "f32", False)]


@contextmanager
def open_session(artifact, options):
    require(INFO)
    yield Toy()
"""


def test_a_missing_package_is_asked_for_again(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    site = study.folder / "site"
    install(site, "toy_runtime", "[lowbit.runtimes]\ntoy = toy_runtime\n")
    (site / "toy_runtime.py").write_text(TOY)
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
    job = study.job("cell", runtime="toy")
    assert study.run(job) == ["missing"]
    assert "toy-vendor is not installed" in study.reasons[0]
    install(site, "toy_vendor")
    assert study.run(job) == ["done"]
