"""Grafts of the other tasks train, resume, validate, predict and leave PyTorch like those of detectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml

import zoo
from tests.engine.conftest import write_data

SLOW = pytest.mark.slow
MODELS = [
    "yolo26n-seg+a2@p3",
    pytest.param("yolo11n-pose+a2@neck_p3", marks=SLOW),
    pytest.param("yolov8n-obb+dattn@sppf", marks=SLOW),
    pytest.param("yolo12n-seg+a2@p4", marks=SLOW),
    pytest.param("yolo26n-pose+a2@p4", marks=SLOW),
    pytest.param("yolo26n-obb+dattn@sppf", marks=SLOW),
]


def task_data(folder: Path, task: str) -> Path:
    """The rectangles of `write_data`, labelled as masks, as two keypoints each or as turned boxes."""
    file = write_data(folder)
    for label in folder.glob("labels/*/*.txt"):
        rows = []
        for line in label.read_text().splitlines():
            number, x, y, w, h = map(float, line.split())
            corners = [(x - w / 2, y - h / 2), (x + w / 2, y - h / 2), (x + w / 2, y + h / 2), (x - w / 2, y + h / 2)]
            points = " ".join(f"{min(max(value, 0), 1):.4f}" for corner in corners for value in corner)
            keypoints = f"{x:.4f} {y:.4f} {w:.4f} {h:.4f} {x:.4f} {y:.4f} 2 {x:.4f} {y:.4f} 2"
            rows.append(f"{int(number)} {keypoints if task == 'pose' else points}")
        label.write_text("\n".join(rows) + "\n")
    if task == "pose":
        description = yaml.safe_load(file.read_text())
        file.write_text(yaml.safe_dump({**description, "kpt_shape": [2, 3], "flip_idx": [0, 1]}))
    return file


@pytest.mark.parametrize("name", MODELS)
def test_the_whole_life_of_a_task(name: str, settings, tmp_path: Path) -> None:
    engine = zoo.YOLO(name)
    data = str(task_data(tmp_path / "data", engine.task))
    engine.train(**settings | {"data": data, "epochs": 1})
    run = tmp_path / "run" / "weights"
    trained = zoo.create(f"local-dir:{run / 'zoo'}")
    assert trained.task == engine.task and trained.config.num_classes == 3
    assert all(graft.gamma.abs().max() > 0 for graft in trained.grafts.values())
    assert engine.task != "pose" or trained.config.kpt_shape == (2, 3)

    cut = zoo.YOLO(name)
    cut.add_callback("on_fit_epoch_end", lambda trainer: setattr(trainer, "stop", trainer.epoch == 0))
    cut.train(**settings | {"data": data, "name": "cut", "epochs": 2, "save_period": 1})
    resumed = zoo.YOLO(tmp_path / "cut" / "weights" / "epoch0.pt")
    resumed.train(resume=True)
    assert resumed.trainer.epoch == 1 and set(resumed.model.grafts) == set(trained.grafts)

    best = zoo.YOLO(run / "best.pt")
    assert best.val(data=data, imgsz=64, plots=False, workers=0).box.map >= 0
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    assert len(best.predict(image, imgsz=64, verbose=False)) == 1
    session = onnxruntime.InferenceSession(best.export(format="onnx", imgsz=64, verbose=False))
    x = torch.rand(1, 3, 64, 64)
    exported = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    with torch.inference_mode():
        expected = zoo.YOLO(run / "best.pt").model.float().fuse(verbose=False).eval()(x)[0]
    expected = expected[0] if isinstance(expected, tuple) else expected
    assert exported.shape == expected.shape
    torch.testing.assert_close(torch.from_numpy(exported), expected, atol=1e-2, rtol=1e-3)
