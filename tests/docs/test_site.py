"""The site builds strictly, and no page of it asks another server for anything."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import zoo
from zoo.layers import blocks

pytest.importorskip("mkdocs", reason="mkdocs is not installed")
ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_nothing_is_loaded_from_elsewhere(site):
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|iframe|source)[^>]*\ssrc="?(https?://[^"\s>]+)', page.read_text())
        loaded += re.findall(
            r'<link[^>]*rel="?(?:stylesheet|preload|preconnect)[^>]*href="?(https?://[^"\s>]+)', page.read_text()
        )
        assert not loaded, page.name


def test_tables_are_of_the_registry(site):
    gallery = (site / "gallery.html").read_text()
    assert all(f"<code>{name}</code>" in gallery for name in zoo.list_models())


def test_every_block_has_its_section(site):
    """Formula, drawings that exist, cost, when to use it, and what was measured or that nothing was."""
    page = (site / "mechanisms.html").read_text()
    sections = {part.partition('"')[0]: part for part in page.split('<h2 id="')[1:]}
    assert {each.name for each in blocks.describe() if each.origin != "registered"} == set(sections)
    for name, section in sections.items():
        assert f"<code>{name}</code>" in section
        [formula] = re.findall(r"<math.*?</math>", section, re.DOTALL)
        assert "\\" not in formula and "merror" not in formula, name
        pictures = re.findall(r'<img[^>]*src="?([^" >]+)', section)
        assert pictures and all((site / file).stat().st_size > 2000 for file in pictures), name
        for word in ("When.", "Cost.", "Measured."):
            assert f"<strong>{word}</strong>" in section, name
        assert "thousand parameters" in section and ("No run yet" in section or "seeds" in section), name


def test_a_comparison_beside_the_pages_is_linked(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("generated", ROOT / "docs" / "generated.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    monkeypatch.setattr(hook, "__file__", str(tmp_path / "generated.py"))
    assert hook.on_page_markdown("<!-- generated: compared -->") == ""
    (tmp_path / "compare-mine.html").write_text("<html><title>Three models on mine</title></html>")
    assert "- [Three models on mine](compare-mine.html)" in hook.on_page_markdown("<!-- generated: compared -->")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
@pytest.mark.parametrize("width", [400, 1400])
def test_pages_in_a_browser(site, width):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    asked, errors = [], []
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        for file in sorted(set(site.glob("*.html")) - {site / "404.html"}):  # whose addresses are a server's
            page.goto(file.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width, file.name
        page.goto((site / "gallery.html").as_uri())
        page.fill("#filter", "yolo11n_halo")
        shown = page.eval_on_selector_all(
            "article tbody tr", "rows => rows.filter(r => !r.hidden).map(r => r.innerText)"
        )
        assert shown and all("yolo11n_halo" in row for row in shown)
        page.fill("#filter", "")
        page.click("article th >> nth=1")
        cells = page.eval_on_selector_all(
            "article table:first-of-type tbody tr", "rows => rows.map(r => r.cells[1].innerText)"
        )
        numbers = [float(cell) for cell in cells[: len(zoo.list_models())]]
        assert numbers == sorted(numbers)
        browser.close()
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
    assert not [text for text in errors if "file:" not in text]
