"""The live page in a headless Chromium against a running server."""

from __future__ import annotations

import re
from contextlib import ExitStack, contextmanager

import pytest
from fake_worker import FakeWorker
from running_server import running

from driftmoe.service.http_page import live_page

playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
expect = playwright.expect

PATIENCE = 60_000
"""Milliseconds after which a test gives up waiting."""

expect.set_options(timeout=PATIENCE)

HOSTILE = "<img src=x onerror=window.hurt=1>"


@contextmanager
def shown(browser, server, width=1200, **settings):
    """Show the page; what the browser complains of fails the test."""
    context = browser.new_context(viewport={"width": width, "height": 800}, **settings)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if "ontent" in message.text else None)
    page.goto(server.url)
    try:
        yield page
    finally:
        context.close()
    assert complaints == []


def taught(worker, n=50):
    worker.points = [
        {
            "n_learnt": 100 * (i + 1),
            "time": 1.8e9 + i,
            "accuracy": 0.8 + 0.001 * i,
            "no_change": 0.7,
            "majority": 0.6,
            "markov": 0.65,
            "kappa_m": 0.5,
            "kappa_t": 0.3,
            "kappa_o": 0.2,
            "ece": 0.05,
            "gate": {"tree": 0.6, "linear": 0.4},
        }
        for i in range(n)
    ]
    worker.figures = {"default": worker.points[-1] | {"window": 1000, "n_predicted": 5_500}}
    return worker


def drawn(page):
    """Wait until the chart of the accuracy has lines."""
    page.wait_for_selector("#chart-accuracy .plot path", state="attached")


def label_of(page, chart):
    return page.locator(f"#chart-{chart} .plot svg").get_attribute("aria-label")


def becomes(page, what, text):
    """Wait until an element holds a text, or its label fits a pattern.

    Playwright's own `wait_for_function` needs eval, which the page refuses.
    """
    if isinstance(text, re.Pattern):
        expect(page.locator(what)).to_have_attribute("aria-label", text, timeout=PATIENCE)
    else:
        expect(page.locator(what)).to_contain_text(text, timeout=PATIENCE)


def test_the_page_shows_figures_in_words_and_lines(browser, worker):
    with running(taught(worker)) as server, shown(browser, server) as page:
        drawn(page)
        assert page.locator("#status").inner_text() == "Live"
        tiles = page.locator("#tiles").inner_text()
        assert "84.9 %" in tiles
        assert "14.9 points above no-change" in tiles
        assert "kappa-O 0.200" in tiles
        assert "oldest 3 h 12 min" in tiles
        assert "312 MB" in tiles
        assert label_of(page, "accuracy") == (
            "Accuracy, labels 100 to 5,000. Model: now 84.9 %, from 80.0 % to 84.9 %; No-change: now 70.0 %, from "
            "70.0 % to 70.0 %; Majority class: now 60.0 %, from 60.0 % to 60.0 %; Order of labels: now 65.0 %, from "
            "65.0 % to 65.0 %. Arrow keys read single values."
        )
        assert "tree: now 60.0 %" in label_of(page, "gate")
        assert page.locator("#chart-gate .plot path").count() == 2
        assert page.locator("#chart-coverage").is_hidden()
        for plot in page.locator("figure:visible .plot svg").all():
            assert plot.get_attribute("role") == "img"
        page.locator("#more summary").click()
        becomes(page, "#values", "Kappa-M")


def test_new_figures_come_by_themselves(browser, worker):
    with running(taught(worker)) as server, shown(browser, server) as page:
        drawn(page)
        worker.figures["default"] |= {"n_learnt": 6_000, "accuracy": 0.912, "coverage": 0.93}
        becomes(page, "#tiles", "91.2")
        page.wait_for_selector("#chart-coverage:not([hidden])")
        becomes(page, "#chart-accuracy .plot svg", re.compile("to 6,000"))


def test_an_alarm_is_marked_listed_and_read_out(browser, worker):
    with running(taught(worker)) as server, shown(browser, server) as page:
        drawn(page)
        assert page.locator("[data-alarm]").count() == 0
        worker.alarm("drift", "The error of tree 3 rose.", sample=2_000)
        page.wait_for_selector("#chart-accuracy [data-alarm='1']", state="attached")
        assert page.locator("#chart-accuracy text.drift").text_content() == "drift"
        assert page.locator("#chart-kappa [data-alarm]").count() == 1
        assert "The error of tree 3 rose." in page.locator("#alarms").inner_text()
        becomes(page, "#said", "Alarm: drift at label 2,000")
        assert page.locator("#said").get_attribute("aria-live") == "polite"
        assert label_of(page, "accuracy").endswith("1 drift alarm. Arrow keys read single values.")


