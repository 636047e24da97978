"""A comparison of real runs ends in a page with pictures of where they differ."""

from __future__ import annotations

import re
import shutil

import pytest

import zoo
from zoo.engine import differing
from zoo.report import page
from zoo.report.comparison import compare
from zoo.report.runs import read

pytestmark = pytest.mark.slow


@pytest.fixture
def comparison(settings, tmp_path):
    for name in ("yolov8n", "yolo11n_halo"):
        zoo.YOLO(name).train(**{**settings, "name": name, "epochs": 1})
    [found] = compare(read([tmp_path]), control="yolov8n")
    return found


def test_the_page_of_real_runs_has_pictures(comparison, data, monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(differing, "CONFIDENCE", 1e-4)  # one epoch finds nothing with confidence, nor in its place
    monkeypatch.setattr("zoo.report.pictures.IOU", 0.01)
    found = differing.pictures(comparison)
    assert found and {picture.name for picture in found} <= {path.name for path in data.parent.glob("images/val/*")}
    assert all(picture.names == ("yolov8n", "yolo11n_halo") and picture.among == 4 for picture in found)
    boxes = len((data.parent / "labels" / "val" / f"{found[0].name[:-4]}.txt").read_text().splitlines())
    assert re.search(rf"yolov8n finds \d of {boxes}, and \d+ that are none", found[0].text)
    text = page.render([comparison], differing.pictures)
    assert text.count("data:image/jpeg") == 3 * len(found) and len(text) < 3e6
    for part in ("Learning curves", "Gates", "By class", "fingerprint", "1 epochs"):
        assert part in text, part

    shutil.rmtree(tmp_path / "yolov8n" / "weights")
    assert differing.pictures(comparison) == [] and "the page has no pictures" in caplog.text
