"""A sweep over settings in table, page and notebook: what tells rows apart, and that none stands for another."""

import json
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from lowbit.core.study import Report
from lowbit.core.sweep import group, swept_in
from lowbit.report import ranking, swept
from lowbit.report.notebook import notebook_html
from lowbit.report.page import page
from lowbit.report.table import print_report
from lowbit.report.tabular import to_csv, to_json
from tests.unit import report_example as example
from tests.unit.test_report_page import Parsed


def terminal(report: Report, width: int = 120) -> str:
    text = StringIO()
    print_report(report, Console(file=text, width=width))
    return text.getvalue()


@pytest.fixture(scope="module")
def report() -> Report:
    return example.swept()


def test_names_are_unique_and_the_first_settings_come_first(report: Report) -> None:
    measured = ranking.measured(report)
    assert len({row.name for row in report.rows}) == len(report.rows)
    assert measured[0] is ranking.winner(report)
    order = [group(each) for each in report.all_settings]
    places = [order.index(group(row)) for row in measured]
    assert places == sorted(places)
    assert {group(row) for row in ranking.eligible(report)} == {order[0]}


def test_rows_that_may_be_shipped_stand_above_the_others_in_every_group(report: Report) -> None:
    for each in report.all_settings:
        rows = [row for row in ranking.measured(report) if group(row) == group(each)]
        good = [ranking.loses_little(row, report) and ranking.answers_as_float(row, report) for row in rows]
        assert good == sorted(good, reverse=True)
        assert any(good) and not all(good)


def test_the_table_has_a_column_for_each_thing_that_is_swept_at_any_width(report: Report) -> None:
    for width in (80, 120, 160):
        lines = terminal(report, width).splitlines()
        heading = next(line for line in lines if line.startswith("version"))
        assert heading.split()[:5] == ["version", "run", "by", "batch", "threads"]
        assert "scenario" not in heading and "limited" not in heading
    text = terminal(report)
    assert "batch 1, 2, 4, 32" in text and "1, 2 threads" in text
    row = next(line for line in text.splitlines() if line.startswith("nncf int8-static"))
    assert row.split()[2:5] == ["openvino", "1", "1"]
    assert "Within  batch 1, 1 thread" in text
    assert "fastest fp32 row of the same settings" in text
    assert "Within" not in terminal(example.report()) and "same settings" not in terminal(example.report())


def test_scenarios_side_by_side_show_latency_and_rate() -> None:
    base = example.report()
    other = replace(base.settings, scenario="offline", batch_size=32)
    names = swept_in([base.settings, other])
    single = [replace(row, swept=names) for row in base.rows]
    offline = [
        replace(row, scenario="offline", batch_size=32, swept=names, latency_p50_ms=None, latency_p50_low_ms=None,
                latency_p50_high_ms=None, samples_per_s=row.samples_per_s and 4 * row.samples_per_s)
        for row in base.rows if row.status == "measured"
    ]  # fmt: skip
    text = terminal(replace(base, rows=(*single, *offline), other_settings=(other,)), 160)
    heading = next(line for line in text.splitlines() if line.startswith("version"))
    assert "p50" in heading and "samples" in heading and "scenario" in heading
    last = [line for line in text.splitlines() if line.startswith(("nncf", "onnxruntime", "litert", "torch"))][-1]
    assert " offline " in last and " – " in last


def test_plots_of_one_number_a_version_show_the_first_settings_only(report: Report) -> None:
    html = page(report)
    first = {index for index, row in enumerate(report.rows) if group(row) == group(report.settings)}
    for section in ("pareto", "speed", "losses"):
        part = html[html.index(f'<section id="{section}">') :].split("</section>")[0]
        drawn = {int(piece.split('"')[0]) for piece in part.split('data-row="')[1:]}
        assert drawn and drawn <= first
        assert "At batch 1, 1 thread, the first settings of the sweep." in part
    assert "the first settings" not in page(example.report())


def few(report: Report, *recipes: str) -> Report:
    """The study with these recipes only, and no winner."""
    rows = tuple(row for row in report.rows if row.recipe in recipes)
    return replace(report, rows=rows, choice=replace(report.choice, row=None))


def test_the_axis_has_the_most_values_and_a_panel_is_all_else(report: Report) -> None:
    two = few(report, "fp32", "int8-static")
    assert swept.axis(two) == "batch_size"
    panels = swept.panels(two)
    assert [(panel.runtime, panel.told) for panel in panels] == [("", "1 thread"), ("", "2 threads")]
    for panel in panels:
        assert len(panel.lines) == 8  # two recipes in each of four runtimes
        assert all(list(line.rows) == [1, 2, 4, 32] for line in panel.lines)
        assert all(row.intended for line in panel.lines for row in line.rows.values())
        assert all(size == row.batch_size for line in panel.lines for size, row in line.rows.items())
        assert {row.threads for line in panel.lines for row in line.rows.values()} == {int(panel.told[0])}
    assert swept.axis(example.report()) is None
    assert swept.panels(example.report()) == ()


