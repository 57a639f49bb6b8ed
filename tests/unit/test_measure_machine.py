import builtins
import multiprocessing
import time
from dataclasses import replace
from pathlib import Path

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


def _spin(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_load_of_others_is_seen_and_ones_own_is_not() -> None:
    start = load.now()
    _spin(0.4)
    own = load.now()
    assert own.own_s - start.own_s > 0.35
    other = multiprocessing.get_context("spawn").Process(target=_spin, args=(2.0,))
    other.start()
    time.sleep(1.0)
    assert load.pause(0.5) > 0.3
    other.join()


def test_imports_are_timed_apart_and_the_import_statement_is_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(0.2)\n")
    monkeypatch.syspath_prepend(tmp_path)
    original = builtins.__import__
    start = time.perf_counter()
    with ImportTimer() as timer:
        time.sleep(0.1)
        __import__("slow_to_import")
    assert 0.2 <= timer.seconds <= time.perf_counter() - start - 0.1
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
