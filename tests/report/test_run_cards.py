"""The card of a fine-tuned model says what its record says, as the Hub's own classes read it."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.utils import validate_repo_id

from tests.report.build import full, write
from zoo.registry import get_config
from zoo.report import cards, facts

pytestmark = pytest.mark.fast

CONFIG = get_config("yolov8n_dattn").with_classes(2, ("cat", "dog|er"))
PARENT = {"source": "/home/me/secret/yolov8n.pt", "sha256": "1" * 64, "kind": "base"}


@pytest.fixture
def run():
    settings = {"batch": 16, "lr0": 0.01, "project": "/home/me/secret"}
    [found] = full("yolov8n_dattn", [0.5], parent=PARENT, settings=settings)
    return replace(found, data={**found.data, "name": "my data", "yaml": "/home/me/secret/my data.yaml"}, commit="abc")


def test_the_front_matter_is_valid_by_the_hubs_own_classes(run):
    text = cards.render_run(CONFIG, run, "hf-hub:me/mine", picture=True)
    data = ModelCard(text).data
    assert data.datasets == ["my-data"] and data.base_model == "Ultralytics/YOLOv8"
    assert data.license == "agpl-3.0" and data.pipeline_tag == "object-detection" and data.model_name == "yolov8n_dattn"
    for each in (*data.datasets, data.base_model):
        validate_repo_id(each)
    assert {(found.metric_type, found.metric_value, found.dataset_split) for found in data.eval_results} == {
        ("mAP50-95", 0.5, "val"),
        ("mAP50", 0.7, "val"),
    }
    assert data.eval_results[0].dataset_name == "my data" and data.eval_results[0].dataset_type == "my-data"


def test_everything_of_the_record_is_there_but_the_paths_of_the_machine(run):
    text = cards.render_run(CONFIG, run, "hf-hub:me/mine", picture=True)
    for fact in (
        "my data (20 train, 10 val images), fingerprint `" + "f" * 64,
        "Started from: yolov8n.pt (sha256 " + "1" * 64,
        "train yolov8n_dattn 'data=my data.yaml' epochs=5 imgsz=320 pretrained=yolov8n.pt batch=16 lr0=0.01 seed=0",
        "Epochs: 5 of 5",
        "3,000,000, 3,000,000 of them trained",
        "Gates: layer 9: 0.5",
        "1.00 hours on a machine",
        "20.0 images a second",
        "torch 2.6",
        "Commit of the zoo: abc",
        "2026-01-01",
        "| all | 0.500 | 0.700 | 0.250 | 0.500 |  |",
        "| cat | 0.600 | 0.500 |",
        "![Predictions on validation images](predictions.jpg)",
        "only a comparison can say",
        "pip install",
    ):
        assert fact in text, fact
    assert "/home/me" not in text
    assert "predictions.jpg" not in cards.render_run(CONFIG, run, "hf-hub:me/mine")


def test_a_file_that_is_not_of_the_last_epoch_claims_its_own_metrics(run):
    reached = zip(run.history, [0.1, 0.3, 0.5, 0.4, 0.2], strict=True)
    history = [{**epoch, "mAP50-95": value, "mAP50": value + 0.01} for epoch, value in reached]
    text = cards.render_run(CONFIG, replace(run, history=history), "hf-hub:me/mine")
    assert "This file is of epoch 3, the best by validation" in text and "| val | mAP50-95 | 0.500 |" in text
    assert "of the averaged weights of the last epoch" in text
    assert {found.metric_value for found in ModelCard(text).data.eval_results} == {0.5, 0.51}


def test_masks_and_keypoints_may_choose_another_epoch_than_the_boxes(run):
    reached = zip(run.history, [0.1, 0.3, 0.5, 0.4, 0.2], strict=True)
    history = [{**epoch, "mAP50-95": value} for epoch, value in reached]
    text = cards.render_run(CONFIG, replace(run, history=history, epochs={**run.epochs, "best": 4}), "x")
    assert "This file is of epoch 4, the best by validation" in text and "| val | mAP50-95 | 0.400 |" in text


@pytest.mark.parametrize(
    ("source", "loaded", "words"),
    [
        ("/a/yolov8n.pt", "yolov8n_dattn", ["yolov8n_dattn", "pretrained=yolov8n.pt"]),
        ("/a/best.pt", "yolov8n_dattn", ["yolov8n_dattn", "pretrained=best.pt"]),
        ("/a/best.pt", "/a/best.pt", ["best.pt"]),
        ("yolov8n_dattn.coco", "yolov8n_dattn", ["yolov8n_dattn.coco"]),
        ("hf-hub:org/repo@main", "hf-hub:org/repo@main", ["hf-hub:org/repo@main"]),
        ("local-dir:/a/b c", "local-dir:/a/b c", ["local-dir:b c"]),
    ],
)
def test_a_command_names_its_weights_where_zoo_train_takes_them(run, source, loaded, words):
    started = replace(run, parent={**PARENT, "source": source}, settings={"model": loaded})
    said = shlex.split(facts.command(started))
    assert [word for word in said[2:] if not word.startswith(("data", "epochs", "imgsz", "seed"))] == words


def test_from_scratch_there_is_no_base_model_and_from_the_hub_it_is_that_repository(run):
    assert ModelCard(cards.render_run(CONFIG, replace(run, parent=None), "x")).data.base_model is None
    parent = {"source": "hf-hub:org/zoo@main", "sha256": "2" * 64, "kind": "zoo"}
    assert ModelCard(cards.render_run(CONFIG, replace(run, parent=parent), "x")).data.base_model == "org/zoo"


def test_a_name_cannot_break_the_table(run):
    per_class = {"a|b<script>": {"mAP50-95": 0.5, "mAP50": 0.5}}
    scores = {"val": {**run.metrics["val"], "per_class": per_class}}
    assert r"| a\|b&lt;script> | 0.500 |" in cards.render_run(CONFIG, replace(run, metrics=scores), "x")


def test_a_folder_of_a_run_has_its_card_and_any_other_claims_nothing(run, tmp_path):
    folder = write(run, tmp_path / "run") / "weights" / "zoo"
    folder.mkdir(parents=True)
    assert "Gates: layer 9" in cards.render_folder(CONFIG, folder, "x")
    (folder / cards.PICTURE).write_bytes(b"")
    assert cards.PICTURE in cards.render_folder(CONFIG, folder, "x")
    alone = tmp_path / "alone" / "weights" / "zoo"
    alone.mkdir(parents=True)
    assert cards.render_folder(CONFIG, alone, "x") == cards.render_model(CONFIG, "x")
    assert "mAP" not in cards.render_model(CONFIG, "x")
    assert cards.render_folder(CONFIG, Path("/model"), "x") == cards.render_model(CONFIG, "x")


def test_the_card_without_weights_says_how_to_start_and_what_its_family_showed():
    text = cards.render("yolov8x_hat")
    assert text.count("No trained weights") == 1
    assert "zoo train yolov8x_hat pretrained=yolov8x.pt data=my.yaml" in text
    assert "zoo compare yolov8x yolov8x_hat data=my.yaml seeds=3" in text
    assert re.search(r"- yolov8n_hat on digits, .*: 0\.\d+ .* against the plain base \(yolov8n\)", text)
    assert re.search(r"A training of yolov8n_hat on .* took .* hours on .*; this model has \d+\.\d times its", text)
    assert "Not timed at this scale. `yolov8n_hat` takes" in text and "+ gamma * hat" in text
    assert "yolov8n_hat_p345" not in text, "another family"


def test_a_command_trains_what_was_trained(run):
    frozen = replace(run, freeze_base="norm", parent=None, settings={"optimizer": "SGD"})
    assert facts.command(frozen) == (
        "zoo train yolov8n_dattn 'data=my data.yaml' epochs=5 imgsz=320 freeze_base=norm optimizer=SGD seed=0"
    )
