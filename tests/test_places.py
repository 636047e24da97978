"""Places are where the built models say that they are, for every base, scale, task and layout that Ultralytics has."""

from __future__ import annotations

import itertools

import pytest
import torch
from ultralytics.nn import tasks

from zoo import places
from zoo.config import BASES, LAYOUTS, STEM, GraftConfig, ModelConfig
from zoo.detector import build
from zoo.errors import ConfigError, UnknownModelError, ZooError
from zoo.names import TASKS
from zoo.registry import get_config

STOCK = {
    "detect": tasks.DetectionModel,
    "segment": tasks.SegmentationModel,
    "pose": tasks.PoseModel,
    "obb": tasks.OBBModel,
}


def bases(*scales: str) -> list[str]:
    """Every plain model that Ultralytics has a file of."""
    found = []
    for base, scale, task, layout in itertools.product(BASES, scales, TASKS, LAYOUTS):
        config = ModelConfig("x", base, scale, task=task, layout=layout)
        try:
            places.read(config)
        except ConfigError:
            continue
        found.append(config.base_name)
    return found


def test_every_base_has_its_tasks_and_layouts() -> None:
    assert len(bases("n")) == 4 * 4 + 6
    assert {"yolov8n-p2", "yolov8n-p6", "yolov8n-seg-p6", "yolov8n-pose-p6", "yolo26n-p2", "yolo26n-p6"} < set(
        bases("n")
    )


@pytest.mark.parametrize("name", [*bases("n"), *(base + scale for base in BASES for scale in "mx")])
def test_the_table_is_what_the_model_does(name: str) -> None:
    config = get_config(name)
    model = STOCK[config.task](f"{name}.yaml", verbose=False).eval()
    shapes: list[torch.Size] = []
    for layer in model.model[:-1]:
        layer.register_forward_hook(lambda _, __, output: shapes.append(output.shape))
    with torch.inference_mode():
        model(torch.zeros(1, 3, 64, 64))
    table = places.layers(places.read(config))
    assert [(layer.channels, layer.stride) for layer in table[:-1]] == [(s[1], 64 // s[2]) for s in shapes]
    by_place = {place: layer for layer in table for place in layer.places}
    read_by_head = [f"neck_p{(64 // shapes[index][2]).bit_length() - 1}" for index in model.model[-1].f]
    assert [by_place[place].index for place in read_by_head] == list(model.model[-1].f)
    ours = build(config)
    assert torch.equal(ours.stride, model.stride) and torch.equal(ours.model[-1].stride, model.stride)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("yolov8n", {"p2": 2, "p3": 4, "p4": 6, "p5": 9, "sppf": 9, "neck_p3": 15, "neck_p4": 18, "neck_p5": 21}),
        ("yolo11n", {"p2": 2, "p3": 4, "p4": 6, "p5": 10, "sppf": 9, "neck_p3": 16, "neck_p4": 19, "neck_p5": 22}),
        ("yolo12n", {"p2": 2, "p3": 4, "p4": 6, "p5": 8, "neck_p3": 14, "neck_p4": 17, "neck_p5": 20}),
        ("yolo26n", {"p2": 2, "p3": 4, "p4": 6, "p5": 10, "sppf": 9, "neck_p3": 16, "neck_p4": 19, "neck_p5": 22}),
    ],
)
def test_places_of_the_usual_layout(name: str, expected: dict[str, int]) -> None:
    table = places.layers(places.read(get_config(name)))
    assert {place: layer.index for layer in table for place in layer.places} == expected


@pytest.mark.fast
def test_free_form_names_become_positions() -> None:
    config = get_config("yolov8n+dattn(heads=4)@sppf+a2@image,p2,7")
    assert config.name == "yolov8n+dattn(heads=4)@sppf+a2@image,p2,7"
    assert config.grafts == (
        GraftConfig(9, "dattn", {"heads": 4}),
        *(GraftConfig(position, "a2") for position in (STEM, 2, 7)),
    )
    assert get_config("yolo26n-obb+a2@neck_p4").base_name == "yolo26n-obb"


@pytest.mark.fast
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("yolo12n+dattn@sppf", "yolo12n has no place 'sppf'.*It has image, p2.*and layer indices"),
        ("yolov8n+a2@neckp3", r"no place 'neckp3'. Did you mean neck_p3"),
        ("yolov8n+a2@p6", r"no place 'p6'. Did you mean p"),
        ("yolov8n+a2@neck_p2", "yolov8n has no place 'neck_p2'"),
        ("yolov8n+a2@p5,sppf", "a2@p5 and a2@sppf both sit on layer 9 of yolov8n; keep one"),
        ("yolov8n+a2@image+dattn@image", "two grafts share a position"),
        ("yolov8n+a2@22", "position 22 is not a layer before Detect"),
        ("yolov8n+a2@99", "position 99 is not a layer before Detect"),
        ("yolov8n+a2@100", "layer index or a place, found 100"),
        ("yolov8n+a2@A", "layer index or a place, found 'A'"),
        ("yolov8n+a2(c_m=100000)@p2", "beyond 4096"),
        ("yolo26n-seg-p2", "no model file yolo26-seg-p2.yaml"),
    ],
)
def test_impossible_places(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        get_config(name)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("yolo99n+a2@p3", "Did you mean yolov8n|Did you mean yolo26n"),
        ("yolo11n-sgm", "Did you mean yolo11n-seg"),
        ("yolov8_dattn", "Did you mean yolov8._dattn"),
        ("resnet50", "lists all"),
        ("local-dir:x", "no model is called 'local-dir:x'"),
        ("best.pt", "no model is called 'best.pt'"),
    ],
)
def test_unknown_bases(name: str, words: str) -> None:
    with pytest.raises(UnknownModelError, match=words) as caught:
        get_config(name)
    assert isinstance(caught.value, ZooError)
