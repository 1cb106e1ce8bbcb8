"""The page of a report in a headless Chromium: three widths, light and dark, sorting, copying, and no network."""

from __future__ import annotations

import re

import pytest
from written_results import curve, result

from driftmoe import report

playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
expect = playwright.expect


@pytest.fixture
def opened(browser, written):
    """Open the page; what it asks of the network, and what the browser complains of, fails the test."""
    contexts, complaints = [], []

    def at(width=1200, **settings):
        context = browser.new_context(viewport={"width": width, "height": 800}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text))
        page.on(
            "request",
            lambda asked: None if asked.url[:5] in ("file:", "data:") else complaints.append(asked.url),
        )
        page.goto((written / "report.html").as_uri())
        return page

    yield at
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1400])
def test_the_page_fits_its_width_in_light_and_dark(opened, width, scheme):
    page = opened(width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    outside = """[...document.querySelectorAll('h1, h2, p, nav, .table, .picture, .command')].filter(
        e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
    assert page.evaluate(outside) == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 384) == (scheme == "dark")
    loaded = "[...document.images].map(i => i.complete && i.naturalWidth > 300)"
    assert page.evaluate(loaded) == [True] * 3
    assert all(len(image.get_attribute("alt")) > 40 for image in page.locator("img").all())


def column(page, table, i):
    return [row.locator("th, td").nth(i).inner_text() for row in table.locator("tbody tr").all()]


def test_tables_are_sorted_by_a_column_and_their_foot_stays(opened):
    page = opened()
    table = page.locator("h2#accuracy + .table table")
    assert column(page, table, 0) == ["a, 1,000", "b, 1,000"]
    foot = table.locator("tfoot").inner_text()
    by_x = table.locator("thead th").nth(1)
    by_x.locator("button").click()  # numbers fall at first
    assert column(page, table, 1) == ["91.00 ± 1.41", "75.00 ± 7.07"]
    assert by_x.get_attribute("aria-sort") == "descending"
    by_x.locator("button").press("Enter")
    assert column(page, table, 1) == ["75.00 ± 7.07", "91.00 ± 1.41"]
    table.locator("thead button").first.click()
    assert column(page, table, 0) == ["a, 1,000", "b, 1,000"]
    assert by_x.get_attribute("aria-sort") is None
    assert table.locator("tfoot").inner_text() == foot
    expect(page.locator("#said")).to_have_text("sorted by stream, ascending")


def test_heads_stay_in_sight(opened):
    page = opened(360)
    table = page.locator("h2#accuracy + .table")
    table.evaluate("e => { e.scrollLeft = 1000; }")
    left = table.bounding_box()["x"]
    assert table.locator("tbody th").first.bounding_box()["x"] == pytest.approx(left + 1, abs=1)
    table.evaluate("e => { e.style.maxHeight = '6rem'; e.scrollTop = 1000; }")
    top = table.bounding_box()["y"]
    assert table.locator("thead th").first.bounding_box()["y"] == pytest.approx(top + 1, abs=1)


def test_contents_lead_to_each_section(opened):
    page = opened()
    for link in page.locator("nav a").all():
        target = page.locator(f"h2{link.get_attribute('href')}")
        assert target.inner_text() == link.inner_text()
    page.locator("nav a", has_text="Reproducibility").click()
    assert page.url.endswith("#reproducibility")


def test_the_command_is_copied_by_one_click(opened):
    page = opened(permissions=["clipboard-read", "clipboard-write"])
    page.locator(".command button").first.click()
    expect(page.locator(".command button").first).to_have_text("Copied")
    command = "driftmoe evaluate a --limit 1000 --window 500 -m x -m y -m z --seed 1 --seed 2"
    assert page.locator(".command code").first.inner_text() == command


def test_without_scripts_the_page_is_whole(opened):
    page = opened(java_script_enabled=False)
    assert page.locator(".command button:visible").count() == 0
    assert "75.00 ± 7.07" in page.locator("h2#accuracy + .table").inner_text()


def test_ten_streams_take_less_than_a_megabyte():
    models = ["driftmoe", "arf", "srp", "ht", "nb", "levbag", "moa-arf", "moa-srp"]
    names = (
        [f"linear ({i})" for i in range(3)]
        + [f"tree {i}" for i in range(1, 13)]
        + ["head", "network", "history"]
    )
    lines, points = [], []
    for s in range(10):
        for m, model in enumerate(models):
            importances = {f"feature {i}": 0.1 / (i + 1) for i in range(15)} if m == 0 else {}
            line = result(f"stream{s}", model, 1, 0.9 - m / 100, importances=importances)
            lines.append(line)
            for i in range(100):
                wave = 0.7 + 0.2 * ((i * (m + 3) + s) % 17) / 17
                routing = {f"routing_weight_{name}": ((i + k) % 7 + 1) / 72 for k, name in enumerate(names)}
                routing |= {
                    "routing_experts_used": 9 + i % 3,
                    "routing_entropy": wave,
                    "routing_n_replaced": i % 5,
                }
                point = {**curve(line)[0], "n_samples": 1000 * (i + 1), "accuracy": wave}
                points.append(point | (routing if m == 0 else {}))
    parts = report.sections(lines, points)
    assert sum(isinstance(part, report.Picture) for section in parts for part in section.parts) == 32
    assert len(report.page(parts, title="t").encode()) < 1_000_000
