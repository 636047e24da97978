"""The engine's other modes, on a grafted model that was trained for a step."""

from __future__ import annotations

import json
import math

import pytest
import torch
import ultralytics
from ultralytics.nn.tasks import load_checkpoint
from ultralytics.utils import ROOT, YAML

import zoo
from zoo.detector import GraftedDetectionModel
from zoo.errors import OptionError


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    engine = zoo.YOLO("yolov8n_dattn")
    engine.train(
        data=str(data), project=str(folder), name="run", epochs=1, imgsz=64, batch=4, nbs=4, plots=False, device="cpu"
    )
    return folder / "run" / "weights" / "best.pt"


def test_val_of_the_file_is_val_of_the_run(trained, data):
    box = zoo.YOLO(trained).val(data=str(data), plots=False, device="cpu").box
    again = zoo.YOLO(f"local-dir:{trained.parent / 'zoo'}").val(data=str(data), plots=False, device="cpu").box
    assert (box.map, box.map50) == (again.map, again.map50)


@pytest.mark.slow
def test_trials_of_tune_have_the_grafts(data, tmp_path):
    engine = zoo.YOLO("yolov8n_dattn")
    own = {"imgsz": 64, "batch": 4, "nbs": 4, "device": "cpu", "val": True}
    engine.tune(data=str(data), epochs=1, iterations=2, plots=False, project=str(tmp_path), name="tune", **own)
    lines = (tmp_path / "tune" / "tune_results.ndjson").read_text().splitlines()
    assert len(lines) == 2 and all(math.isfinite(json.loads(line)["fitness"]) for line in lines)
    best, _ = load_checkpoint(tmp_path / "tune" / "weights" / "best.pt")
    assert isinstance(best, GraftedDetectionModel) and set(best.grafts) == {"9"}
    assert ultralytics.engine.trainer.MultiTrainer.__name__ == "MultiTrainer"


@pytest.mark.slow
def test_one_model_on_several_data_sets(data, settings, tmp_path):
    own = settings | {"data": [str(data), str(data)], "epochs": 1}
    metrics = zoo.YOLO("yolov8n_dattn").train(**own)
    assert len(metrics) == 2 and all(metrics.values())
    for file in tmp_path.glob("multitrain/*/weights/best.pt"):
        assert set(load_checkpoint(file)[0].grafts) == {"9"}


def test_track_follows_a_film(trained):
    pytest.importorskip("lap")
    frames = [torch.rand(1, 3, 64, 64) for _ in range(3)]
    engine = zoo.YOLO(trained)
    found = [engine.track(frame, persist=True, conf=0.001, imgsz=64, verbose=False, device="cpu") for frame in frames]
    assert [len(result) for result in found] == [1, 1, 1]


def tracker(folder, model):
    file = folder / "mine.yaml"
    described = YAML.load(ROOT / "cfg" / "trackers" / "botsort.yaml")
    YAML.save(file, described | {"with_reid": True, "model": model, "gmc_method": "none"})
    return str(file)


@pytest.mark.parametrize(("model", "nms"), [("other.pt", None), ("auto", False)])
def test_a_tracker_opens_no_model_by_itself(model, nms, tmp_path, monkeypatch):
    monkeypatch.setattr("ultralytics.trackers.utils.reid.ReID.__init__", lambda *_, **__: pytest.fail("opened"))
    for settings in ({"stream": True}, {"stream": False}):
        with pytest.raises(OptionError, match=f"with model: {model}, opens a second model"):
            zoo.YOLO("yolo26n").track(torch.rand(1, 3, 64, 64), tracker=tracker(tmp_path, model), nms=nms, **settings)


def test_a_tracker_recognises_objects_by_the_detector_or_by_a_model_that_is_trusted(tmp_path, monkeypatch):
    pytest.importorskip("lap")
    opened = []
    monkeypatch.setattr("ultralytics.trackers.utils.reid.ReID.__init__", lambda _, model, **__: opened.append(model))
    for model in ("auto", "other.pt"):
        zoo.YOLO("yolov8n", trust=True).track(
            torch.rand(1, 3, 64, 64), tracker=tracker(tmp_path, model), conf=1, imgsz=64, verbose=False, device="cpu"
        )
    assert opened == ["other.pt"]


@pytest.mark.slow
def test_benchmark_measures_a_format(trained, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where Ultralytics leaves its log
    table = zoo.YOLO(trained).benchmark(data=str(data), imgsz=64, format="torchscript", device="cpu")
    assert "TorchScript" in str(table)