def test_importances_are_named_bars_the_largest_first(browser, worker):
    worker.features = [(f"f{i}", 0.2 - 0.01 * i) for i in range(20)]
    with running(taught(worker)) as server, shown(browser, server) as page:
        expect(page.locator("#features li")).to_have_count(15)
        first, last = page.locator("#features li").first, page.locator("#features li").last
        assert first.inner_text().split("\n") == ["f0", "20.0 ± 1.0 points"]
        assert last.inner_text().split("\n") == ["f14", "6.0 ± 1.0 points"]
        whole, part = (one.locator("i").bounding_box()["width"] for one in (first, last))
        assert part / whole == pytest.approx(0.3, abs=0.02)
        assert first.locator(".bar").get_attribute("aria-hidden") == "true"
        assert page.get_by_role("list", name="Feature importances").count() == 1
        becomes(page, "#features-what", "true labels of recent samples lose")
        becomes(page, "#features-more", "5 more features, each with 6.0 points or less.")
        becomes(page, "#features-when", "at label 4")


def test_a_model_without_importances_says_why(browser, worker):
    worker.names += ["tree"]
    worker.features = [("f", -0.0004)]
    with running(taught(worker)) as server, shown(browser, server) as page:
        becomes(page, "#features", "0.0 ± 1.0 points")
        worker.importances = lambda key: {"n_learnt": 4, "importances": [], "why": "A tree does not tell."}
        page.select_option("#key", "tree")
        becomes(page, "#features-what", "A tree does not tell.")
        assert page.locator("#features").is_hidden()
        assert page.locator("#features-more").is_hidden()


def test_hostile_names_are_shown_as_text(browser, worker):
    taught(worker)
    worker.features = [(HOSTILE, 0.1), ("__proto__", 0.05)]
    worker.names = ["default", HOSTILE]
    worker.figures["default"]["gate"] = {HOSTILE: 1.0, "__proto__": 0.0}
    worker.points[-1]["gate"] = {HOSTILE: 1.0}
    worker.alarm(f"drift {HOSTILE}", HOSTILE, sample=200)
    worker.wrong = [
        {
            "id": HOSTILE,
            "label": HOSTILE,
            "predicted": "</script><script>window.hurt=1</script>",
            "probabilities": {HOSTILE: 0.4, "b": 0.6},
            "features": {HOSTILE: HOSTILE, "constructor": None},
            "explanation": f"{HOSTILE}\nWHO SAYS SO",
        }
    ]
    with running(worker) as server, shown(browser, server) as page:
        page.wait_for_selector("#chart-accuracy [data-alarm]", state="attached")
        for summary in page.locator("#mistakes summary").all():
            summary.click()
        assert page.locator("#mistakes pre").inner_text() == f"{HOSTILE}\nWHO SAYS SO"
        for part in ("#mistakes", "#alarms", "#chart-gate .legend", "#features"):
            assert HOSTILE in page.locator(part).inner_text()
        page.wait_for_timeout(200)
        assert page.evaluate("window.hurt") is None
        assert page.locator("img").count() == 0
        assert page.locator("script").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone(browser, worker, scheme):
    worker.alarm("drift", "x" * 300, sample=200)
    worker.wrong = [{"id": "y" * 200, "label": "z" * 200, "predicted": 1, "probabilities": {"z" * 200: 1.0}}]
    worker.features = [("n" * 300, 0.5), ("b", -0.2)]
    taught(worker).names.append("n" * 100)
    with (
        running(worker) as server,
        shown(browser, server, width=360, color_scheme=scheme) as page,
    ):
        drawn(page)
        becomes(page, "#features", "\N{MINUS SIGN}20.0 ± 1.0 points")
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        outside = """[...document.querySelectorAll('header *, .tile *, .panel > *')].filter(
            e => e.getBoundingClientRect().right > 361).map(e => e.outerHTML.slice(0, 80))"""
        assert page.evaluate(outside) == []
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground))) < 384) == (scheme == "dark")


