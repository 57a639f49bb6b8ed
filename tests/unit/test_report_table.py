"""The terminal's table: order, width, and that others' text is neither markup nor lost."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from lowbit.core.study import Report
from lowbit.report.table import print_report, table
from tests.unit import report_example as example


def printed(report: Report, width: int) -> str:
    console = Console(width=width, file=StringIO(), color_system=None)
    print_report(report, console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def headings(report: Report, width: int) -> list[str]:
    return [str(column.header).split("\n")[0] for column in table(report, width).columns]


@pytest.mark.parametrize("width", [80, 100, 120, 140])
def test_no_line_is_wider_than_the_console_and_no_row_is_broken(width: int) -> None:
    lines = printed(example.report(), width).splitlines()
    assert max(cell_len(line) for line in lines) <= width
    for row in example.rows():
        if row.status == "measured":
            found = [line for line in lines if f"{row.toolchain} {row.recipe}" in line and f" {row.runtime}" in line]
            assert found, row.name
            assert any("×" in line and f"{(row.top1 or 0) * 100:.2f}" in line for line in found), row.name


def test_narrow_consoles_lose_the_least_needed_columns_first() -> None:
    narrow, middle, wide = (headings(example.report(), width) for width in (80, 110, 140))
    assert narrow == ["version", "run by", "top-1", "Δ", "size", "p50", "speed-", "int8"]
    assert set(narrow) < set(middle) < set(wide)
    assert {"95 %", "same as", "peak"} <= set(wide)


def test_the_winner_is_first_then_what_meets_the_limit_by_latency_then_the_rest() -> None:
    report = example.report()
    body = printed(report, 140).split("version")[1].split("failed (")[0].splitlines()
    names = [line.split()[:3] for line in body if "×" in line]
    assert names[0] == ["nncf", "int8-static", "openvino"]
    assert names[1] == ["onnxruntime", "int8-static", "openvino†"]
    # 0.301 ms is the fastest of all, but it loses 1.65 points where 1 is allowed
    assert names[-1][:2] == ["litert", "int4-dynamic³"]
    assert len(names) == 26


def test_a_row_called_int8_that_runs_in_float_says_so_and_rounds_down() -> None:
    lines = printed(example.report(), 100).splitlines()
    assert next(line for line in lines if line.startswith("torch int8-static")).rstrip().endswith("62 %")
    assert next(line for line in lines if line.startswith("torch int8-dynamic")).rstrip().endswith("0 %")
    weight_only = next(line for line in lines if line.startswith("nncf int8-weight-only"))
    assert "%" not in weight_only  # never called int8, so nothing to fall short of


def test_reasons_notes_and_logs_are_printed_as_they_are() -> None:
    text = " ".join(printed(example.report(), 80).split())
    assert "pip install 'lowbit[torch]'" in text  # Rich's markup would swallow the bracket
    assert "top-1 is 14.06 % here and 91.78 % in onnxruntime" in text
    assert example.INJECTION in text
    assert "logs/torch-int16x8/build.log" in text
    assert "fp16 is storage only" in text
    assert "litert/{int8-static,int8-dynamic,int16x8}@openvino: Exception from" in text


def test_the_winner_its_reason_its_ties_and_its_file_end_the_output() -> None:
    end = printed(example.report(), 140).strip().splitlines()[-4:]
    assert end == [
        "Winner  nncf/int8-static@openvino",
        "Why     fastest of 19 that lose at most 1 points (0.327 ms, 2.57× fp32)",
        "Ties    nncf/int8-mixed@openvino",
        "File    artifacts/nncf-int8-static",
    ]
    assert "No winner: no row was measured" in printed(example.nothing_measured(), 80)


def test_random_weights_print_agreement_and_no_accuracy_even_where_rows_hold_one() -> None:
    report = example.random_weights()
    assert any(row.top1 is not None for row in report.rows)
    text = printed(report, 140)
    assert "random weights" in text
    assert {"top-1", "Δ", "95 %"}.isdisjoint(headings(report, 140))
    assert "same as" in headings(report, 80)
    assert "91.73" not in text


def test_offline_shows_samples_a_second_and_official_runs_carry_no_warning() -> None:
    base = example.report()
    rows = tuple(replace(row, scenario="offline") for row in base.rows)
    settings = replace(base.settings, scenario="offline", official=True)
    text = printed(replace(base, rows=rows, settings=settings), 100)
    assert "samples" in text and " 3058 " in text
    assert "Not an official" not in text
    assert "Not an official" in printed(base, 100)


def test_a_note_of_all_rows_needs_no_mark_and_joined_notes_are_told_apart() -> None:
    base = example.report()
    rows = tuple(replace(r, note="; ".join(n for n in (r.note, "timed beside other work") if n)) for r in base.rows)
    text = printed(replace(base, rows=rows), 140)
    assert "all rows: timed beside other work" in text
    assert text.count("timed beside other work") == 1
    assert "onnxruntime fp16¹ " in text and "\n¹ fp16 is storage only: this runtime computes in fp32 on a CPU\n" in text


def test_rows_of_another_host_are_named() -> None:
    base = example.report()
    moved = replace(base.rows[0], host_id="host-b")
    text = printed(replace(base, rows=(moved, *base.rows[1:])), 140)
    assert "measured on another host, not comparable: onnxruntime/fp32@onnxruntime" in text
    assert "another host" not in printed(base, 140)
