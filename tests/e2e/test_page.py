"""The page in a real headless Chromium: drawn, silent, sortable, with tooltips, on a phone and in the dark."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lowbit.report.page import page
from tests.unit import report_example as example

webdriver = pytest.importorskip("selenium.webdriver")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER) and "CI" not in os.environ,
    reason="needs Chromium: apt-get install chromium chromium-driver",
)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-quic",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    driver.get("about:blank")  # the browser's own first page asks for files of its own, late on a busy machine
    driver.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Any:
    return open_page(browser, tmp_path, page(example.report()))


def open_page(browser: Any, folder: Path, html: str, width: int = 1280, scheme: str = "light") -> Any:
    file = folder / "report.html"
    file.write_text(html, encoding="utf-8")
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(file.as_uri())
    return browser


def run(browser: Any, script: str) -> Any:
    return browser.execute_script(script)


def names(browser: Any) -> list[str]:
    found: list[str] = run(
        browser, "return [...document.querySelectorAll('.results tbody th')].map(n => n.textContent)"
    )
    return [name.strip().rstrip("†") for name in found]


def test_nothing_is_complained_about_and_nothing_is_requested(opened: Any) -> None:
    assert opened.get_log("browser") == []
    sent = [
        entry["message"]
        for entry in opened.get_log("performance")
        if 'Network.requestWillBeSent"' in entry["message"] and '"documentURL":"chrome://' not in entry["message"]
    ]
    assert len(sent) == 1 and "report.html" in sent[0]  # the page itself


def test_every_measured_row_is_drawn_where_it_can_be_seen(opened: Any) -> None:
    boxes = run(
        opened,
        "const frame = document.querySelector('svg.pareto').getBoundingClientRect();"
        "return [...document.querySelectorAll('svg.pareto .mark path')].map(n => {"
        " const b = n.getBoundingClientRect();"
        " return [b.width, b.height, b.left - frame.left, frame.right - b.right]; })",
    )
    assert len(boxes) == 26
    assert all(width >= 5 and height >= 5 and left > -20 and right > -20 for width, height, left, right in boxes)
    bars = run(opened, "return [...document.querySelectorAll('#speed .bar')].map(n => n.getBoundingClientRect().width)")
    assert len(bars) == 26 and min(bars) > 2
    # longest bar over that of fp32 in nncf is their latencies' ratio
    assert max(bars) / bars[0] == pytest.approx(0.839 / 0.301, rel=0.02)


def test_area_is_file_size(opened: Any) -> None:
    areas = run(
        opened,
        "return [...document.querySelectorAll('svg.pareto .mark')].map(n => "
        "{ const b = n.querySelector('path').getBBox(); return [Number(n.dataset.row), b.width * b.height]; })",
    )
    rows = example.rows()
    by_name = {rows[index].name: area for index, area in areas}
    circles = by_name["onnxruntime/fp32@onnxruntime"] / by_name["onnxruntime/int8-static@onnxruntime"]
    assert circles == pytest.approx(1102 / 367, rel=0.02)


def test_a_click_sorts_and_a_second_one_turns_the_order(opened: Any) -> None:
    before = names(opened)
    size = next(i for i, text in enumerate(run(opened, HEADS)) if text.startswith("size"))
    press = f"document.querySelectorAll('.results thead th')[{size}].querySelector('button').click()"
    run(opened, press)
    ascending = names(opened)
    sizes = {row.name: row.size_bytes for row in example.rows()}
    known = [sizes[name] or 0 for name in ascending if sizes[name] is not None]
    assert ascending != before and known == sorted(known) and len(known) == 26
    assert run(opened, ORDER.format(size)) == "ascending"
    run(opened, press)
    descending = names(opened)
    assert [sizes[name] or 0 for name in descending if sizes[name] is not None] == sorted(known, reverse=True)
    assert run(opened, ORDER.format(size)) == "descending"
    failed = {row.name for row in example.rows() if row.status == "failed"}
    assert set(ascending[-2:]) == set(descending[-2:]) == failed  # absent values stay last both ways
    assert run(opened, "return document.querySelectorAll('th[aria-sort=none]').length") == len(run(opened, HEADS)) - 2


HEADS = "return [...document.querySelectorAll('.results thead th')].map(n => n.textContent)"
ORDER = "return document.querySelectorAll('.results thead th')[{}].getAttribute('aria-sort')"


def test_the_keyboard_sorts_too(opened: Any) -> None:
    before = names(opened)
    button = opened.find_element("css selector", ".results thead th button")
    button.send_keys("\ue007")  # Enter
    assert names(opened) == sorted(before, key=str.lower) != before


def test_hover_focus_and_escape_rule_the_tooltip(opened: Any) -> None:
    tip = opened.find_element("id", "tip")
    assert not tip.is_displayed()
    mark = opened.find_element("css selector", ".mark.best")
    run(opened, "document.querySelector('.mark.best').scrollIntoView({block: 'center'})")
    webdriver.ActionChains(opened).move_to_element(mark).perform()
    assert tip.is_displayed()
    assert "nncf/int8-static@openvino" in tip.text and "0.327 ms" in tip.text and "421 kB" in tip.text
    box = tip.rect
    assert box["x"] >= 0 and box["x"] + box["width"] <= 1280
    webdriver.ActionChains(opened).send_keys("\ue00c").perform()  # Escape
    assert not tip.is_displayed()
    run(opened, "document.querySelector('.chip.failed').focus()")
    assert tip.is_displayed() and "14.06 %" in tip.text


def test_text_of_others_is_shown_as_text(opened: Any) -> None:
    opened.execute_script("document.querySelectorAll('.chip.failed')[1].focus()")
    assert example.INJECTION in opened.find_element("id", "tip").text
    assert run(opened, "return document.querySelectorAll('script').length") == 2


@pytest.mark.parametrize("make", [example.report, example.random_weights, example.nothing_measured, example.swept])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_never_scrolls_sideways(browser: Any, tmp_path: Path, make: Any, width: int) -> None:
    opened = open_page(browser, tmp_path, page(make()), width=width)
    assert run(opened, "return document.documentElement.scrollWidth") <= width
    assert opened.get_log("browser") == []


@pytest.mark.parametrize("width", [360, 1280])
def test_labels_in_the_plot_do_not_overlap(browser: Any, tmp_path: Path, width: int) -> None:
    opened = open_page(browser, tmp_path, page(example.random_weights()), width=width)
    boxes = run(
        opened,
        "return [...document.querySelectorAll('svg.pareto .label')].map(n => n.getBoundingClientRect())"
        ".filter(b => b.width > 0).map(b => [b.left, b.top + 2, b.right, b.bottom - 2])",
    )
    assert len(boxes) >= 2
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)


@pytest.mark.parametrize("width", [360, 1280])
def test_a_sweeps_points_and_names_are_inside_their_plots(browser: Any, tmp_path: Path, width: int) -> None:
    opened = open_page(browser, tmp_path, page(example.swept()), width=width)
    outside = run(
        opened,
        "return [...document.querySelectorAll('#swept .mark, #swept .end')].map(n => [n.getBoundingClientRect(), "
        "n.closest('figure').getBoundingClientRect()]).filter(([a, b]) => a.left < b.left || a.right > b.right || "
        "a.top < b.top || a.bottom > b.bottom).length",
    )
    assert outside == 0
    ends = run(
        opened,
        "return [...document.querySelectorAll('#swept figure')].map(f => [...f.querySelectorAll('.end')].map(n => "
        "n.getBoundingClientRect().top))",
    )
    assert len(ends) == 16  # speed and speed-up, in four runtimes, with one and two threads
    assert all(abs(a - b) >= 11 for tops in ends for i, a in enumerate(tops) for b in tops[:i])


def test_dark_follows_the_system_and_the_button(browser: Any, tmp_path: Path) -> None:
    background = "return getComputedStyle(document.body).backgroundColor"
    html = page(example.report())
    light = run(open_page(browser, tmp_path, html), background)
    opened = open_page(browser, tmp_path, html, scheme="dark")
    dark = run(opened, background)
    assert dark != light
    opened.find_element("id", "theme").click()
    assert run(opened, background) == light
    opened.find_element("id", "theme").click()
    assert run(opened, background) == dark


def test_without_script_plots_and_numbers_are_there(browser: Any, tmp_path: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        opened = open_page(browser, tmp_path, page(example.report()))
        assert len(opened.find_elements("css selector", "svg.pareto .mark")) == 26
        assert len(opened.find_elements("css selector", ".results tbody tr")) == 28
        assert not opened.find_element("id", "theme").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
