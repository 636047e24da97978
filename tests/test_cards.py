"""Cards are what the generator would write, and the generator invents nothing."""

from __future__ import annotations

import csv

import pytest
import yaml

from tests.weights.conftest import put as put
from tests.weights.conftest import randomized
from tests.weights.conftest import shelf as shelf
from zoo import cards, errors, manifest, registry
from zoo.layers import BLOCKS


@pytest.mark.fast
@pytest.mark.parametrize("name", cards.names())
def test_the_card_in_the_repository_is_the_generated_one(name):
    assert cards.path(name).read_text(encoding="utf-8") == cards.render(name), "run `zoo card`"


@pytest.mark.fast
def test_there_is_a_card_for_everything_and_no_other():
    assert {card.stem for card in cards.path("any").parent.glob("*.md")} == set(cards.names())
    covered = {name.partition(".")[0] for name in cards.names()}
    assert covered == set(registry.names()) and set(manifest.entries()) <= set(cards.names())


@pytest.mark.fast
def test_every_block_has_a_paper():
    assert set(cards.PAPERS) == set(BLOCKS)


@pytest.mark.parametrize(
    "name", ["yolov8s_a2", "yolov8s_hat_stem", "yolov8s_hat_p345", "yolo11s_halo", "yolov8s_dattn"]
)
def test_the_drawing_puts_each_graft_between_its_layer_and_all_its_readers(name):
    card = cards.render(name)
    edges = [line.split() for line in card.splitlines() if "-->" in line or "==>" in line]
    for graft in registry.get_config(name).grafts:
        here = f"{graft.position}"
        assert [f"L{here}", "==>", f"G{here}"] in edges
        assert not any(edge[:2] == [f"L{here}", "-->"] for edge in edges)
        assert any(edge[:2] == [f"G{here}", "-->"] for edge in edges)


def test_the_metadata_says_what_the_manifest_says(put):
    put("yolov8n_dattn.one", randomized("yolov8n_dattn", num_classes=2))
    text = cards.render("yolov8n_dattn.one")
    data = yaml.safe_load(text.split("---")[1])
    (model,) = data["model-index"]
    found = {(r["dataset"]["split"], m["type"]): m["value"] for r in model["results"] for m in r["metrics"]}
    assert found == {("val", "mAP50"): 0.5, ("val", "mAP50-95"): 0.25}
    assert data["license"] == "agpl-3.0" and data["pipeline_tag"] == "object-detection"
    for fact in ("python train.py --seed 0", "`abc`", "class 0, class 1", "MIT", "320 pixels", "torch 2"):
        assert fact in text


def record(shelf, rows):
    fields = ["model", "seed", "status", "imgsz", "base_weights", "val_mAP50-95", "width"]
    with (shelf / "results" / "one.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([fields, *rows])


@pytest.mark.parametrize(
    ("gains", "words"),
    [
        ((), "not known"),
        ((0.1, 0.2), "too few seeds"),
        ((0.1, 0.1, 0.2), "The attention helped here."),
        ((0.1, -0.1, 0.2), "**The attention did not help measurably here.**"),
        ((-0.1, -0.1, -0.2), "**The attention did not help measurably here.**"),
    ],
)
def test_the_card_says_plainly_whether_attention_helped(shelf, put, gains, words):
    put("yolov8n_dattn.one", randomized("yolov8n_dattn", num_classes=2))
    rows = [("yolov8n_dattn", seed, "complete", 320, "", 0.5) for seed in [*range(max(len(gains), 1)), 7, 8, 9]]
    rows += [("yolov8n", seed, "complete", 320, "", 0.5 - gain) for seed, gain in enumerate(gains)]
    rows += [
        ("yolov8n", 9, "cut", 320, "", 0.9),
        ("yolov8n", 8, "complete", 640, "", 0.9),
        ("yolov8n", 7, "complete", 320, "yolov8n.pt", 0.9),
        ("yolov8s", 0, "complete", 320, "", 0.9),
        *(("yolov8n", seed, "complete", 320, "", 0.9, "0.29") for seed in range(4)),
    ]
    record(shelf, rows)
    assert words in cards.render("yolov8n_dattn.one")


def test_without_recorded_runs_the_card_claims_one_seed(shelf, put):
    put("yolov8n_dattn.one", randomized("yolov8n_dattn", num_classes=2))
    assert "of one seed" in cards.render("yolov8n_dattn.one")


def test_the_first_weights_of_a_model_replace_its_untrained_card(shelf, put):
    cards.write("yolov8n_dattn")
    put("yolov8n_dattn.one", randomized("yolov8n_dattn", num_classes=2))
    assert not cards.path("yolov8n_dattn").exists() and cards.path("yolov8n_dattn.one").exists()


def test_cards_of_nothing_are_refused(shelf, put):
    with pytest.raises(errors.UnknownModelError):
        cards.write("yolov9n")
    with pytest.raises(errors.NoWeightsError):
        cards.write("yolov8n_dattn.one")
    put("yolov8n_dattn.one", randomized("yolov8n_dattn", num_classes=2))
    with pytest.raises(errors.UnknownTagError):
        cards.write("yolov8n_dattn.two")


def test_the_card_of_a_users_own_model_claims_no_metrics():
    card = cards.render_model(registry.get_config("yolo11n_halo"), "hf-hub:me/mine")
    assert "hf-hub:me/mine" in card and "mAP" not in card and "model-index" not in card
