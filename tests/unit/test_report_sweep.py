"""The sweep: which rows make one, what stands beside it, and where its points are drawn."""

import re
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from lowbit.core.study import Report
from lowbit.report import sweep
from lowbit.report.page import page
from lowbit.report.table import print_report
from tests.unit import report_example as example
from tests.unit.test_report_page import Parsed

TOP1 = {8: 0.9168, 7: 0.9170, 6: 0.9165, 5: 0.9160, 4: 0.9151, 3: 0.9120, 2: 0.9021}
FLOAT = 0.9173


def swept(top1: dict[int, float] = TOP1, base: Report | None = None) -> Report:
    """The example's study with rows lowbit/wNa8 in two runtimes, and one w4a4 in each."""
    base = example.report() if base is None else base
    pattern = next(row for row in base.rows if row.name == "onnxruntime/int8-static@onnxruntime")
    rows = [
        replace(
            pattern, toolchain="lowbit", recipe=f"w{bits}a{reads}", weight_bits=bits, activation_bits=reads,
            runtime=runtime, top1=None if base.reference is None else value, agreement=value,
            size_bytes=70_000 + 37_000 * bits, notes=(), series=f"wNa{reads}",
        )
        for runtime in ("onnxruntime", "openvino")
        for bits, reads, value in [*((bits, 8, value) for bits, value in top1.items()), (4, 4, 0.91)]
    ]  # fmt: skip
    return replace(base, rows=(*base.rows, *rows))


def terminal(report: Report) -> str:
    text = StringIO()
    print_report(report, Console(file=text, width=120))
    return text.getvalue()


def test_three_widths_of_one_kind_and_runtime_make_a_sweep() -> None:
    found = sweep.series_of(swept())
    assert [(series.name, series.runtime) for series in found] == [("wNa8", "onnxruntime"), ("wNa8", "openvino")]
    assert all(list(series.rows) == [8, 7, 6, 5, 4, 3, 2] for series in found)
    assert sweep.series_of(swept({8: 0.91, 4: 0.90})) == ()
    assert len(sweep.series_of(swept({8: 0.91, 4: 0.90, 2: 0.85}))) == 2


def test_without_a_sweep_nothing_is_shown_of_it() -> None:
    for report in (example.report(), swept({8: 0.91, 4: 0.90})):
        assert 'id="sweep"' not in page(report)
        assert "sweep" not in terminal(report) and "Published" not in terminal(report)


def test_the_terminal_has_points_and_sizes() -> None:
    text = terminal(swept())
    line = next(line for line in text.splitlines() if line.startswith("lowbit wNa8 in openvino"))
    values = [float(value.replace("−", "-")) for value in re.findall(r"[+−]?\d+\.\d+", line)]
    assert values == [round(100 * (value - FLOAT), 2) for value in TOP1.values()]
    assert "366 kB" in text and "144 kB" in text


def places(html: str) -> list[tuple[float, float, int]]:
    """Own points of the first plot: x in percent, y in pixels, the row's index."""
    section = html.split('id="sweep"')[1].split("</svg></div>")[0]
    found = re.findall(r'<svg x="([\d.]+)%" y="([\d.]+)"[^>]*><g class="mark [^>]*?data-row="(\d+)"', section)
    return [(float(x), float(y), int(row)) for x, y, row in found]


def test_the_page_draws_every_point_in_order_of_bits_and_of_accuracy() -> None:
    report = swept()
    html = page(report)
    parsed = Parsed(html)
    assert any(attributes.get("id") == "sweep" for _, attributes in parsed.tags)
    drawn = [place for place in places(html) if report.rows[place[2]].runtime == "onnxruntime"]
    drawn = drawn[: len(TOP1)]  # the plot of accuracy comes first
    assert [report.rows[row].weight_bits for *_, row in sorted(drawn)] == [8, 7, 6, 5, 4, 3, 2]
    by_height = [report.rows[row].top1 for *_, row in sorted(drawn, key=lambda place: place[1])]
    assert by_height == sorted(TOP1.values(), reverse=True)


def test_a_network_nobody_trained_has_a_sweep_of_agreement_with_nothing_beside() -> None:
    report = swept(base=example.random_weights())
    text, section = terminal(report), page(report).split('id="sweep"')[1].split("</section>")[0]
    assert "agreement with float" in section and "agreement with float" in text
    assert "ublished" not in section and "ublished" not in text


@pytest.mark.parametrize("top1", [{8: 0.9, 4: 0.9, 2: 0.9}, {8: 0.92, 4: 0.5, 2: 0.1}, {8: 1.0, 6: 1.0, 5: 1.0}])
def test_any_values_are_drawn(top1: dict[int, float]) -> None:
    html = page(swept(top1))
    Parsed(html)
    assert not re.search(r"\bnan\b|\binf\b", html.split('id="sweep"')[1].split("</section>")[0])
