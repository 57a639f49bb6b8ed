"""How numbers are written, and the arithmetic of axes and labels."""

import csv
import io
import json
from dataclasses import replace
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lowbit.core.adapter import OpPrecision
from lowbit.core.codec import from_plain
from lowbit.core.row import COLUMNS, Row
from lowbit.core.text import one_line
from lowbit.report import labels, ranking, scale, words
from lowbit.report.notebook import notebook_html
from lowbit.report.tabular import to_csv, to_json
from lowbit.report.why import why
from tests.unit import report_example as example


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.3271, "0.327"), (1.2345, "1.23"), (9.996, "10.0"), (12.34, "12.3"), (1234.5, "1234"), (0, "0"), (None, "–")],
)
def test_three_significant_digits(value: float | None, text: str) -> None:
    assert words.significant(value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(512, "512 B"), (999, "999 B"), (367_000, "367 kB"), (999_600, "1.00 MB"), (44_700_000, "44.7 MB"), (None, "–")],
)
def test_sizes_in_decimal_units(count: int | None, text: str) -> None:
    assert words.size(count) == text


def test_what_rounds_to_zero_has_no_sign() -> None:
    assert [words.signed(p) for p in (-0.001, 0.004, -0.08, 0.12)] == ["0.00", "0.00", "\u22120.08", "+0.12"]


def test_no_p_value_is_printed_as_zero() -> None:
    written = [words.p_value(p) for p in (1.0, 0.0494, 0.001, 0.00099, 5e-324, 0.0, None)]
    assert written == ["1.000", "0.049", "0.001", "< 0.001", "< 0.001", "< 1e-300", "–"]


def test_an_integer_share_is_never_rounded_up() -> None:
    row = next(row for row in example.rows() if row.name == "torch/int8-static@torch")
    shares = [words.falls_short(replace(row, int8_share=share)) for share in (0.99999, 0.62, 1.0, None)]
    assert shares == ["int8 99 %", "int8 62 %", "", ""]


def test_control_characters_of_vendors_logs_vanish() -> None:
    assert one_line("\x1b[31mred\x1b[0m\r\n  next\tline") == "[31mred [0m next line"
    assert one_line("abcdef", 4) == "abc…"


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.integers(2, 12))
def test_a_linear_scale_covers_its_values_with_increasing_ticks(low: float, span: float, count: int) -> None:
    high = low + span
    axis = scale.linear(low, high, count)
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    assert axis.low <= low + slack and axis.high >= high - slack
    assert all(a < b for a, b in zip(axis.ticks, axis.ticks[1:], strict=False))
    assert 2 <= len(axis.ticks) <= count + 3


@given(st.lists(st.floats(1e-3, 1e4), min_size=1, max_size=20))
def test_a_latency_scale_keeps_order_and_all_inside(values: list[float]) -> None:
    axis = scale.latency(values)
    places = [axis.percent(value) for value in sorted(values)]
    assert places == sorted(places)
    assert places[0] >= 0 and places[-1] <= 100
    assert axis.ticks


@given(st.lists(st.tuples(st.floats(0, 300), st.floats(0, 200)), max_size=12))
def test_labels_hide_neither_points_nor_each_other(points: list[tuple[float, float]]) -> None:
    wanted = [labels.Label("int8-static", x, y, 5) for x, y in points]
    boxes = [labels.Box(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    places = labels.place(wanted, boxes, [], 300, 200)
    drawn = [labels._box(label, at) for label, at in zip(wanted, places, strict=True) if at is not None]
    assert not any(one.meets(box) for one in drawn for box in boxes)
    assert not any(a.meets(b) for i, a in enumerate(drawn) for b in drawn[:i])


def test_a_lone_label_finds_a_place_and_a_hopeless_one_none() -> None:
    assert labels.place([labels.Label("x", 50, 50, 5)], [], [], 100, 100)[0] is not None
    assert labels.place([labels.Label("far too long for this", 50, 50, 5)], [], [], 100, 100) == [None]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=15))
def test_the_front_is_what_nothing_dominates(pairs: list[tuple[int, int]]) -> None:
    base = example.rows()[0]
    rows = [replace(base, latency_p50_ms=float(ms), top1=top1 / 10) for ms, top1 in pairs]

    def good(row: Row) -> float:
        return row.top1 or 0

    def dear(row: Row) -> float:
        return row.latency_p50_ms or 0

    kept = {(dear(row), good(row)) for row in ranking.front(rows, good, dear)}
    points = {(dear(row), good(row)) for row in rows}
    undominated = {p for p in points if not any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in points)}
    assert kept == undominated


def test_csv_and_json_hold_every_column_and_every_value() -> None:
    rows = example.rows()
    plain = json.loads(json.dumps(to_json(rows), allow_nan=False))
    assert [from_plain(Row, one) for one in plain] == list(rows)
    lines = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert len(lines) == len(rows) and tuple(lines[0]) == COLUMNS
    for line, row in zip(lines, rows, strict=True):
        assert line["reason"] == (row.reason or "")
        assert line["intended"] == ("true" if row.intended else "false")
        assert (float(line["top1"]) if line["top1"] else None) == row.top1


def test_why_names_the_operators_heaviest_first_with_their_reasons() -> None:
    operators = [
        OpPrecision("fc", "Gemm", "f32", integer=False, macs=100, reason="no integer kernel for [this] shape"),
        OpPrecision("conv1", "Conv", "u8s8", integer=True, macs=900),
        OpPrecision("pool", "AveragePool", "f32", integer=False),
    ]
    console = Console(width=100, file=StringIO(), color_system=None)
    console.print(why("torch/int8-static@torch", operators))
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    assert "90.0 % of the graph's 1,000" in text
    assert text.index("conv1") < text.index("fc ") < text.index("AveragePool")
    assert "no integer kernel for [this] shape" in text
    console.print(why("x/y@z", []))
    assert "does not tell" in console.file.getvalue()


def test_the_notebook_shows_measured_rows_and_escapes_names() -> None:
    base = example.report()
    evil = replace(base.rows[0], toolchain="<img src=x onerror=alert(1)>")
    html = notebook_html(replace(base, rows=(evil, *base.rows[1:])))
    assert html.count("<tr") == 27
    assert "<img" not in html and "&lt;img" in html
    assert "91.73" not in notebook_html(example.random_weights())


def test_the_notebook_shows_rates_where_there_is_no_latency() -> None:
    html = notebook_html(example.timed_as("offline"))
    assert "samples/s" in html and ">3058<" in html and "p50" not in html


def test_agreement_is_never_rounded_up_and_divergence_fits_five_characters() -> None:
    assert [words.agreement(share) for share in (1.0, 0.9996, 0.78, 0.29, None)] == [
        "100.0",
        "99.9",
        "78.0",
        "29.0",
        "–",
    ]
    nats = (0.0, 5e-8, 1e-12, 0.0041, 0.0999, 0.5, 2.41, 12.3, None)
    written = [words.divergence(value) for value in nats]
    assert written == ["0", "5e-8", "1e-12", ".0041", ".10", ".50", "2.4", "12", "–"]
    assert all(len(text) <= 5 for text in written)