def test_where_lines_are_too_many_each_runtime_has_its_panels(report: Report) -> None:
    panels = swept.panels(report)
    runtimes = ("litert", "onnxruntime", "openvino", "torch")
    assert [(panel.runtime, panel.told) for panel in panels] == [
        (runtime, told) for runtime in runtimes for told in ("1 thread", "2 threads")
    ]
    assert all(line.runtime == panel.runtime for panel in panels for line in panel.lines)
    drawn = {row.name for panel in panels for line in panel.lines for row in line.rows.values()}
    assert drawn == {row.name for row in ranking.with_status(report, "measured") if row.intended}


def test_where_they_still_are_the_fastest_of_its_kind_is_drawn_and_the_others_are_counted(report: Report) -> None:
    slower = tuple(
        replace(row, toolchain=f"maker-{number}", samples_per_s=(row.samples_per_s or 0) / number, intended=True)
        for number in (2, 3, 4, 5)
        for row in report.rows
        if row.plain_name == "nncf/int8-static@openvino"
    )
    crowded = replace(report, rows=(*report.rows, *slower))
    (panel, _) = (panel for panel in swept.panels(crowded) if panel.runtime == "openvino")
    kinds = [(line.any_row.claim, line.any_row.weight_bits, line.any_row.activation_bits) for line in panel.lines]
    assert len(kinds) == len(set(kinds))
    assert panel.left_out == 6  # four slower makers; int8-mixed has the bits of int8-static, and fp16 those of bf16
    assert [line.recipe for line in panel.lines if line.any_row.claim == "integer"] == ["int8-static"]
    assert {line.toolchain for line in panel.lines} == {"nncf"}
    assert "only the fastest is drawn; 6 more are below" in page(crowded)


def test_every_point_of_the_plot_is_its_own_row(report: Report) -> None:
    html = page(report)
    part = html[html.index('<section id="swept">') :].split("</section>")[0]
    drawn = [int(piece.split('"')[0]) for piece in part.split('data-row="')[1:]]
    speeds = sum(len(line.rows) for panel in swept.panels(report) for line in panel.lines)
    speedups = sum(len(values) for panel in swept.panels(report) for values in swept.speedups(panel.lines))
    assert len(drawn) == speeds + speedups
    assert len(set(drawn)) == speeds
    assert Parsed(html).stack == []


def test_without_a_sweep_or_without_timing_there_is_no_such_plot(report: Report) -> None:
    untimed = replace(
        report, rows=tuple(replace(row, samples_per_s=None, speedup=None, latency_p50_ms=None) for row in report.rows)
    )
    for other in (example.report(), untimed, example.nothing_measured()):
        assert 'id="swept"' not in page(other)
    assert 'id="swept"' in page(report)


def test_the_matrix_says_once_what_is_the_same_with_all_settings(report: Report) -> None:
    def chips(of: Report) -> list[str]:
        html = page(of)
        return html[html.index('<section id="support">') :].split("</section>")[0].split('class="chip ')[1:]

    assert len(chips(report)) == len(chips(example.report()))
    index = next(i for i, row in enumerate(report.rows) if row.name.startswith("nncf/fp32@openvino [batch 4, 2"))
    one = replace(report.rows[index], status="failed", reason="died")
    broken = replace(report, rows=(*report.rows[:index], one, *report.rows[index + 1 :]))
    assert len(chips(broken)) == len(chips(report)) + 1
    assert any("openvino (batch 4, 2 threads)" in chip and chip.startswith("failed") for chip in chips(broken))


def test_programs_get_the_settings_in_columns(report: Report) -> None:
    plain = to_json(report.rows)
    json.dumps(plain)
    assert {(row["batch_size"], row["threads"]) for row in plain} >= {(1, 1), (32, 2)}
    assert {row["isa"] for row in plain} == {None}
    assert plain[0]["swept"] == ["batch_size", "threads"]
    assert "isa" in to_csv(report.rows).splitlines()[0].split(",")


def test_a_notebook_tells_rows_apart(report: Report) -> None:
    html = notebook_html(report)
    assert ">batch<" in html and ">threads<" in html and ">samples/s<" in html
    assert ">batch<" not in notebook_html(example.report())
