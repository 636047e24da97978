"""Ultralytics' own `visualize=True` on a grafted model."""

from __future__ import annotations

import numpy as np
from PIL import Image

import zoo


def test_ultralytics_draws_its_layers(tmp_path):
    picture = tmp_path / "a.png"
    Image.effect_mandelbrot((64, 64), (-2, -1, 1, 1), 50).convert("RGB").save(picture)
    zoo.YOLO("yolov8n_dattn.digits").predict(
        picture, visualize=True, imgsz=64, project=str(tmp_path), name="seen", verbose=False
    )
    drawn = np.asarray(Image.open(tmp_path / "seen" / "a_cam.jpg"), float)
    assert drawn.shape[2] == 3 and drawn.std() > 1
