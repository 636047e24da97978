"""What other programs read is what the comparison says."""

from __future__ import annotations

import csv
import io
import json

import pytest

from tests.report.build import runs, varied, write
from zoo.cli import main
from zoo.report import export
from zoo.report.comparison import compare

pytestmark = pytest.mark.fast


def test_one_row_a_model_of_all_comparisons():
    comparisons = compare(varied() + runs("yolov8n", [0.5], imgsz=640))
    read = list(csv.DictReader(io.StringIO(export.to_csv(comparisons))))
    assert [(row["title"], row["model"]) for row in read] == [
        (each.title, line.label) for each in comparisons for line in each.lines
    ]
    row = next(row for row in read if row["model"] == "yolov8n_dattn")
    line = next(line for line in comparisons[0].lines if line.label == "yolov8n_dattn")
    assert row["against"] == "yolov8n" and row["verdict"] == "better" and row["seeds"] == "0 1 2"
    assert float(row["difference"]) == line.verdict.gain.mean and float(row["score"]) == line.score.mean
    assert row["ms"] == "" and row["left_out"] == "0"


def test_json_holds_notes_and_verdicts():
    (found,) = json.loads(export.to_json(compare(varied(), control="yolov8n")))
    assert found["metric"] == "mAP50-95" and found["fingerprint"] == "f" * 64
    assert "yolov8n_hat, seed 0, is in no mean: failed" in found["notes"][0]
    assert {row["model"]: row["verdict"] for row in found["models"]}["yolov8n_a2"] == "worse"
    assert any("yolov8n_a2 is worse than yolov8n" in said for said in found["verdicts"])


def test_the_command_writes_page_json_and_csv_and_says_the_verdict(tmp_path, capsys):
    for run in varied():
        write(run, tmp_path / "runs" / run.source.name)
    files = [tmp_path / name for name in ("page.html", "all.json", "rows.csv")]
    arguments = ["--out", files[0], "--json", files[1], "--csv", files[2], "--control", "yolov8n"]
    assert main(["report", str(tmp_path / "runs"), *map(str, arguments)]) == 0
    assert all(file.stat().st_size for file in files)
    said = capsys.readouterr().out
    assert "yolov8n_dattn is better than yolov8n: +0.021" in said and said.endswith(f"{files[0]}\n")
    assert main(["report", str(tmp_path / "runs"), "--control", "yolov9"]) == 1
    assert "no run is of the control 'yolov9'" in capsys.readouterr().err
