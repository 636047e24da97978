"""The page in a browser: it sorts, changes its theme, fits 400 and 1400 pixels and logs no error."""

from __future__ import annotations

import shutil

import pytest

from tests.report.build import LATENCY, seen_images, varied
from zoo.report import page
from zoo.report.comparison import compare
from zoo.report.pictures import differing

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium")]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    pictures = differing(seen_images(folder, 30), ("yolov8n", "yolov8n_dattn"), ["cat", "dog"])
    file = folder / "page.html"
    file.write_text(page.render(compare(varied(), control="yolov8n", latency=LATENCY), lambda comparison: pictures))
    return file.as_uri()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="there is no playwright")
    with playwright.sync_playwright() as running:
        launched = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(params=[(400, "light"), (400, "dark"), (1400, "light"), (1400, "dark")], ids=str)
def tab(browser, address, request):
    width, scheme = request.param
    opened = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    wrong, fetched = [], []
    opened.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda asked: fetched.append(asked.url))
    opened.goto(address)
    yield opened
    assert wrong == [] and all(url.startswith(("file:", "data:")) for url in fetched)
    opened.close()


def test_nothing_is_cut_off(tab):
    """No element that is shown ends beyond the window, or holds more than it shows."""
    cut = """
        [...document.querySelectorAll("body *")].filter((each) => {
          const box = each.getBoundingClientRect();
          return box.width && (box.right > innerWidth + 1 || box.left < -1) && !each.closest("svg svg, defs");
        }).map((each) => each.tagName + " " + each.textContent.slice(0, 40))
    """
    for details in tab.query_selector_all("details"):
        details.evaluate("each => each.open = true")
    assert tab.evaluate(cut) == []
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    clipped = "[...document.querySelectorAll('td, th')].filter((each) => each.scrollWidth > each.clientWidth + 1)"
    assert tab.evaluate(f"{clipped}.length") == 0


def test_a_click_sorts(tab):
    def names():
        cells = [cell.inner_text() for cell in first.locator("td:first-child").all()]
        return [text.split("\n")[0].removesuffix(" control") for text in cells]

    first = tab.locator("table").first
    first.get_by_role("button", name="model").click()
    assert names() == sorted(names(), key=str.casefold, reverse=True)
    first.get_by_role("button", name="model").click()
    assert names() == sorted(names(), key=str.casefold)
    first.get_by_role("button", name="mAP50-95").click()
    scores = [cell.text_content().strip() for cell in first.locator("td[data-head='mAP50-95']").all()]
    found = [float(score.split("\xa0")[0]) for score in scores if score]
    assert found == sorted(found, reverse=True) and len(found) == 4 and scores[-1] == "", "what is unknown comes last"
    assert first.locator("th[aria-sort='descending']").inner_text().startswith("mAP50-95")


def test_the_theme_follows_the_system_and_the_button(tab):
    def ground():
        red = tab.evaluate("getComputedStyle(document.body).backgroundColor").removeprefix("rgb(").split(",")[0]
        return "dark" if int(red) < 100 else "light"

    ink = "getComputedStyle(document.querySelector('figure svg text')).fill"
    before, drawn = ground(), tab.evaluate(ink)
    assert before == ("dark" if tab.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") else "light")
    tab.click("#theme")
    assert ground() != before and tab.evaluate(ink) != drawn, "charts follow"
    tab.click("#theme")
    assert ground() == before
