"""The page says what the rows say."""

from __future__ import annotations

import csv
import math
import random
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo import report
from zoo.errors import DataError, OptionError

pytestmark = pytest.mark.fast


def table(path, rows):
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def rows(model, scores, **more):
    return [{"model": model, "seed": seed, "val_mAP50-95": score, **more} for seed, score in enumerate(scores)]


@pytest.mark.parametrize(
    ("freedom", "t"), [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (9, 2.26216), (30, 2.04227)]
)
def test_student_t_as_tabulated(freedom, t):
    assert report.t_quantile(freedom) == pytest.approx(t, abs=1e-4)


@given(st.integers(1, 40), st.floats(0.01, 20))
def test_student_t_as_the_integral_of_its_density(freedom, t):
    scale = math.gamma((freedom + 1) / 2) / math.sqrt(freedom * math.pi) / math.gamma(freedom / 2)
    steps = 4000
    heights = [(1 + (t * i / steps) ** 2 / freedom) ** (-(freedom + 1) / 2) for i in range(steps + 1)]
    simpson = heights[0] + heights[-1] + 4 * sum(heights[1:-1:2]) + 2 * sum(heights[2:-1:2])
    assert report.t_probability(t, freedom) == pytest.approx(2 * scale * simpson * t / steps / 3, abs=1e-6)


def test_difference_is_paired_by_seed():
    """Seeds shift both models far more than the graft does: only pairs can see it. A seed without a pair is unused."""
    plain = rows("yolov8n", [0.2, 0.5, 0.8])
    grafted = rows("yolov8n_dattn", [0.211, 0.509, 0.81, 0.1])
    (lines,) = report.compare([{"data": "d", **row} for row in plain + grafted], "val_mAP50-95").values()
    line = next(line for line in lines if line.model == "yolov8n_dattn")
    assert line.difference.mean == pytest.approx(0.01) and line.difference.count == 3
    assert line.difference.half == pytest.approx(4.30265 * 0.001 / 3**0.5, rel=1e-3)
    assert line.p == pytest.approx(0.00331, abs=1e-4)  # t = 17.32 with 2 degrees of freedom
    assert line.score.count == 4 and line.score.half > 0.2
    assert next(line for line in lines if line.model == "yolov8n").difference is None


def test_one_seed_has_no_interval():
    (lines,) = report.compare([{"data": "d", **row} for row in rows("yolov8n", [0.5])], "val_mAP50-95").values()
    assert lines[0].score == report.Estimate(0.5, None, 1) and lines[0].p is None


def test_other_settings_are_not_compared():
    both = rows("yolov8n", [0.2, 0.3], imgsz=320) + rows("yolov8n_dattn", [0.4, 0.5], imgsz=640)
    compared = report.compare([{"data": "d", **row} for row in both], "val_mAP50-95")
    assert set(compared) == {"d, 320 px", "d, 640 px"}
    assert all(line.difference is None for lines in compared.values() for line in lines)


class Page(HTMLParser):
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
            self.cells[-1] += text


def test_page_is_whole_and_alone(tmp_path):
    random.seed(0)
    models = {"yolov8n": 0.5, "yolov8n_dattn": 0.52, "yolov8n_a2": 0.51, "my <own> & model": 0.4}
    found = [
        row
        for model, score in models.items()
        for row in rows(model, [score + random.gauss(0, 0.005) for _ in range(3)], latency_ms=10 + len(model))
    ]
    found.append({"model": "yolov8n_hat", "seed": 0, "status": "failed", "error": "exit code 1"})
    page = report.write([table(tmp_path / "shapes.csv", found)], tmp_path / "out" / "report.html")
    text = page.read_text()
    seen = Page(text)
    assert not seen.addresses and "@import" not in text and "url(" not in text, "nothing is fetched"
    assert "13 runs. 1 of them" in text and "<h2>shapes</h2>" in text
    assert [seen.cells[i] for i in range(0, len(seen.cells), 7)][-1] == "my <own> & model"
    drawings = re.findall(r"<svg.*?</svg>", text, re.S)
    assert len(drawings) == 2, "against latency and against GFLOPs"
    for drawing, count in zip(drawings, (4, 3), strict=True):
        tree = ElementTree.fromstring(drawing)
        _, _, width, height = map(float, tree.attrib["viewBox"].split())
        circles = [item for item in tree.iter() if item.tag.endswith("circle")]
        assert len(circles) == count
        assert all(0 < float(c.attrib["cx"]) < width and 0 < float(c.attrib["cy"]) < height for c in circles)
        assert [item.text for item in tree.iter()].count("yolov8n_dattn") == 1


def test_names_do_not_cover_each_other():
    texts = [ElementTree.fromstring(text) for text in report._labels([(200, 100, name) for name in "abcd"])]
    assert len({(text.attrib["x"], text.attrib["y"]) for text in texts}) == 4


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_enclose_the_range(low, span):
    ticks = report._ticks(low, low + span)
    slack = 1e-9 * (abs(low) + span + 1)
    assert ticks[0] <= low + slack and ticks[-1] >= low + span - slack and 2 <= len(ticks) <= 8


def test_runs_of_ultralytics_are_read(tmp_path):
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    (run / "args.yaml").write_text("model: yolov8n_dattn\ndata: /somewhere/shapes.yaml\nseed: 4\nimgsz: 64\n")
    (run / "results.csv").write_text(
        "epoch,time,metrics/mAP50(B),metrics/mAP50-95(B)\n1,1.0,0.4,0.2\n2,2.0,0.5,0.3\n3,3.0,0.6,0.25\n"
    )
    assert report.read_rows([tmp_path / "runs"]) == [
        {
            "data": "shapes",
            "model": "yolov8n_dattn",
            "seed": 4,
            "epochs": 3,
            "imgsz": 64,
            "val_mAP50-95": 0.3,
            "val_mAP50": 0.5,
        }
    ]
    (run / "results.csv").write_text("epoch\n")
    with pytest.raises(DataError, match="not the folder of a training that ended an epoch"):
        report.read_rows([tmp_path / "runs"])


def test_nothing_to_report(tmp_path):
    with pytest.raises(DataError, match="no file or folder"):
        report.write([tmp_path / "absent.csv"], tmp_path / "page.html")
    with pytest.raises(DataError, match="neither rows"):
        report.write([tmp_path], tmp_path / "page.html")
    failed = table(tmp_path / "failed.csv", [{"model": "yolov8n", "seed": 0, "status": "failed"}])
    with pytest.raises(DataError, match="none of 1 runs is complete"):
        report.write([failed], tmp_path / "page.html")
    with pytest.raises(OptionError, match="no run has 'AP'; there are val_mAP50-95"):
        report.write([table(tmp_path / "one.csv", rows("yolov8n", [0.1]))], tmp_path / "page.html", "AP")
    assert not (tmp_path / "page.html").exists()
