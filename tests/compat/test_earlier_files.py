"""Files that an earlier version wrote still load, resume and count."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import zoo
from tests.engine.conftest import write_data
from zoo.engine.sweep import Plan, run
from zoo.report.runs import load

ARCHIVE = Path(__file__).with_name("41a5823.tar.xz")


@pytest.fixture
def earlier(tmp_path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path / "earlier", filter="data")
    return tmp_path / "earlier"


def output(model: torch.nn.Module) -> torch.Tensor:
    image = (torch.arange(3 * 64 * 96) % 251 / 251).reshape(1, 3, 64, 96)
    with torch.inference_mode():
        return model.eval().float()(image)[0]


def test_saved_folder_gives_the_output_it_gave(earlier):
    model = zoo.create(f"local-dir:{earlier / 'saved'}")
    torch.testing.assert_close(output(model), torch.from_numpy(np.load(earlier / "output.npy")), atol=1e-3, rtol=1e-5)


def test_checkpoint_gives_the_same_output(earlier):
    model = zoo.YOLO(earlier / "run" / "weights" / "last.pt").model
    torch.testing.assert_close(output(model), torch.from_numpy(np.load(earlier / "output.npy")), atol=1e-3, rtol=1e-5)


@pytest.mark.slow
def test_cut_run_resumes(earlier, tmp_path):
    last = earlier / "run" / "weights" / "last.pt"
    checkpoint = torch.load(last, weights_only=False)
    checkpoint["train_args"] |= {"save_dir": str(earlier / "run"), "data": str(write_data(tmp_path / "shapes"))}
    torch.save(checkpoint, last)
    zoo.YOLO(last).train(resume=True)
    lines = (earlier / "run" / "results.csv").read_text().splitlines()[1:]
    assert [int(float(line.split(",")[0])) for line in lines] == [1, 2, 3]
    assert (earlier / "run" / "weights" / "zoo" / "model.safetensors").is_file()


def test_run_folder_is_a_row(earlier):
    found = load(earlier / "run")
    assert (found.model, found.seed, found.epochs["done"], found.imgsz) == ("yolov8n_dattn", 0, 2, 64)
    assert not found.record


def test_ended_sweep_is_not_repeated(earlier, tmp_path, monkeypatch):
    data = write_data(tmp_path / "shapes")
    plan = {"models": ["yolov8n"], "data": {"shapes": str(data)}, "folder": str(earlier / "sweep")}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan | {"train": {"epochs": 1, "imgsz": 64, "batch": 4}}))
    before = {path: os.stat(path).st_mtime_ns for path in (earlier / "sweep" / "shapes").rglob("*")}
    run(Plan.read(tmp_path / "plan.yaml"))
    assert before == {path: os.stat(path).st_mtime_ns for path in (earlier / "sweep" / "shapes").rglob("*")}
