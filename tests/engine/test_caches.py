"""Caches beside labels are pickles: ours are read, a stranger's is not run."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from ultralytics.data import dataset
from ultralytics.engine.exporter import Exporter

import zoo
from tests.engine.conftest import calibrate, write_data
from tests.report import build
from tests.weights.test_untrusted import Harm
from zoo.engine import differing, quirks
from zoo.errors import DataError, SourceError


@pytest.fixture
def own(tmp_path):
    return write_data(tmp_path / "own")


def scan(file) -> dict:
    """Read the caches as training does."""
    with quirks.caches_of_numbers():
        return dataset.load_dataset_cache_file(file.parent / "labels" / "train.cache")


def test_a_cache_that_runs_something_is_written_anew(own, settings, tmp_path):
    mark = tmp_path / "harmed"
    for split in ("train", "val"):
        with (own.parent / "labels" / f"{split}.cache").open("wb") as file:
            np.save(file, np.array({"labels": Harm(mark)}, dtype=object), allow_pickle=True)
    zoo.YOLO("yolov8n").train(**settings | {"data": str(own), "epochs": 1})
    assert not mark.exists()
    assert len(scan(own)["labels"]) == 4, "Ultralytics wrote it, and it is read"


def test_a_calibration_runs_no_cache(own, tmp_path, monkeypatch):
    mark = tmp_path / "harmed"
    with (own.parent / "labels" / "val.cache").open("wb") as file:
        np.save(file, np.array({"labels": Harm(mark)}, dtype=object), allow_pickle=True)
    monkeypatch.setattr(Exporter, "__call__", calibrate)
    [batch] = zoo.YOLO("yolov8n").export(format="onnx", quantize=8, data=str(own), batch=4)
    assert len(batch["im_file"]) == 4 and not mark.exists()


def test_a_page_with_pictures_runs_none(own, tmp_path):
    mark = tmp_path / "harmed"
    with (own.parent / "labels" / "val.cache").open("wb") as file:
        np.save(file, np.array({"labels": Harm(mark)}, dtype=object), allow_pickle=True)
    run = replace(*build.runs("yolov8n", [0.5], data={"yaml": str(own)}), source=tmp_path)
    with pytest.raises(SourceError):  # the checkpoint is not there; the labels were read before
        differing._differing(run, run, "val")
    assert not mark.exists()
    with pytest.raises(DataError, match="does not say where its data lie"):
        differing._differing(replace(run, data={"name": "of a CSV"}), run, "val")


def test_ultralytics_still_reads_any_pickle_there(own, tmp_path):
    """The reason for the quirk."""
    with (own.parent / "labels" / "train.cache").open("wb") as file:
        np.save(file, np.array({"labels": Harm(tmp_path / "harmed")}, dtype=object), allow_pickle=True)
    dataset.load_dataset_cache_file(own.parent / "labels" / "train.cache")
    assert (tmp_path / "harmed").exists()
    os.rmdir(tmp_path / "harmed")
    with pytest.raises(FileNotFoundError, match="is no cache of labels"):
        scan(own)
    assert not (tmp_path / "harmed").exists()
