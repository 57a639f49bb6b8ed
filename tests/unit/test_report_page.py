"""The page as text: well formed, closed in itself, and deaf to markup in names and reasons."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from lowbit.core.figures import Optimize
from lowbit.core.study import Report
from lowbit.report.page import page
from tests.unit import report_example as example

_VOID = {"meta", "link", "br", "hr", "img", "input"}


class Parsed(HTMLParser):
    """Open tags must close in order; scripts, attributes and text are kept."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack and self.stack.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        (self.scripts if self.stack and self.stack[-1] == "script" else self.text).append(data)


REPORTS = [example.report(), example.random_weights(), example.nothing_measured(), example.trained()]


@pytest.mark.parametrize("report", REPORTS, ids=["report", "random", "nothing", "trained"])
def test_every_tag_is_closed_and_the_data_is_json(report: Report) -> None:
    parsed = Parsed(page(report))
    assert len(json.loads(parsed.scripts[0])) == len(report.rows)
    assert len(parsed.scripts) == 2


def test_nothing_is_loaded_from_anywhere() -> None:
    html = page(example.report())
    for tag, attributes in Parsed(html).tags:
        assert tag not in {"img", "iframe", "object", "embed", "base"}
        for name in ("src", "href", "srcset", "action", "xlink:href"):
            assert (attributes.get(name) or "data:,") == "data:,", (tag, name)
    assert not re.search(r"url\(|@import|https?://", html)


def test_markup_in_any_name_or_reason_stays_text() -> None:
    base = example.report()
    evil = "</script><svg onload=alert(1)>\u2028<!--'\"&amp;"
    rows = tuple(
        replace(row, toolchain=evil, recipe=evil, runtime=evil, reason=evil, notes=(evil,), log=evil, artifact=evil)
        for row in base.rows
    )
    report = replace(
        base,
        rows=rows,
        title=evil,
        data=evil,
        command=evil,
        versions={evil: evil},
        warnings=(evil,),
        host=replace(base.host, cpu=evil, isa=(evil,)),
        model=replace(base.model, name=evil, source=evil),
        choice=replace(base.choice, tied=(evil,)),
    )
    parsed = Parsed(page(report))
    clean = Parsed(page(base))
    # a name's markup would add a tag or an attribute of its own
    assert {tag for tag, _ in parsed.tags} <= {tag for tag, _ in clean.tags}
    assert not any(name.startswith("on") for _, attributes in parsed.tags for name in attributes)
    assert len(parsed.scripts) == 2
    assert any(evil in text for text in parsed.text)
    assert json.loads(parsed.scripts[0])[0]["title"] == f"{evil}/{evil}@{evil}"


def test_every_row_and_every_fact_is_on_the_page() -> None:
    report = example.report()
    parsed = Parsed(page(report))
    marks = [a for _, a in parsed.tags if (a.get("class") or "").startswith("mark ")]
    assert len(marks) == 26
    text = " ".join("\n".join(parsed.text).split())
    for row in report.rows:
        assert " ".join((row.reason or "").split()) in text
    for fact in (report.command, report.host.cpu, "avx512_vnni", "2026.4.1", "512", "pixels × 0.00392157", "10,000"):
        assert fact in text
    assert "int8 62 %" in text


def test_an_accuracy_far_below_the_others_does_not_flatten_the_plot() -> None:
    base = example.report()
    rows = tuple(replace(r, top1=0.076) if r.name == "litert/int4-dynamic@litert" else r for r in base.rows)
    ticks = [float(t) for t in re.findall(r'text-anchor="end">([\d.]+)</text>', page(replace(base, rows=rows)))]
    assert 7.6 in ticks  # its value stands beside its mark
    assert min(tick for tick in ticks if tick != 7.6) > 85


def test_random_weights_show_no_accuracy_anywhere() -> None:
    html = page(example.random_weights())
    assert "91.73" not in html and "91.80" not in html
    assert "Random weights" in html and "Agreement with float against latency" in html


def places(report: Report) -> dict[int, float]:
    """Each mark's place across the Pareto plot, in percent, by its row's index."""
    found = re.findall(r'<svg x="([\d.]+)%"[^>]*><g class="mark [^>]*?data-row="(\d+)"', page(report))
    return {int(index): float(x) for x, index in found}


def test_offline_is_drawn_by_rate_and_says_nothing_of_latency() -> None:
    report = example.timed_as("offline")
    html = page(report)
    shown = html.split("</style>")[1].split("<script>")[0]  # with the tooltips' data, without the page's own code
    assert not re.search("p50|latency|whisker", shown, re.IGNORECASE)
    assert "ms a sample" in html and "Accuracy against time" in html and "3058 samples a second" in html
    # the rates are those of one sample at a time, so the marks stand where they stood
    assert len(places(report)) == 26 and places(report) == places(example.report())


def test_multi_stream_is_drawn_by_the_latency_of_a_query_of_eight() -> None:
    report = example.timed_as("multi-stream")
    html = page(report)
    assert "p50 latency, ms a query" in html and "a query is 8 images" in html and "ms a sample" not in html
    assert places(report) == places(example.report())


@pytest.mark.parametrize(("optimize", "why"), [("latency", "within the spread of the rounds"), ("size", "same size")])
def test_ties_are_the_studys_own_and_explained_by_what_was_optimized(optimize: Optimize, why: str) -> None:
    base = example.report()
    html = page(replace(base, choice=replace(base.choice, optimize=optimize)))
    (ties,) = re.findall(r'<p class="ties">(.*?)</p>', html)
    assert why in ties and ties.endswith(": nncf/int8-mixed@openvino.")
    assert 'class="ties"' not in page(replace(base, choice=replace(base.choice, tied=())))


def test_timings_that_loadgen_rejects_are_counted_beside_the_title() -> None:
    base = example.report()
    rows = tuple(replace(row, loadgen_valid=False) if row.runtime == "torch" else row for row in base.rows)
    assert "LoadGen calls 4 timings invalid" in page(replace(base, rows=rows))
    assert "invalid" not in page(base)


def test_whiskers_are_explained_only_where_they_are_drawn() -> None:
    base = example.report()
    once = tuple(
        replace(r, latency_p50_low_ms=r.latency_p50_ms, latency_p50_high_ms=r.latency_p50_ms) for r in base.rows
    )
    for report, drawn in ((base, True), (replace(base, rows=once), False)):
        html = page(report)
        assert ('class="whisker"' in html) == ("Whiskers span" in html) == drawn


def test_what_the_float_graph_does_otherwise_than_the_model_is_said() -> None:
    base = example.report()
    noted = replace(base, model=replace(base.model, notes=("the model takes images as [N, H, W, C]",)))
    assert "the model takes images as [N, H, W, C]" in page(noted)


def test_a_training_is_drawn_once_a_version_and_told_in_a_table() -> None:
    assert "What training gained" not in page(example.report())
    report = example.trained()
    versions = {(row.toolchain, row.recipe) for row in report.rows if row.training is not None}
    drawn = page(report)
    section = drawn[drawn.index('id="training"') : drawn.index("</section>", drawn.index('id="training"'))]
    assert section.count('class="mark ') == section.count("0.500 → 0.250") == len(versions) > 1
    for said in ("81.0 → 90.2 %", "80.0 → 88.0 %", "1,280 of 640", "1.50×", "3.0×"):
        assert said in section, said
