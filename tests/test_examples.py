"""First contact: a photograph where weights know what it shows, digits where none do."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

import zoo
from reproduce import demo
from tests.weights.conftest import put, shelf  # noqa: F401
from zoo import assets, examples
from zoo.app import answers, space
from zoo.publish import repository

COCO = ("person", "bicycle", "car", "motorcycle", "airplane", "bus")


@pytest.fixture
def ship(shelf, tmp_path):  # noqa: F811
    """Weights with the names of some classes, and a score, onto an empty shelf."""

    def ship(name: str, class_names: tuple[str, ...], score: float) -> None:
        torch.manual_seed(0)
        model = zoo.create(name.partition(".")[0], num_classes=len(class_names))
        model.names = dict(enumerate(class_names))
        facts = repository.Facts(
            dataset="Test set",
            dataset_license="MIT",
            dataset_source="Nowhere.",
            imgsz=64,
            metrics={"val": {"mAP50": 0.9, "mAP50-95": score}},
            recipe="python train.py",
            commit="abc",
            versions={"torch": "2"},
        )
        repository.add(zoo.save(model, tmp_path / name), name, facts)

    return ship


def test_without_weights_of_photographs_it_is_digits():
    known = examples.knowing_photographs()
    assert not [name for name in known if name.endswith((".digits", ".bccd"))]
    assert examples.examples()[-1] == (examples.DIGITS, examples.drawn_digits())
    [result] = zoo.YOLO(examples.DIGITS).predict(examples.drawn_digits(), imgsz=256, verbose=False)
    assert len(result.boxes)


def test_the_best_grafted_weights_that_know_the_photograph_come_first(ship):
    ship("yolov8n_a2.digits", ("0", "1", "2", "3", "4", "5"), 0.9)
    ship("yolov8n.coco", COCO, 0.8)
    ship("yolov8n_dattn.coco", COCO, 0.2)
    ship("yolo11n_halo.coco", COCO, 0.3)
    ship("yolov8n_hat.voc", ("person", "car"), 0.7)
    assert examples.knowing_photographs() == ["yolo11n_halo.coco", "yolov8n_dattn.coco"]
    (name, picture), *_ = examples.examples()
    assert name == "yolo11n_halo.coco" and picture.size == Image.open(examples.photograph()).size
    assert answers.choices()[0] == name


def test_weights_whose_file_is_not_here_are_not_offered(ship):
    ship("yolov8n_dattn.coco", COCO, 0.2)
    (assets.root() / "weights" / "yolov8n_dattn.coco.safetensors").unlink()
    assert examples.knowing_photographs() == []
    assert examples.examples() == []


def test_a_space_carries_what_its_examples_need(ship, tmp_path):
    ship("yolov8n_a2.bccd", ("cell", "car"), 0.2)
    ship("yolov8n_a2.coco416", COCO, 0.2)
    ship("yolov8n_a2.voc", ("person", "car"), 0.2)
    carried = space.write(tmp_path / "space") / "zoo" / "_data" / "weights"
    assert {file.stem for file in carried.iterdir()} == {"yolov8n_a2.bccd", "yolov8n_a2.coco416"}


def test_demo_looks_at_the_photograph(ship, tmp_path, capsys):
    ship("yolov8n_dattn.coco", COCO, 0.2)
    assert demo.run(tmp_path / "demo") == 0
    assert {file.name for file in (tmp_path / "demo").iterdir()} == {"bus.jpg", "explained.png"}
    assert "DeformableAttention at layer 9" in capsys.readouterr().out


def test_demo_without_them_looks_at_digits(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(examples, "knowing_photographs", list)
    assert demo.run(tmp_path / "demo") == 0
    assert {file.name for file in (tmp_path / "demo").iterdir()} == {"scene.png", "scene.jpg", "explained.png"}
