"""Adapters on the Hub: pushed without their base, and over it bit-equal to the model that was trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import zoo
from tests.weights.hub.client import fingerprint
from tests.weights.hub.conftest import ClientError, randomized
from zoo.files import sha256
from zoo.weights import manifest
from zoo.weights.tensors import write_tensors


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """Weights of a plain base, as somebody may have them."""
    file = tmp_path_factory.mktemp("base") / "yolov8n.safetensors"
    write_tensors(randomized("yolov8n").state_dict(), file)
    return file


@pytest.fixture
def model(base) -> torch.nn.Module:
    """Trained over the base, which stayed as it was."""
    torch.manual_seed(1)
    model = zoo.create("yolov8n_a2", base_weights=base, num_classes=2)
    model.names = {0: "cat", 1: "dog"}
    head = model.model[-1]
    for parameter in (*model.grafts.parameters(), *head.parameters()):
        parameter.data = (parameter + 0.1 * torch.rand_like(parameter)).half().float()
    return model


@pytest.mark.parametrize("way", ["push_to_hub", "zoo push"])
def test_pushed_and_loaded_over_its_base_by_a_new_process_is_bit_equal(
    way, hub, client, new_client, model, base, tmp_path
):
    adapter = zoo.save(model, tmp_path / "adapter", adapter=True)
    if way == "zoo push":
        assert client("command", "push", f"local-dir:{adapter}", "org/cats") == 0
    else:
        client("push_saved", str(zoo.save(model, tmp_path / "whole")), "org/cats", adapter=True)
    [sent] = [tree for _, tree in hub.commits["org/cats"] if tree]
    assert set(sent) == {"model.safetensors", "config.json", "README.md"}
    assert sent["model.safetensors"] == (adapter / "model.safetensors").read_bytes()
    card = sent["README.md"].decode()
    assert 'zoo.create("hf-hub:org/cats", base_weights="yolov8n.pt")' in card and "Classes: cat, dog." in card
    assert f"sha256 {sha256(base)}" in card and str(tmp_path) not in card

    other = new_client()
    assert other("create", "hf-hub:org/cats", base_weights=str(base)) == fingerprint(model)
    with pytest.raises(ClientError, match=f"is an adapter.*of sha256 {sha256(base)}"):
        other("create", "hf-hub:org/cats")


def test_a_shipped_adapter_is_served_by_the_hub_and_its_card_names_the_base(
    hub, client, new_client, shelf, put, model, base
):
    file = put("yolov8n_a2.pets", model, base)
    oid = client("push", "yolov8n_a2.pets", "org/pets")
    entry = manifest.entries()["yolov8n_a2.pets"]
    assert entry.base_tensors and entry.sources == (
        "repo:weights/yolov8n_a2.pets.safetensors",
        f"hf:org/pets@{oid}",
    )
    card = hub.commits["org/pets"][-1][1]["README.md"].decode()
    for code in (
        'zoo.create("yolov8n_a2.pets", pretrained=True, base_weights="yolov8n.pt")',
        'zoo.create("hf-hub:org/pets", base_weights="yolov8n.pt")',
        'pretrained=True, base_weights="yolov8n.pt")',
    ):
        assert code in card, code
    assert entry.base_tensors in card and "zoo predict" not in card
    file.unlink()
    other = new_client()
    other("use", str(shelf))
    expected = fingerprint(model)
    assert other("create", "yolov8n_a2", pretrained=True, base_weights=str(base)) == expected
    assert other("create", "hf-hub:org/pets", base_weights=str(base)) == expected
