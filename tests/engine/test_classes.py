"""Weights are validated on their own classes, or on those that data of other classes call alike."""

from __future__ import annotations

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.models.yolo.segment import SegmentationValidator

import zoo
from tests.engine.conftest import NAMES, write_data
from zoo import cli
from zoo.engine import classes
from zoo.errors import DataError, OptionError

pytestmark = pytest.mark.fast


def numbered(names):
    return dict(enumerate(names))


def test_other_classes_are_refused_with_both_lists():
    with pytest.raises(DataError, match=r"the weights 2 \(cat, dog\); the data 2 \(dog, cat\).*classes=match"):
        classes.refuse_others(numbered(["cat", "dog"]), numbered(["dog", "cat"]))
    with pytest.raises(DataError, match=r"the data 1 \(cat\)"):
        classes.refuse_others(numbered(["cat", "dog"]), numbered(["cat"]))
    classes.refuse_others(numbered(["cat", "dog"]), numbered(["cat", "dog"]))
    classes.refuse_others(numbered(["0", "1"]), numbered(["cat", "dog"]))  # names that are not known contradict nothing


@given(st.lists(st.sampled_from("abcdef"), unique=True), st.lists(st.sampled_from("ABCDXY"), unique=True))
def test_equal_names_are_matched_whatever_their_numbers(mine, theirs):
    common = {name for name in mine if name.upper() in theirs}
    if not common:
        with pytest.raises(DataError, match="no class of the weights"):
            classes.matched(numbered(mine), numbered(theirs))
        return
    found = classes.matched(numbered(mine), numbered(theirs))
    assert {(mine[own], theirs[other]) for own, other in found.items()} == {(name, name.upper()) for name in common}


def test_predictions_get_the_numbers_of_the_data_or_go():
    validator = classes.validator_of(DetectionValidator, {0: 1, 2: 0}, numbered(["x", "y"]))
    stock = {"cls": torch.tensor([0.0, 1, 2, 0]), "conf": torch.tensor([0.9, 0.8, 0.7, 0.6])}
    made = validator.__new__(validator)
    original, DetectionValidator.postprocess = DetectionValidator.postprocess, lambda *_: [dict(stock)]
    try:
        [found] = made.postprocess(None)
    finally:
        DetectionValidator.postprocess = original
    assert found["cls"].tolist() == [1, 0, 1] and found["conf"].tolist() == pytest.approx([0.9, 0.7, 0.6])
    with pytest.raises(OptionError, match="classes=match is for detection"):
        classes.validator_of(SegmentationValidator, {0: 0}, {0: "x"})


def test_val_refuses_other_classes_and_matches_them_when_asked(tmp_path, capsys):
    torch.manual_seed(0)
    model = zoo.create("yolov8n", num_classes=3)
    model.names = numbered(reversed(NAMES))
    saved = f"local-dir:{zoo.save(model, tmp_path / 'model')}"
    file = write_data(tmp_path / "data")
    common = ["val", saved, f"data={file}", "imgsz=64", "batch=4", "plots=False", "device=cpu", f"project={tmp_path}"]
    assert cli.main(common) == 1
    assert "the weights 3 (bar, square, disc); the data 3 (disc, square, bar)" in capsys.readouterr().err

    with pytest.raises(DataError, match="the weights 3"):  # as Ultralytics finds the one YAML of a folder
        zoo.YOLO(saved).val(data=str(file.parent), project=str(tmp_path))

    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"names": ["Bar", "other", "disc"]}))
    assert cli.main([*common, "classes=match"]) == 0
    assert "mAP50" in capsys.readouterr().out
    box = zoo.YOLO(saved).val(
        data=str(file), imgsz=64, batch=4, plots=False, device="cpu", classes="match", project=str(tmp_path)
    )
    assert box.names == {0: "Bar", 1: "other", 2: "disc"} and 1 not in box.box.ap_class_index
