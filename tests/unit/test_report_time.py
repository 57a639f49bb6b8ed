"""Where the time goes, on the page: bars by kind of work, and the roofline with its arithmetic."""

import re
from dataclasses import replace

import pytest

from lowbit.core.peak import Peak
from lowbit.core.profile import PartOfTime, TimeSpent
from lowbit.core.study import Report
from lowbit.report.page import page
from lowbit.report.time_section import arithmetic, roof, time_section
from tests.unit.report_example import INJECTION, report

PARTS = (
    PartOfTime("Conv_0", 300.0, "integer product"),
    PartOfTime(INJECTION, 100.0, "conversion"),
    PartOfTime("Gemm_7", 100.0, "float product"),
    PartOfTime("Reshape", 0.0, "other"),
)
SPENT = TimeSpent(PARTS, macs=40_000_000, batch_size=1, threads=1, latency_us=500.0, disturbed=False)
INT8, FP32 = Peak("int8", 1, 200e9, "torch._int_mm", 1024), Peak("fp32", 1, 50e9, "torch.mm", 1024)


def profiled() -> Report:
    base = report()
    names = [row.name for row in base.rows if row.status == "measured"][:2]
    return replace(base, profiles=dict.fromkeys(names, SPENT), peaks=(INT8, FP32))


def test_nothing_stands_where_nothing_was_profiled() -> None:
    assert time_section(report()) == ""
    assert 'id="time"' not in page(report())


def test_every_layer_has_a_bar_by_its_kind_of_work_and_its_share() -> None:
    section = time_section(profiled())
    assert section.count("<details>") == 2
    for colour, share in (("c2", "60.0 %"), ("c1", "20.0 %"), ("c0", "20.0 %")):
        assert section.count(f'class="bar {colour}"') == 2
        assert share in section
    assert 'class="bar c5"' not in section  # it takes no time
    assert "<script>" not in section
    assert 'id="time"' in page(profiled())


def test_the_arithmetic_of_the_roofline_is_shown() -> None:
    told = arithmetic(SPENT, INT8)
    macs, ms, rate, share, peak = map(
        float,
        re.match(r"([\d.]+) M .* ÷ ([\d.]+) ms = ([\d.]+) G a second, (\d+) % of the ([\d.]+) G", told).groups(),  # type: ignore[union-attr]
    )
    assert macs / ms == pytest.approx(rate)
    assert 100 * rate / peak == pytest.approx(share)
    assert "torch._int_mm" in told and "1 thread" in told
    assert "No library here" in arithmetic(SPENT, None)


def test_integers_are_held_against_integers_and_threads_against_as_many() -> None:
    row = next(row for row in report().rows if row.status == "measured")
    for share, peak in ((1.0, INT8), (0.2, FP32), (None, FP32)):
        assert roof(replace(row, int8_share=share), SPENT, (INT8, FP32)) == peak
    assert roof(row, replace(SPENT, threads=2), (INT8, FP32)) is None
