"""Adapters: a trained model minus its base, and back, bit for bit; several over one base."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import zoo
from tests.weights.conftest import same
from zoo import errors
from zoo.weights.adapters import shared_layers
from zoo.weights.tensors import write_tensors


def as_trained(name: str, base: Path, classes: int, *, norm: bool = False, seed: int = 0) -> nn.Module:
    """What `freeze_base` leaves: grafts, head and, with `norm`, batch norms moved; the rest is the base's."""
    torch.manual_seed(seed)
    model = zoo.create(name, base_weights=base, num_classes=classes)
    model.names = {i: f"class {i} of {seed}" for i in range(classes)}
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            own = key.startswith(("grafts.", f"model.{len(model.model) - 1}."))
            if tensor.is_floating_point() and (own or (norm and ".bn." in key)):
                tensor.copy_((tensor + 0.1 * torch.rand_like(tensor)).half())
    return model


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, Path]:
    """Single-precision weights of plain bases, values that half precision cannot hold among them."""
    folder = tmp_path_factory.mktemp("bases")
    for name in ("yolov8n", "yolo11n"):
        torch.manual_seed(1)
        model = zoo.create(name)
        with torch.no_grad():
            for key, tensor in model.state_dict().items():
                if key.endswith(("running_mean", "bn.weight")):
                    tensor.copy_(torch.rand_like(tensor) + 0.3)
        write_tensors(model.state_dict(), folder / f"{name}.safetensors", half=False)
    return {file.stem: file for file in folder.iterdir()}


@pytest.fixture
def base(bases) -> Path:
    return bases["yolov8n"]


@pytest.mark.parametrize(
    ("name", "norm"), [("yolov8n_dattn", False), ("yolov8n_hat_stem", True), ("yolo11n_halo", True), ("yolov8n", False)]
)
def test_over_its_base_an_adapter_is_the_model_that_was_saved_whole(name, norm, bases, tmp_path):
    base = bases[name.partition("_")[0]]
    model = as_trained(name, base, 3, norm=norm)
    zoo.save(model, tmp_path / "whole")
    zoo.save(model, tmp_path / "adapter", adapter="norm" if norm else True)
    whole = zoo.create(f"local-dir:{tmp_path / 'whole'}")
    rebuilt = zoo.create(f"local-dir:{tmp_path / 'adapter'}", base_weights=base)
    assert same(whole, rebuilt)
    assert rebuilt.config == whole.config and rebuilt.names == model.names
    image = torch.rand(1, 3, 64, 96)
    assert torch.equal(rebuilt(image)[0], whole(image)[0])
    sizes = [(tmp_path / kind / "model.safetensors").stat().st_size for kind in ("adapter", "whole")]
    assert sizes[0] < 0.5 * sizes[1]


def test_another_base_is_refused(base, bases, tmp_path):
    zoo.save(as_trained("yolov8n_dattn", base, 3), tmp_path / "adapter", adapter=True)
    name = f"local-dir:{tmp_path / 'adapter'}"
    other = zoo.create("yolov8n", base_weights=base)
    with torch.no_grad():
        other.model[2].cv1.conv.weight[0, 0] += 0.01
    write_tensors(other.state_dict(), tmp_path / "nearly.safetensors", half=False)
    with pytest.raises(errors.IntegrityError, match="another base: the tensors it needs have the fingerprint"):
        zoo.create(name, base_weights=tmp_path / "nearly.safetensors")
    with pytest.raises(errors.IntegrityError, match="another base: the one given has no"):
        zoo.create(name, base_weights=bases["yolo11n"])


def test_a_base_with_another_head_and_half_precision_is_the_same_base(base, tmp_path):
    model = as_trained("yolov8n_dattn", base, 3)
    zoo.save(model, tmp_path / "adapter", adapter=True)
    relative = zoo.create("yolov8n", base_weights=base, num_classes=7)
    write_tensors(relative.state_dict(), tmp_path / "relative.safetensors", half=True)
    rebuilt = zoo.create(f"local-dir:{tmp_path / 'adapter'}", base_weights=tmp_path / "relative.safetensors")
    assert same(rebuilt, zoo.create(f"local-dir:{tmp_path / 'adapter'}", base_weights=base))


def test_an_adapter_alone_and_a_whole_model_with_a_base_are_explained(base, tmp_path):
    model = as_trained("yolov8n_dattn", base, 3)
    zoo.save(model, tmp_path / "adapter", adapter=True)
    with pytest.raises(errors.OptionError, match=r"is an adapter.*base_weights=PATH, the yolov8n that it was"):
        zoo.create(f"local-dir:{tmp_path / 'adapter'}")
    zoo.save(model, tmp_path / "whole")
    with pytest.raises(errors.OptionError, match="is a whole model"):
        zoo.create(f"local-dir:{tmp_path / 'whole'}", base_weights=base)
    with pytest.raises(errors.OptionError, match="is a whole model"):
        zoo.Adapters(base, {"a": tmp_path / "whole"})
    with pytest.raises(errors.OptionError, match="must be True, False or 'norm'"):
        zoo.save(model, tmp_path / "odd", adapter="norms")


