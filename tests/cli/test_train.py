"""Training, validation and export by the command, one after the other."""

from pathlib import Path

import pytest

import zoo
from reproduce.datasets import digits, layout
from tests.cli.process import run


@pytest.mark.slow
def test_train_val_and_export_of_the_result(tmp_path):
    for split in ("train", "val"):
        layout.write_split(tmp_path, split, digits.NAMES, (digits.compose(split, index) for index in range(8)))
    layout.write_yaml(tmp_path, digits.NAMES, {"train": "", "val": ""})
    settings = (
        f"data=data.yaml imgsz=64 batch=4 device=cpu plots=False project={tmp_path} name=run exist_ok=True".split()
    )
    trained = run("train", "yolov8n_dattn", *settings, "epochs=1", "nbs=4", "warmup_epochs=0", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    result = f"local-dir:{tmp_path / 'run/weights/zoo'}"
    assert zoo.create(result).config.num_classes == 10
    validated = run("val", result, *settings, cwd=tmp_path)
    assert "mAP50 0." in validated.stdout
    exported = run("export", result, "format=torchscript", "imgsz=64", cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    assert Path(tmp_path, exported.stdout.splitlines()[-1]).is_file()