def test_the_page_survives_a_restart_of_the_worker_and_says_so(browser, worker):
    worker.begun -= 1_000
    other = taught(FakeWorker(), n=80)
    other.alarm("drift", "after the restart", sample=7_000)
    with ExitStack() as first_server, ExitStack() as rest:
        server = first_server.enter_context(running(taught(worker)))
        page = rest.enter_context(shown(browser, server))
        drawn(page)
        first_server.close()
        becomes(page, "#status", "Lost, next try")
        becomes(page, "#said", "lost")
        rest.enter_context(running(other, port=server.port))
        becomes(page, "#status", "Live")
        becomes(page, "#note", "The worker was restarted")
        becomes(page, "#alarms", "after the restart")
        becomes(page, "#chart-accuracy .plot svg", re.compile("100 to 8,000"))
    other.stop()


def test_the_page_asks_for_a_token_and_keeps_it_in_the_tab(browser, worker):
    token = "r" * 32
    with (
        running(taught(worker), read_token=token, write_token="w" * 32) as server,
        shown(browser, server) as page,
    ):
        page.wait_for_selector("#ask:not([hidden])")
        assert page.locator("#all").is_hidden()
        page.keyboard.type("wrong")  # the field has the focus
        page.keyboard.press("Enter")
        becomes(page, "#ask-why", "the token is not known")
        assert page.evaluate("sessionStorage.length") == 0
        page.fill("#token", token)
        page.keyboard.press("Enter")
        drawn(page)
        assert page.locator("#ask").is_hidden()
        page.reload()
        drawn(page)
        assert page.evaluate("localStorage.length + document.cookie.length") == 0


def test_another_model_is_chosen_and_kept_in_the_address(browser, worker):
    taught(worker).names.append("north:1")
    worker.figures["north:1"] = {"accuracy": 0.123, "n_learnt": 7}
    with running(worker) as server, shown(browser, server) as page:
        drawn(page)
        page.select_option("#key", "north:1")
        becomes(page, "#tiles", "12.3")
        page.reload()
        becomes(page, "#tiles", "12.3")
        assert page.input_value("#key") == "north:1"


def test_single_values_are_read_by_key_and_pointer(browser, worker):
    with running(taught(worker)) as server, shown(browser, server) as page:
        drawn(page)
        plot = page.locator("#chart-accuracy .plot svg")
        where = page.locator("#chart-accuracy .where")
        plot.focus()
        page.keyboard.press("Home")
        expect(where).to_have_text("label 100")
        assert "80.0 %" in page.locator("#chart-accuracy .legend").inner_text()
        page.keyboard.press("ArrowRight")
        expect(where).to_have_text("label 200")
        page.locator("#key").focus()
        box = plot.bounding_box()
        page.mouse.move(box["x"] + box["width"] - 12, box["y"] + 50)
        expect(where).to_have_text("label 5,000")
        page.mouse.move(1, 1)
        expect(where).to_have_text("")


def test_before_the_first_label_the_page_says_what_it_waits_for(browser, worker):
    worker.names = []
    with running(worker) as server, shown(browser, server) as page:
        becomes(page, "#chart-accuracy .plot svg", "No figures yet")
        becomes(page, "#mistakes", "None so far.")
        becomes(page, "#status", "Live")


def luminance(color):
    if len(color) == 4:
        color = "#" + "".join(2 * digit for digit in color[1:])
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_lines_stand_out_from_their_ground(scheme):
    """Contrasts of WCAG 2.2: 4.5 for text (1.4.3), 3 for lines (1.4.11)."""
    light, dark = re.findall(r":root \{(.*?)\}", live_page(), re.DOTALL)
    colors = dict(re.findall(r"--(\w+): (#[0-9a-f]{3,6});", light if scheme == "light" else dark))
    for names, grounds, least in (
        (["ink", "soft", "accent", "good", "bad", "warn", "drift"], ["panel", "ground"], 4.5),
        (["model", "second", "quiet"], ["panel"], 3.0),
    ):
        for name in names:
            for ground in grounds:
                one, other = sorted((luminance(colors[name]), luminance(colors[ground])))
                assert (other + 0.05) / (one + 0.05) >= least, (name, ground)
