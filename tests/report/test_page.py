"""The page says what the runs say, whole and alone."""

from __future__ import annotations

import random
import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.report.build import LATENCY, ODD, full, runs, seen_images, varied, write
from tests.report.test_charts import shown
from zoo.files import write_text
from zoo.report import page
from zoo.report.comparison import compare
from zoo.report.pictures import differing
from zoo.report.runs import read


class Parsed(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.addresses, self.cells, self.tag = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tag = tag
        self.addresses += [value for key, value in attributes if key in {"src", "href", "data", "action"}]
        if tag == "td":
            self.cells.append("")

    def handle_data(self, text):
        if self.tag == "td":
            self.cells[-1] += text.strip()


@pytest.fixture(scope="module")
def found():
    return varied()


def test_the_page_is_whole_and_alone(found):
    text = page.render(compare(found, control="yolov8n", latency=LATENCY))
    seen = Parsed(text)
    assert set(seen.addresses) == {"data:,"} and "@import" not in text and "url(h" not in text, "nothing is fetched"
    assert ODD in seen.cells and "0, 1 failed" in seen.cells and "<own>" not in text
    assert text.index("is worse than yolov8n") < text.index("<table"), "the verdict comes first"
    assert "yolov8n_hat, seed 0, is in no mean: failed: exit code 1" in text
    for part in ("Learning curves", "By class", "Gates", "Small, medium and large", "How it was run", "All 13 runs"):
        assert part in text, part
    drawings = [shown(drawing) for drawing in re.findall(r"<svg [^>]*>\s*<title.*?</svg>", text, re.DOTALL)]
    assert [panel["cost"] for (panel,) in drawings] == ["ms an image", "parameters, M", "GFLOPs at 320 px"]
    assert sorted(point["label"] for point in drawings[0][0]["points"]) == sorted(LATENCY)
    assert re.search(r'<tr class="control">\s*<td[^>]*>yolov8n <span', text)


def test_the_order_of_the_runs_does_not_matter(found):
    shuffled = random.Random(1).sample(found, len(found))
    assert page.render(compare(shuffled)) == page.render(compare(found))


def test_what_is_not_known_is_not_there():
    text = page.render(compare(runs("mine", [0.5], gflops=None, parameters=None)))
    assert "no verdict is given" in text and "<figure>" not in text and "ms an image" not in text


def test_two_data_sets_are_two_sections_with_a_way_to_each(found):
    text = page.render(compare(found + runs("yolov8n", [0.5], imgsz=640)))
    assert re.findall('<section id="(c.)">', text) == ["c1", "c2"] == re.findall('href="#(c.)"', text)


def test_pictures_are_those_that_differ(tmp_path, found):
    pictures = differing(seen_images(tmp_path, 40), ("yolov8n", "yolov8n_dattn"), ["cat", "dog"])
    assert [picture.name for picture in pictures] == [f"{index}.jpg" for index in range(20, 32)]
    text = page.render(compare(found, control="yolov8n"), lambda comparison: pictures)
    assert "yolov8n finds 0 of 2, and 1 that are none; yolov8n_dattn finds 2 of 2, and 0 that are none." in text
    assert text.count("data:image/jpeg") == 36 and len(text) < 3e6
    assert "data:image" not in page.render(compare(found, control="yolov8n"))


@pytest.mark.slow
def test_a_thousand_runs_are_read_and_written_within_ten_seconds(tmp_path):
    """Of processor time: other work on the machine is not the page's."""
    for data in range(5):
        named = {"name": f"data{data}", "yaml": "/d", "fingerprint": str(data) * 64}
        named |= {"images": {"val": 3}, "class_names": ["cat", "dog"]}
        for index in range(20):
            name = f"yolov8n+b{index}@p3" if index else "yolov8n"
            for run in full(name, [random.random() for _ in range(10)], data=named):
                history = [{**run.history[0], "epoch": epoch} for epoch in range(1, 101)]
                whole = replace(run, history=history, epochs={"planned": 100, "done": 100})
                write(whole, tmp_path / "runs" / f"{data}-{index}-{run.seed}")
    started = time.process_time()
    text = page.render(compare(read([tmp_path / "runs"])))
    write_text(tmp_path / "page.html", text)
    assert time.process_time() - started < 10
    assert "200 runs" in text and len(text) < 3e6


def test_a_page_that_travels_names_no_folder_of_the_machine():
    parent = {"source": "/home/me/secret/yolov8n.pt", "sha256": "1" * 64, "kind": "base"}
    kept = [replace(run, source=Path("/home/me/secret/runs") / run.model) for run in varied()]
    text = page.render(compare([replace(run, parent=parent) for run in kept], control="yolov8n"))
    assert "/home/me" not in text and "runs/yolov8n_hat" in text and "from yolov8n.pt" in text
