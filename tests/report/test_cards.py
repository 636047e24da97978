"""Cards are what the generator would write, and the generator invents nothing."""

from __future__ import annotations

import csv
import subprocess
import sys

import pytest
import yaml

from tests.weights.conftest import put as put
from tests.weights.conftest import randomized
from tests.weights.conftest import shelf as shelf
from zoo import errors, registry
from zoo.config import GraftConfig, ModelConfig
from zoo.layers.blocks import BLOCKS
from zoo.layers.mechanisms import MECHANISMS
from zoo.report import cards
from zoo.weights import manifest


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
def test_every_block_has_a_mechanism():
    assert set(MECHANISMS) == set(BLOCKS)


@pytest.mark.fast
def test_a_card_of_several_blocks_names_each_and_cites_each_paper_once():
    grafts = tuple(
        GraftConfig(position, block) for position, block in [(9, "cbam"), (4, "lcbam"), (6, "conv"), (8, "own")]
    )
    card = cards.render_model(ModelConfig("mine", "yolov8", "n", grafts), "local-dir:mine")
    assert "CBAM grafted on sppf (layer 9), " in card and "a convolution grafted on p4 (layer 6)" in card
    assert "`own`, a block of the author's own, grafted on layer 8 (C2f)" in card
    assert card.count("title = {CBAM: Convolutional Block Attention Module}") == 1 and card.count("@article") == 1


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


METRIC = "val_mAP50-95"


def record(shelf, model, scores, **more):
    """Add complete runs of a recipe, seeds from 0 on, to the rows of the tag `one`."""
    file = shelf / "results" / "one.csv"
    fields = ["model", "width", "seed", "status", "imgsz", "base_weights", METRIC, f"{METRIC}_without_grafts"]
    new = not file.exists()
    with file.open("a", newline="") as table:
        writer = csv.DictWriter(table, fields)
        if new:
            writer.writeheader()
        for seed, score in enumerate(scores):
            own = {key: value[seed] if isinstance(value, list) else value for key, value in more.items()}
            writer.writerow({"model": model, "seed": seed, "status": "complete", "imgsz": 320, METRIC: score} | own)


OWN = [0.51, 0.52, 0.53]


@pytest.mark.parametrize(
    ("base", "difference", "words"),
    [
        ([], None, "whether the attention helps is not known"),
        ([0.49], "+0.020, one seed", "One seed cannot say"),
        ([0.5, 0.509, 0.521], "+0.010 ± 0.002, better (3 seeds)", "the attention helped here"),
        ([0.52, 0.531, 0.539], "-0.010 ± 0.002, worse (3 seeds)", "the attention did harm here"),
        (
            [0.509, 0.51, 0.5],
            "+0.014 ± 0.037, no difference shown (3 seeds)",
            "made no difference that these seeds show",
        ),
    ],
)
def test_the_card_says_plainly_whether_attention_helped(shelf, put, base, difference, words):
    """The last one scores higher under 3 seeds of 3, but the interval of the difference holds zero."""
    put("yolov8n_dattn.one", randomized("yolov8n_dattn", num_classes=2))
    record(shelf, "yolov8n_dattn", OWN)
    record(shelf, "yolov8n", base)
    record(shelf, "yolov8s", [0.9] * 3)
    record(shelf, "yolov8n", [0.9] * 3, imgsz=640)
    record(shelf, "yolov8n", [0.9] * 3, base_weights="yolov8n.pt")
    record(shelf, "yolov8n", [0.9] * 3, status="cut")
    card = cards.render("yolov8n_dattn.one")
    assert "- yolov8n_dattn: 0.520 ± 0.025 (3 seeds)\n" in card and words in card
    assert "widened" not in card and "shut" not in card
    said = [line for line in card.splitlines() if line.startswith("- against")]
    assert said == ([f"- against the plain base (yolov8n), paired by seed: {difference}"] if difference else [])


def test_the_card_tells_of_the_widened_base_and_of_shut_gates(shelf, put):
    put("yolov8n_dattn.one", randomized("yolov8n_dattn", num_classes=2))
    record(shelf, "yolov8n_dattn", OWN, **{f"{METRIC}_without_grafts": [0.3, 0.32, 0.34]})
    record(shelf, "yolov8n", [0.5, 0.54, 0.52], width="0.27")
    card = cards.render("yolov8n_dattn.one")
    line = "(yolov8n, width 0.27), paired by seed: 0.000 ± 0.043, no difference shown (3 seeds)"
    assert f"- against the widened base {line}\n" in card
    assert "- trained, then with every gate shut: 0.320 ± 0.050 (3 seeds)\n" in card


def test_the_card_of_a_control_compares_nothing(shelf, put):
    put("yolov8n.one", randomized("yolov8n", num_classes=2))
    record(shelf, "yolov8n", [0.4])
    record(shelf, "yolov8n_dattn", OWN)
    card = cards.render("yolov8n.one")
    assert "- yolov8n: 0.400, one seed\n" in card and "attention helps" not in card and "against" not in card


def test_without_recorded_runs_the_card_claims_one_seed(shelf, put):
    put("yolov8n_dattn.one", randomized("yolov8n_dattn", num_classes=2))
    assert "of one seed" in cards.render("yolov8n_dattn.one")
    record(shelf, "yolov8n_dattn", [])
    assert "of one seed" in cards.render("yolov8n_dattn.one")


def test_the_first_weights_of_a_model_replace_its_untrained_card(shelf, put):
    cards.write("yolov8n_dattn")
    put("yolov8n_dattn.one", randomized("yolov8n_dattn", num_classes=2))
    assert not cards.path("yolov8n_dattn").exists() and cards.path("yolov8n_dattn.one").exists()


def test_the_card_of_an_architecture_is_that_of_each_of_its_tags(shelf, put):
    for tag in ("one", "two"):
        put(f"yolov8n_dattn.{tag}", randomized("yolov8n_dattn", num_classes=2))
    written = [cards.path(f"yolov8n_dattn.{tag}") for tag in ("one", "two")]
    assert cards.write("yolov8n_dattn") == written and all(card.is_file() for card in written)
    assert cards.write("yolov8n_dattn.two") == written[1:]


def test_cards_of_nothing_are_refused(shelf, put):
    with pytest.raises(errors.UnknownModelError, match="has no card"):
        cards.write("yolov8n+cbam@p3")
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


def test_a_training_imports_neither_the_page_nor_its_statistics():
    code = "import sys; from zoo.engine import trainer; print({'zoo.report.page', 'scipy.stats'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_cards_need_no_torch():
    code = (
        "import sys; from zoo.report import cards; cards.render('yolov8n_dattn.digits'); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
