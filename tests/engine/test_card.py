"""A training leaves a card with its record and a picture, whose code runs as it stands; a push takes all of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

import zoo
from zoo.publish import hub
from zoo.report import cards
from zoo.weights.tensors import write_tensors

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(settings, tmp_path):
    zoo.YOLO("yolov8n_dattn").train(**{**settings, "epochs": 1, "plots": True})
    return tmp_path / "run" / "weights" / "zoo"


def runs_as_it_stands(card: str, place: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "tensor(" in done.stdout


def test_the_card_of_an_adapter(settings, tmp_path):
    base = tmp_path / "yolov8n.safetensors"
    write_tensors(zoo.create("yolov8n").state_dict(), base)
    zoo.YOLO("yolov8n_dattn", base_weights=base).train(**settings | {"epochs": 1}, freeze_base=True)
    runs_as_it_stands((tmp_path / "run" / "weights" / "adapter" / "README.md").read_text(), tmp_path)


def test_the_card_of_a_training(folder, monkeypatch, tmp_path):
    text = (folder / "README.md").read_text()
    found = ModelCard(text).data
    assert found.datasets[0].startswith("shapes")
    assert {each.metric_type for each in found.eval_results} == {"mAP50-95", "mAP50"}
    assert f"![Predictions on validation images]({cards.PICTURE})" in text and (folder / cards.PICTURE).is_file()
    assert "Gates: layer 9" in text and "1 of 1" in text and "disc, square, bar" in text

    runs_as_it_stands(text, tmp_path)

    sent = {}
    monkeypatch.setattr(hub, "_send", lambda repo_id, files, *_: sent.update(files))
    hub.push_to_hub(zoo.create(f"local-dir:{folder}"), "me/mine", folder=folder)
    assert set(sent) == {"model.safetensors", "config.json", "README.md", cards.PICTURE}
    card = sent["README.md"].decode()
    assert 'zoo.YOLO("hf-hub:me/mine")' in card and str(tmp_path) not in card and "Gates: layer 9" in card
