"""The page in a real Chromium: every chart drawn, nothing on the console, nothing wider than the screen."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autoprune.report import write_report
from autoprune.report.figures import CHARTS
from tests.report.made import SIZES, make_run

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
LONG = {f"backbone.layer{i // 4}.{i % 4}.bottleneck.conv1.weight": 128 * (1 + i // 8) for i in range(40)}


def program(*names: str) -> str:
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"needs {' or '.join(names)} (Debian: chromium, chromium-driver)")
    return found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    pytest.importorskip("plotly")
    pytest.importorskip("selenium", reason="driving Chromium needs selenium")
    chromium, driver = program("chromium", "chromium-browser", "google-chrome"), program("chromedriver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=Service(driver))
    yield made
    made.quit()


@pytest.fixture(scope="module")
def pages(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    made = {"short": make_run(folder / "short", SIZES), "long": make_run(folder / "long", LONG, 120)}
    return {name: write_report(directory.path) for name, directory in made.items()}


@pytest.fixture
def opened(browser: Any, pages: dict[str, Path]) -> Callable[..., Any]:
    def opened(name: str = "short", width: int = 1400, dark: bool = False) -> Any:
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get_log("browser")
        browser.get(pages[name].as_uri())
        return browser

    return opened


@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [("short", 380, True), ("short", 1400, False), ("long", 380, False), ("long", 1400, True)],
)
def test_the_page_is_whole(opened: Callable[..., Any], name: str, width: int, dark: bool) -> None:
    page = opened(name, width, dark)
    assert page.get_log("browser") == []
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0
    drawn = page.execute_script(
        "return [...document.querySelectorAll('[data-chart]')].map(c => [c.dataset.chart,"
        " c.querySelectorAll('svg.main-svg .trace, svg.main-svg .hm').length, c.clientWidth, c.scrollWidth,"
        " c.querySelector('svg.main-svg')?.clientWidth ?? 0])"
    )
    assert len(drawn) == len(CHARTS)
    for chart, traces, inner, scrolled, svg in drawn:
        assert traces > 0 and inner > 200 and scrolled <= inner and 0.9 * inner < svg <= inner, chart
    wide, screen = page.execute_script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert wide <= screen
    clipped = page.execute_script(
        "const out = []; for (const t of document.querySelectorAll('.chart svg text')) {"
        " const b = t.getBoundingClientRect(), c = t.closest('.chart').getBoundingClientRect();"
        " if (b.width && (b.left < c.left - 1 || b.right > c.right + 1)) out.push(t.textContent) } return out"
    )
    assert clipped == []


@pytest.mark.parametrize("dark", [False, True])
def test_the_charts_follow_the_form_of_the_page(opened: Callable[..., Any], dark: bool) -> None:
    page = opened(dark=dark)
    color = page.execute_script("return getComputedStyle(document.querySelector('.chart .xtick text')).fill")
    text = page.execute_script("return getComputedStyle(document.body).color")
    assert color == text
    assert (text == "rgb(232, 235, 239)") == dark


def test_every_view_can_be_drawn(opened: Callable[..., Any]) -> None:
    page = opened()
    from selenium.webdriver.support.select import Select

    boxes = page.find_elements("css selector", "select[data-views]")
    assert len(boxes) == sum(name in ("widths", "ratios", "curves", "pareto") for name in _names(page))
    for box in boxes:
        name = box.get_attribute("data-views")
        before = page.execute_script(f"return document.querySelector('[data-chart={name}]').innerHTML")
        for option in range(1, len(Select(box).options)):
            Select(box).select_by_index(option)
            after = page.execute_script(f"return document.querySelector('[data-chart={name}]').innerHTML")
            assert after != before, (name, option)
    assert page.get_log("browser") == []


def _names(page: Any) -> list[str]:
    found: list[str] = page.execute_script(
        "return [...document.querySelectorAll('[data-chart]')].map(c => c.dataset.chart)"
    )
    return found


def test_the_legend_works_with_the_keyboard(opened: Callable[..., Any]) -> None:
    page = opened()
    state = (
        "const e = [...document.querySelectorAll('[data-chart=pareto] .legend .traces')]"
        ".find(e => e.getAttribute('aria-label') === 'dense');"
    )
    assert page.execute_script(f"{state} return [e.tabIndex, e.getAttribute('aria-checked')]") == [0, "false"]
    press = "e.focus(); e.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true}))"
    page.execute_script(f"{state} {press}")
    assert page.execute_script(f"{state} return e.getAttribute('aria-checked')") == "true"


def test_pointing_at_the_heat_map_names_the_candidate(opened: Callable[..., Any]) -> None:
    page = opened()
    texts = page.execute_script("return document.querySelector('[data-chart=ratios]').data[0].hovertext")
    assert [len(texts), len(texts[0])] == [len(SIZES), 40]
    assert texts[0][3].startswith("<b>stem.weight</b><br>episode 3, score -")


def test_nothing_offers_to_send_the_chart_away(opened: Callable[..., Any]) -> None:
    page = opened()
    titles = page.execute_script(
        "return [...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title)"
    )
    assert titles and not [title for title in titles if "share" in title.lower() or "edit" in title.lower()]


def test_on_paper_the_charts_fit(opened: Callable[..., Any]) -> None:
    page = opened("long", dark=True)
    widths = "[...document.querySelectorAll('svg.main-svg')].map(s => s.getBoundingClientRect().width)"
    page.execute_script(f"addEventListener('beforeprint', () => {{ window.printed = {widths} }})")
    made = page.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})
    assert len(made["data"]) > 10_000
    printed = page.execute_script("return window.printed")
    assert printed and max(printed) <= 680
    assert page.execute_script("return document.querySelector('[data-chart] svg.main-svg').clientWidth") > 900
