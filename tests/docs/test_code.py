"""Every block of code in the documentation runs, in the order of its page, on small data and for one short epoch."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image
from ultralytics.nn.tasks import DetectionModel

from tests.engine.conftest import NAMES, write_data
from zoo.cli import main

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = [page for page in sorted(DOCS.glob("*.md")) if BLOCK.search(page.read_text())]
SHORTER = {r"epochs=\d+": "epochs=1", r"imgsz=\d+": "imgsz=64", r"seeds=\d+": "seeds=2"}


def write_checkpoint(file: Path, names: dict[int, str]) -> None:
    model = DetectionModel("yolov8n.yaml", nc=len(names), verbose=False)
    model.names = names
    torch.save({"model": model.half(), "epoch": -1, "train_args": {"imgsz": 64}, "version": "8.4"}, file)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the pages take for granted: data, a photograph, official weights and a checkpoint of one's own."""
    data = write_data(tmp_path / "data", images=8)
    (tmp_path / "my.yaml").write_text(data.read_text())
    Image.effect_mandelbrot((160, 120), (-2, -1, 1, 1), 50).convert("RGB").save(tmp_path / "photo.jpg")
    write_checkpoint(tmp_path / "yolov8n.pt", {i: str(i) for i in range(80)})
    write_checkpoint(tmp_path / "best.pt", dict(enumerate(NAMES)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shortened(code: str) -> str:
    for pattern, value in SHORTER.items():
        code = re.sub(pattern, value, code)
    return code


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_runs(page, folder):
    space: dict[str, object] = {"__name__": page.stem}
    for language, code in BLOCK.findall(page.read_text()):
        if language == "python":
            exec(compile(shortened(code), page.name, "exec"), space)
            continue
        for line in shortened(code).replace("\\\n", " ").splitlines():
            program, *arguments = shlex.split(line, comments=True)
            assert program == "zoo", line
            assert main(arguments) == 0, line
