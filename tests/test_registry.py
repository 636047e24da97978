from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys

import pytest

import zoo
from zoo.registry import get_config, register

pytestmark = pytest.mark.fast

POSITIONS = {
    "yolov8n_hat": {21: "hat"},
    "yolov8n_hat_p345": {15: "hat", 18: "hat", 21: "hat"},
    "yolov8n_hat_stem": {"stem": "hat"},
    "yolov8n_a2": {2: "a2"},
    "yolo11n_halo": {8: "halo"},
    "yolov8n_dattn": {9: "dattn"},
}


@pytest.mark.parametrize(("name", "grafts"), POSITIONS.items())
def test_keys_of_published_weights_do_not_move(name: str, grafts: dict[int | str, str]) -> None:
    assert {graft.position: graft.block for graft in get_config(name).grafts} == grafts


@pytest.mark.parametrize("name", zoo.list_models())
def test_a_name_says_what_it_is(name: str) -> None:
    config = get_config(name)
    assert config.name == name and config.name.startswith(config.base_name)
    assert (config.base_name != name) == bool(config.grafts)
    assert get_config(config.base_name).grafts == ()
    assert {scale for scale in "nsmlx" if name.replace(config.base_name, config.base + scale) in zoo.list_models()} == {
        *"nsmlx"
    }


def test_list_models_filters_by_fnmatch() -> None:
    assert zoo.list_models("yolov8s_*") == [
        "yolov8s_a2",
        "yolov8s_dattn",
        "yolov8s_hat",
        "yolov8s_hat_backbone",
        "yolov8s_hat_p345",
        "yolov8s_hat_stem",
    ]
    assert zoo.list_models("no such") == []


def test_unknown_model_names_the_nearest() -> None:
    with pytest.raises(zoo.ZooError, match=r"yolov8n_datn.*yolov8n_dattn"):
        zoo.model_info("yolov8n_datn")


def test_configs_are_frozen_and_picklable() -> None:
    config = get_config("yolov8n_dattn")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.scale = "s"  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.grafts[0].options["heads"] = 1  # type: ignore[index]
    assert pickle.loads(pickle.dumps(config)) == config


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="yolov8n_dattn is registered twice"):
        register("yolov8", "_dattn")(lambda scale: ())


def test_import_zoo_imports_nothing_heavy() -> None:
    code = "import sys, zoo; zoo.list_models(); zoo.model_info('yolov8n'); print(*sys.modules)"
    modules = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not modules & {"torch", "timm", "ultralytics", "numpy"}
