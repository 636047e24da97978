"""What is shipped is what the manifest says: of the real manifest, and of one that was tampered with."""

from __future__ import annotations

import json

import pytest
import torch

import zoo
from tests.weights.conftest import randomized
from zoo import errors
from zoo.publish import repository
from zoo.report import cards
from zoo.weights import manifest


@pytest.mark.parametrize("name", manifest.entries())
def test_every_shipped_entry_holds(name):
    (verdict,) = repository.verify([name])
    assert verdict.failures == ()


def tamper(shelf, name, **fields):
    file = shelf / "weights_manifest.json"
    data = json.loads(file.read_text())
    data["weights"][name].update(fields)
    file.write_text(json.dumps(data))


@pytest.fixture
def shipped_one(put):
    return put("yolov8n_dattn.one", randomized("yolov8n_dattn", num_classes=3))


def test_ship_leaves_file_entry_and_card_that_verify(shelf, shipped_one):
    assert repository.verify() == [repository.Verdict("yolov8n_dattn.one", ())]
    assert repository.verify(["yolov8n_dattn"]) == repository.verify()
    assert (shelf / "cards" / "yolov8n_dattn.one.md").is_file()


def test_verify_names_what_is_wrong(shelf, shipped_one):
    def failures():
        (verdict,) = repository.verify()
        return " ".join(verdict.failures)

    card = cards.path("yolov8n_dattn.one")
    card.write_text(card.read_text().replace("0.500", "0.900"))
    assert "is not what would be generated" in failures()
    card.unlink()
    assert "no card at" in failures()
    cards.write("yolov8n_dattn.one")
    before = json.loads((shelf / "weights_manifest.json").read_text())["weights"]["yolov8n_dattn.one"]
    tamper(shelf, "yolov8n_dattn.one", known_answer=[value + 1 for value in before["known_answer"]])
    assert "30 of 30 numbers of the output differ" in failures()
    tamper(shelf, "yolov8n_dattn.one", known_answer=[])
    assert "no known answer" in failures()
    tamper(shelf, "yolov8n_dattn.one", num_classes=4, class_names=list("abcd"))
    assert "wrong shape: model.22.cv3.0.2.bias (3,) for (4,)" in failures()
    tamper(shelf, "yolov8n_dattn.one", sha256="0" * 64)
    assert "has sha256" in failures()
    shipped_one.unlink()
    assert "no file at" in failures()


def test_the_known_answer_sees_the_graft():
    model = randomized("yolov8n_dattn", num_classes=3)
    with torch.no_grad():
        model.grafts["9"].gamma.fill_(3)  # layers of random weights damp what passes through them
    answer = repository.known_answer(model)
    assert answer == repository.known_answer(model)
    with torch.no_grad():
        model.grafts["9"].gamma.zero_()
    assert max(abs(a - b) for a, b in zip(answer, repository.known_answer(model), strict=True)) > 0.02


def test_shipping_nonsense_leaves_the_repository_as_it_was(shelf, put):
    before = {path: path.read_bytes() for path in shelf.rglob("*") if path.is_file()}
    with pytest.raises(errors.ManifestError, match="named"):
        put("yolov8n_dattn", randomized("yolov8n_dattn", num_classes=1))
    assert {path: path.read_bytes() for path in shelf.rglob("*") if path.is_file()} == before
    with pytest.raises(errors.NoWeightsError):
        zoo.create("yolov8n_dattn", pretrained=True)