@pytest.mark.parametrize("fingerprint", ["", "0" * 63, 3, ["0" * 64], True])
def test_a_fingerprint_that_is_none_is_refused(fingerprint, base, tmp_path):
    zoo.save(as_trained("yolov8n_dattn", base, 3), tmp_path, adapter=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "adapter": fingerprint}))
    with pytest.raises(errors.ConfigError, match="adapter must be the 64 hex digits"):
        zoo.create(f"local-dir:{tmp_path}", base_weights=base)


@pytest.fixture
def folders(base, tmp_path) -> dict[str, Path]:
    """Three domains: two of one family, one whose batch norms moved, too."""
    plans = {
        "cells": ("yolov8n_dattn", 3, False),
        "digits": ("yolov8n_dattn", 10, False),
        "boards": ("yolov8n", 6, True),
    }
    for seed, (domain, (name, classes, norm)) in enumerate(plans.items()):
        model = as_trained(name, base, classes, norm=norm, seed=seed)
        zoo.save(model, tmp_path / domain, adapter="norm" if norm else True)
    return {domain: tmp_path / domain for domain in plans}


def test_each_adapter_in_use_answers_as_the_model_alone(base, folders):
    adapters = zoo.Adapters(base, folders)
    image = torch.rand(2, 3, 64, 96)
    with pytest.raises(errors.OptionError, match=r"no adapter is in use.*cells, digits, boards"):
        adapters(image)
    for domain, folder in folders.items():
        alone = zoo.create(f"local-dir:{folder}", base_weights=base)
        assert adapters.use(domain).names == alone.names
        assert torch.equal(adapters(image)[0], alone(image)[0])
    with pytest.raises(errors.OptionError, match=r"no adapter is called 'cell'. Did you mean cells"):
        adapters.use("cell")


def test_another_adapter_under_the_name_in_use_is_in_use(base, folders):
    adapters = zoo.Adapters(base, folders)
    adapters.use("cells")
    model = adapters.add("cells", folders["digits"])
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(adapters(image)[0], model(image)[0])


def test_the_base_is_in_memory_once(base, folders):
    adapters = zoo.Adapters(base, folders)
    first, second, moved = (adapters.use(domain) for domain in folders)
    for index in range(len(first.model) - 1):
        pairs = zip(first.model[index].state_dict().values(), second.model[index].state_dict().values(), strict=True)
        assert all(mine.data_ptr() == theirs.data_ptr() for mine, theirs in pairs), index
    assert first.model[0].conv.weight is moved.model[0].conv.weight
    assert first.model[0].bn.weight is not moved.model[0].bn.weight


def test_one_batch_through_several_is_each_of_them_and_shares_what_comes_before_the_graft(base, folders):
    adapters = zoo.Adapters(base, folders)
    image = torch.rand(2, 3, 64, 96)
    calls = []
    for domain in folders:
        adapters.use(domain).model[3].register_forward_hook(lambda *_, domain=domain: calls.append(domain))
    both = adapters.run(image, ["cells", "digits"])
    assert calls == ["cells"]
    everyone = adapters.run(image)
    assert calls == ["cells", *folders]  # the base's batch norms differ from those of one: nothing is shared
    for domain in folders:
        adapters.use(domain)
        assert torch.equal(everyone[domain][0], adapters(image)[0])
        if domain in both:
            assert torch.equal(both[domain][0], everyone[domain][0])
    assert adapters.run(image, []) == {}


@pytest.mark.parametrize(
    ("name", "shared"), [("yolov8n_dattn", 10), ("yolov8n_a2", 3), ("yolov8n_hat_stem", 0), ("yolov8n", 22)]
)
def test_layers_are_shared_up_to_the_first_graft(name, shared, base, tmp_path):
    for seed in (0, 1):
        zoo.save(as_trained(name, base, 3, seed=seed), tmp_path / str(seed), adapter=True)
    adapters = zoo.Adapters(base, {str(seed): tmp_path / str(seed) for seed in (0, 1)})
    models = [adapters.use(domain) for domain in ("0", "1")]
    assert shared_layers(models) == shared
    image = torch.rand(1, 3, 64, 64)
    assert all(torch.equal(adapters.run(image)[d][0], model(image)[0]) for d, model in zip("01", models, strict=True))


def test_switching_is_choosing_an_object(base, folders):
    import time

    adapters = zoo.Adapters(base, folders)
    start = time.perf_counter()
    for _ in range(100):
        adapters.use("cells")
        adapters.use("digits")
    assert (time.perf_counter() - start) / 200 < 0.005


def test_what_cannot_be_saved_is_said(tmp_path):
    with pytest.raises(errors.OptionError, match="not a Conv2d"):
        zoo.save(nn.Conv2d(1, 1, 1), tmp_path / "a")
    with pytest.raises(errors.OptionError, match=r"not a YOLO; pass its \.model"):
        zoo.save(zoo.YOLO("yolov8n"), tmp_path / "a")
    with pytest.raises(errors.StateDictError, match=r"was fused.*before model\.fuse"):
        zoo.save(zoo.create("yolov8n").fuse(verbose=False), tmp_path / "a")
    assert not (tmp_path / "a").exists()
