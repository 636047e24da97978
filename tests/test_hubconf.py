"""`torch.hub` on the checkout, through its own public functions."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import hubconf
import zoo

ROOT = Path(__file__).parents[1]


@pytest.mark.fast
def test_hub_lists_every_name_and_nothing_else(monkeypatch):
    monkeypatch.setattr(torch.hub, "_get_cache_or_reload", lambda *args, **kwargs: str(ROOT))
    assert sorted(torch.hub.list("org/repo")) == sorted(zoo.list_models() + zoo.list_models(pretrained=True))


@pytest.mark.fast
def test_every_entry_point_creates_its_own_model(monkeypatch):
    monkeypatch.setattr(zoo, "create", lambda name, **options: (name, options))
    for name in zoo.list_models():
        assert torch.hub.load(str(ROOT), name, source="local", pretrained=True) == (name, {"pretrained": True})


def test_hub_builds_a_model_with_another_head():
    model = torch.hub.load(str(ROOT), "yolo11n_halo", source="local", num_classes=3)
    assert (model.config.name, model.config.num_classes) == ("yolo11n_halo", 3)


@pytest.mark.parametrize("name", zoo.list_models(pretrained=True))
def test_hub_loads_the_weights_that_create_loads(name):
    by_hub = torch.hub.load(str(ROOT), name, source="local", pretrained=True).state_dict()
    by_zoo = zoo.create(name, pretrained=True).state_dict()
    assert by_hub.keys() == by_zoo.keys()
    assert all(torch.equal(by_hub[key], by_zoo[key]) for key in by_zoo)


def test_unknown_name_is_refused():
    with pytest.raises(RuntimeError, match="Cannot find callable yolov8n_nope"):
        torch.hub.load(str(ROOT), "yolov8n_nope", source="local")


IMPORTED_AS = {"pyyaml": "yaml", "pillow": "PIL", "faster-coco-eval": "faster_coco_eval"}


def test_dependencies_are_what_building_any_block_imports():
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [re.split("[<>=]", requirement)[0] for requirement in project["dependencies"]]
    code = """
import sys, zoo
from zoo.layers.blocks import BLOCKS, build
zoo.create(zoo.list_pretrained()[0], pretrained=True)
for block in BLOCKS:
    build(block, 64, {})
print(*sys.modules)
"""
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    modules = {IMPORTED_AS.get(name, name) for name in declared}
    assert set(hubconf.dependencies) == modules & set(loaded)
