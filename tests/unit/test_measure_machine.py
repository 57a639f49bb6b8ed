import builtins
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lowbit.core.adapter import OpPrecision
from lowbit.measure import host, load
from lowbit.measure.imports import ImportTimer
from lowbit.measure.memory import peak_above
from lowbit.measure.precision import int8_share

MEGABYTE = 2**20


def test_peak_memory_sees_what_is_freed_again() -> None:
    def allocate() -> None:
        np.ones(64 * MEGABYTE, np.uint8)

    assert 60 * MEGABYTE < peak_above(allocate) < 80 * MEGABYTE
    assert peak_above(lambda: None) < 4 * MEGABYTE


def test_load_of_others_is_what_this_process_did_not_do() -> None:
    start, end = load.Clock(10.0, own_s=1.0, cores_s=50.0, waited_s=0.0), load.Clock(12.0, 2.0, 52.0, 0.0)
    assert load.others(start, end) == 0.5  # 2 seconds of these cores, 1 of them ours, within 2 seconds
    assert load.others(start, load.Clock(12.0, 9.0, 52.0, 0.0)) == 0.0  # counters of two kinds never agree exactly


def test_the_clock_counts_this_process_and_the_whole_machine() -> None:
    start = load.now()
    while (end := load.now()).own_s == start.own_s:  # this process keeps a core busy
        pass
    assert end.cores_s >= start.cores_s
    assert end.wall_s > start.wall_s
    assert load.pause(0.0) >= 0.0


def test_imports_are_timed_apart_and_the_import_statement_is_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("lowbit.measure.imports.time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setitem(sys.modules, "a_clock", clock)
    (tmp_path / "slow_to_import.py").write_text("import a_clock\na_clock.now += 2.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    original = builtins.__import__
    with ImportTimer() as timer:
        clock.now += 1.0
        __import__("slow_to_import")
        clock.now += 4.0
    assert timer.seconds == 2.0
    assert builtins.__import__ is original


def test_share_of_integer_work_is_by_multiply_accumulates() -> None:
    operators = [
        OpPrecision("a", "Conv", "u8s8", True, macs=300),
        OpPrecision("b", "Conv", "f32", False, macs=100),
        OpPrecision("c", "Relu", "f32", False),
    ]
    assert int8_share(operators) == 0.75
    assert int8_share(operators[2:]) is None


def test_host_facts_name_this_processor() -> None:
    facts = host.facts()
    assert facts.cores >= 1
    assert facts.cpu in Path("/proc/cpuinfo").read_text() or facts.cpu
    assert facts.id == host.facts().id
    assert host.int8_meaning(facts)


@pytest.mark.parametrize(("isa", "saturates"), [
    (("avx2", "fma"), True), (("avx2", "avx512f", "avx512bw"), True), ((), True), (("avx2", "avx_vnni"), False),
    (("avx2", "avx512f", "avx512_vnni"), False), (("avx2", "amx_int8"), False), (("asimd",), False),
    (("asimd", "asimddp"), False),
])  # fmt: skip
def test_int8_sums_saturate_on_x86_without_dot_products(isa: tuple[str, ...], saturates: bool) -> None:
    assert host.int8_sums_saturate(replace(host.facts(), isa=isa)) == saturates
