"""What people who know timm expect of a zoo."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

import zoo
from zoo import errors, factory

TAGGED = zoo.list_pretrained()[0]


def test_features_are_the_maps_that_the_head_reads() -> None:
    torch.manual_seed(0)
    features = zoo.create("yolov8n+a2@neck_p3", features_only=True)
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        maps, expected = features(image), features.model(image)[1]["feats"]
    assert all(torch.equal(one, other) for one, other in zip(maps, expected, strict=True))
    assert features.feature_info.reduction() == [8, 16, 32]
    assert features.feature_info.channels() == [found.shape[1] for found in maps]
    assert features.feature_info.module_name() == ["model.15", "model.18", "model.21"]


@pytest.mark.fast
def test_what_there_is() -> None:
    assert zoo.is_model("yolov8n_dattn") and zoo.is_model("yolo26n-seg+a2@p3") and zoo.is_model("yolov8n.any")
    assert not zoo.is_model("yolov8n_datn") and not zoo.is_model("yolo12n+a2@sppf") and not zoo.is_model("")
    assert zoo.list_pretrained("yolov8n_*") == zoo.list_models("yolov8n_*", pretrained=True)
    found = zoo.pretrained_cfg(TAGGED)
    assert f"{found['architecture']}.{found['tag']}" == TAGGED
    assert found["input_size"][0] == 3 and len(found["label_names"]) == found["num_classes"]
    with pytest.raises(errors.NoWeightsError):
        zoo.pretrained_cfg("yolov8x")


def test_a_tag_without_pretrained_says_once_that_weights_are_random(caplog: pytest.LogCaptureFixture) -> None:
    factory._say_untrained.cache_clear()
    with caplog.at_level(logging.WARNING, "zoo"):
        for _ in range(2):
            zoo.create(TAGGED)
    assert [record.getMessage() for record in caplog.records].count(
        f"{TAGGED} is built with random weights, as in timm; pretrained=True loads the tag's"
    ) == 1


def test_the_engine_loads_the_tag() -> None:
    state, expected = zoo.YOLO(TAGGED).model.state_dict(), zoo.create(TAGGED, pretrained=True).state_dict()
    assert all(torch.equal(state[key], expected[key]) for key in expected)


@pytest.mark.fast
@pytest.mark.parametrize("wrong", ["bccd", "yolov8n.pt", 1, None, Path("x")])
def test_pretrained_is_a_boolean(wrong: object) -> None:
    with pytest.raises(errors.OptionError, match=r"pretrained must be True or False.*base_weights=PATH"):
        zoo.create("yolov8n", pretrained=wrong)


@pytest.mark.fast
def test_a_number_is_no_name() -> None:
    with pytest.raises(errors.UnknownModelError, match="a model's name is a string, found int 5"):
        zoo.create(5)


@pytest.mark.fast
def test_options_of_create_are_not_ignored_for_a_file(tmp_path: Path) -> None:
    with pytest.raises(errors.OptionError, match=r"is a checkpoint, which num_classes would not change"):
        zoo.YOLO(tmp_path / "best.pt", num_classes=9)
