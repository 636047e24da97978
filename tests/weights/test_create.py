"""`zoo.create`: from names, files and folders to models with the right tensors in them."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ultralytics.nn.tasks import DetectionModel

import zoo
from tests.weights.conftest import randomized, same
from zoo import errors
from zoo.files import sha256
from zoo.weights import find
from zoo.weights.tensors import load_into, read_tensors, write_tensors

STOCK_TENSORS = {"yolov8n": 355, "yolo11n": 499}


@pytest.mark.fast
def test_pretrained_loads_the_tag_and_the_default_is_the_first(put):
    first, second = randomized("yolov8n_dattn", num_classes=3), randomized("yolov8n_dattn", num_classes=2)
    put("yolov8n_dattn.one", first)
    put("yolov8n_dattn.two", second)
    model = zoo.create("yolov8n_dattn", pretrained=True)
    assert same(model, first)
    assert model.names == {0: "class 0", 1: "class 1", 2: "class 2"}
    assert model.config.imgsz == 320
    assert same(zoo.create("yolov8n_dattn.two", pretrained=True), second)


def test_a_tag_without_pretrained_gives_its_classes_and_random_tensors(put):
    trained = randomized("yolov8n_dattn", num_classes=3)
    put("yolov8n_dattn.one", trained)
    model = zoo.create("yolov8n_dattn.one")
    assert model.config.num_classes == 3 and model.names[2] == "class 2"
    assert not same(model, trained)


def test_another_number_of_classes_keeps_all_but_the_logits_and_says_so(put, caplog):
    trained = randomized("yolov8n_dattn", num_classes=3)
    put("yolov8n_dattn.one", trained)
    with caplog.at_level(logging.INFO, "zoo"):
        model = zoo.create("yolov8n_dattn", pretrained=True, num_classes=5)
    assert model.config.num_classes == 5
    (line,) = [record.getMessage() for record in caplog.records if "freshly initialised" in record.getMessage()]
    fresh = {f"model.22.cv3.{level}.2.{kind}" for level in range(3) for kind in ("weight", "bias")}
    assert all(key in line for key in fresh)
    mine, theirs = model.state_dict(), trained.state_dict()
    assert {key for key in theirs if not torch.equal(mine[key], theirs[key])} == fresh


@pytest.mark.parametrize("wrong", [0, -1, 2.5, "4", True, 10**9])
def test_impossible_numbers_of_classes(wrong):
    with pytest.raises(errors.ConfigError, match="num_classes must be an integer"):
        zoo.create("yolov8n", num_classes=wrong)


def test_unknown_tag_and_missing_weights_list_what_there_is(put):
    put("yolov8n_dattn.one", randomized("yolov8n_dattn", num_classes=3))
    with pytest.raises(errors.UnknownTagError, match=r"'two'.*Its tags: one"):
        zoo.create("yolov8n_dattn.two", pretrained=True)
    with pytest.raises(errors.UnknownTagError, match="Its tags: one"):
        zoo.create("yolov8n_dattn.two")
    with pytest.raises(errors.NoWeightsError, match=r"yolov8n_a2 .*yolov8n_dattn\.one"):
        zoo.create("yolov8n_a2", pretrained=True)


def test_the_chosen_folder_comes_before_the_checkout(put, tmp_path, monkeypatch):
    file = put("yolov8n.one", randomized("yolov8n", num_classes=1))
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    file.rename(chosen / file.name)
    with pytest.raises(errors.SourceError, match=r"no file at .*Weights on this machine: none"):
        zoo.create("yolov8n", pretrained=True)
    monkeypatch.setenv("ZOO_WEIGHTS_DIR", str(chosen))
    assert zoo.create("yolov8n", pretrained=True).config.num_classes == 1
    assert find.resolve("yolov8n") == chosen / file.name


def test_a_damaged_chosen_file_is_passed_over_and_left_alone(put, tmp_path, monkeypatch):
    file = put("yolov8n.one", randomized("yolov8n", num_classes=1))
    wrong = b"\0" * file.stat().st_size
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    (chosen / file.name).write_bytes(wrong)
    monkeypatch.setenv("ZOO_WEIGHTS_DIR", str(chosen))
    assert zoo.create("yolov8n", pretrained=True).config.num_classes == 1
    assert (chosen / file.name).read_bytes() == wrong


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:-1], "bytes, not"),
        (lambda data: data[:1000] + bytes([data[1000] ^ 1]) + data[1001:], "has sha256"),
    ],
)
def test_a_file_that_differs_from_the_manifest_is_never_loaded(put, damage, words):
    file = put("yolov8n.one", randomized("yolov8n", num_classes=1))
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(errors.IntegrityError, match=f"{words}.*was not loaded"):
        zoo.create("yolov8n", pretrained=True)
    assert file.exists()


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("yolov8n_dattn", "checkpoint"),
        ("yolov8n_dattn", "state dict"),
        ("yolov8n_dattn", "safetensors"),
        ("yolo11n_halo", "checkpoint"),
    ],
)
def test_base_weights_land_whole_under_fresh_grafts(tmp_path, monkeypatch, name, form):
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "cache"))
    base_name = name.partition("_")[0]
    stock = DetectionModel(f"{base_name}.yaml", verbose=False)
    stock.names = {i: f"thing {i}" for i in range(80)}
    file = tmp_path / (f"{base_name}.safetensors" if form == "safetensors" else f"{base_name}.pt")
    if form == "checkpoint":
        torch.save({"model": stock, "ema": None, "epoch": -1}, file)
    elif form == "state dict":
        torch.save(stock.state_dict(), file)
    else:
        write_tensors(stock.state_dict(), file, half=False)
    for _ in range(2):  # the second time from the conversion in the cache
        model = zoo.create(name, base_weights=file)
        landed = {key for key, tensor in model.state_dict().items() if key.startswith("model.")}
        assert len(landed) == STOCK_TENSORS[base_name]
        assert all(torch.equal(model.state_dict()[key], stock.state_dict()[key]) for key in landed)
        assert all(not graft.gamma.any() for graft in model.grafts.values())
        if form == "checkpoint":
            assert model.names[79] == "thing 79"
    zoo.save(model, tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["base_sha256"] == sha256(file)


def test_a_base_of_another_scale_is_refused_with_every_name(tmp_path):
    file = tmp_path / "small.safetensors"
    small = DetectionModel("yolov8s.yaml", verbose=False).state_dict()
    write_tensors(small, file)
    with pytest.raises(errors.StateDictError, match="nothing was loaded") as caught:
        zoo.create("yolov8n_dattn", base_weights=file)
    nano = DetectionModel("yolov8n.yaml", verbose=False).state_dict()
    body = [key for key in nano if not key.startswith("model.22.")]
    assert all(f"{key} (" in str(caught.value) for key in body if nano[key].shape != small[key].shape)


def test_base_weights_exclude_trained_ones():
    for name, options in [("yolov8n", {"pretrained": True}), ("yolov8n.one", {})]:
        with pytest.raises(errors.OptionError, match="base_weights go under fresh grafts"):
            zoo.create(name, base_weights="yolov8n.pt", **options)


def test_official_base_weights_are_found_nearby_and_not_fetched_offline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("zoo.OFFLINE", True)
    monkeypatch.setitem(__import__("ultralytics").utils.SETTINGS, "weights_dir", str(tmp_path / "ultralytics"))
    with pytest.raises(errors.SourceError, match="offline"):
        zoo.create("yolov8n", base_weights=True)
    with pytest.raises(errors.SourceError, match="publishes none of this name"):
        zoo.create("yolov8n", base_weights="mine.pt")
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "cache"))
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    torch.save(DetectionModel("yolov8n.yaml", verbose=False).state_dict(), chosen / "yolov8n.pt")
    monkeypatch.setenv("ZOO_WEIGHTS_DIR", str(chosen))
    assert zoo.create("yolov8n", base_weights=True).config.base_sha256 == sha256(chosen / "yolov8n.pt")


def test_base_weights_download_only_when_named_and_absent(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("zoo.OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setitem(__import__("ultralytics").utils.SETTINGS, "weights_dir", str(tmp_path / "ultralytics"))
    asked = []

    def refuse(file):
        asked.append(Path(file))
        raise ConnectionError("no route")

    monkeypatch.setattr("zoo.weights.checkpoint.attempt_download_asset", refuse)
    with pytest.raises(errors.SourceError, match="the download failed: no route"):
        zoo.create("yolov8n_dattn", base_weights=True)
    assert asked == [tmp_path / "ultralytics" / "yolov8n.pt"]


@pytest.mark.fast
def test_saved_and_loaded_again_is_bit_equal(tmp_path):
    model = randomized("yolov8n_hat", num_classes=2)
    model.names = {0: "cat", 1: "dog"}
    zoo.save(model, tmp_path / "run")
    loaded = zoo.create(f"local-dir:{tmp_path / 'run'}")
    assert same(model, loaded) and loaded.names == model.names
    image = torch.rand(1, 3, 64, 96)
    assert torch.equal(model(image)[0], loaded(image)[0])


def test_a_config_rebuilds_a_model_that_no_registry_knows(tmp_path):
    model = randomized("yolov8n_dattn", num_classes=2)
    grafts = (*model.config.grafts, zoo.config.GraftConfig(4, "a2", {"c_m": 8, "c_n": 8}))
    from zoo.detector import build

    own = build(replace(model.config, name="my own", grafts=grafts))
    zoo.save(own, tmp_path)
    assert zoo.create(f"local-dir:{tmp_path}").config == own.config


def test_values_beyond_fp16_survive_a_save(tmp_path):
    model = randomized("yolov8n", num_classes=1)
    with torch.no_grad():
        model.model[0].bn.running_var.fill_(1e6)
    zoo.save(model, tmp_path)
    assert same(model, zoo.create(f"local-dir:{tmp_path}"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux memory counters")
def test_loading_holds_no_second_copy(tmp_path):
    def private() -> int:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
        return int(line.split()[1]) * 1024

    model = torch.nn.ModuleList(torch.nn.Linear(1024, 1024) for _ in range(32))
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    write_tensors(model.state_dict(), tmp_path / "large.safetensors")
    before = private()
    tensors = read_tensors(tmp_path / "large.safetensors")
    load_into(model, tensors)
    assert private() - before < 0.2 * size
    assert torch.equal(model[31].weight, tensors["31.weight"].float())
