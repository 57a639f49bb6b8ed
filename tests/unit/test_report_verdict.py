"""What is said of the winner: a gain above float, answers that are not float's, timings beside other work."""

from dataclasses import replace
from html import unescape

import pytest

from lowbit.core.row import Row
from lowbit.core.study import Report
from lowbit.report import verdict
from lowbit.report.notebook import notebook_html
from lowbit.report.page import page
from tests.unit import report_example as example
from tests.unit.test_report_table import printed

WINNER = "nncf/int8-static@openvino"


def changed(name: str = WINNER, base: Report | None = None, **values: object) -> Report:
    """The example's study with other values in one row."""
    base = example.report() if base is None else base
    rows = tuple(replace(row, **values) if row.name == name else row for row in base.rows)  # type: ignore[arg-type]
    return replace(base, rows=rows)


def test_the_reason_is_made_of_fields() -> None:
    assert verdict.why(changed(top1=0.9123)) == (
        "fastest of 21 that lose at most 1 point (0.327 ms, 2.57× the best fp32, 421 kB); "
        "it loses 0.50 points against float; agreement 99.6 %"
    )
    same = changed(top1=example.FLOAT_CORRECT / example.N_SAMPLES)
    assert verdict.why(same).endswith("it is as accurate as float; agreement 99.6 %")
    assert verdict.cautions(same) == []


@pytest.mark.parametrize(
    ("p_value", "calibration_s", "reason"),
    [
        (1e-9, 1.0, "calibration and test share classes"),
        (0.471, 1.0, "that may be chance, p 0.471"),
        (1e-9, None, "on others it may lose"),
    ],
)
def test_a_gain_above_float_is_told_as_what_it_is(p_value: float, calibration_s: float | None, reason: str) -> None:
    report = changed(top1=0.9173 + 0.092, agreement=0.952, p_value=p_value, calibration_s=calibration_s)
    said = f"9.20 points above float on these images: {reason}; agreement 95.2 %"
    assert verdict.why(report).endswith(said)
    assert said in " ".join(printed(report, 80).split())
    assert said in page(report)


def test_a_winner_that_answers_otherwise_is_not_called_as_good_as_float() -> None:
    poor = changed(top1=0.9173, agreement=0.78)
    assert "as accurate as float" not in verdict.why(poor)
    # the winner stands alone: nothing else loses little, so all that do are what it was chosen from
    alone = replace(
        poor, rows=tuple(row for row in poor.rows if row.name == WINNER), choice=replace(poor.choice, row=0)
    )
    (said,) = verdict.cautions(alone)
    assert said.startswith("it gives float's answer on 78.0 % of the images only, less than the 90 %")
    for text in (printed(alone, 80), page(alone), notebook_html(alone)):
        assert said in " ".join(unescape(text).split())
    line = next(line for line in printed(alone, 80).splitlines() if line.startswith("Careful"))
    assert line.startswith("Careful it gives float's answer")


def test_better_rows_that_were_passed_over_are_counted() -> None:
    report = changed("litert/int4-dynamic@litert", top1=0.999, agreement=0.78)
    assert verdict.why(report).endswith("; 1 faster version agrees with float on less than 90 % of the images")
    order = printed(report, 140).split("version")[1].split("failed (")[0]
    assert order.index("litert int4-dynamic") > order.index("torch bf16"), "what may not be shipped comes later"


def test_a_winner_drawn_from_disturbed_timings_says_so() -> None:
    report = changed(disturbed=True)
    (said,) = verdict.cautions(report)
    assert "timed beside other work" in said
    assert any(line.startswith("Careful it was timed beside other work") for line in printed(report, 140).splitlines())
    assert "Careful: it was timed beside other work" in page(report)
    (rival,) = verdict.cautions(changed("nncf/int8-mixed@openvino", disturbed=True))
    assert rival.startswith("1 of the 21 it was chosen from were timed beside other work")
    by_size = replace(report.choice, optimize="size")
    assert verdict.cautions(replace(changed("nncf/int8-mixed@openvino", disturbed=True), choice=by_size)) == []


def test_without_a_winner_the_closest_is_named() -> None:
    base = example.report()
    nothing = replace(base, choice=replace(base.choice, row=None, max_drop=0.0))
    lost: tuple[Row, ...] = tuple(replace(row, top1=row.top1 - 0.02) if row.top1 else row for row in nothing.rows)
    assert verdict.why(replace(nothing, rows=lost)) == (
        "no version stays within 0 points of float; the closest is torch/int8-static@torch, which loses 1.87"
    )
    assert "no version was measured" in verdict.why(example.nothing_measured())
    assert verdict.cautions(nothing) == []


def test_agreement_stands_in_for_accuracy_of_a_random_network() -> None:
    assert verdict.why(example.random_weights()).endswith("; agreement 99.6 %")


def test_the_page_says_how_one_output_becomes_an_answer() -> None:
    assert "argmax over the outputs of the model" in page(example.report())
    assert "one output: the second class above 0.5, else the first" in page(replace(example.report(), threshold=0.5))
