from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys

import pytest

import zoo
from zoo.registry import get_config, register

pytestmark = pytest.mark.fast

FAMILIES = {
    "yolov8{}_hat": {21: "hat"},
    "yolov8{}_hat_p345": {15: "hat", 18: "hat", 21: "hat"},
    "yolov8{}_hat_stem": {"stem": "hat_stem"},
    "yolov8{}_a2": {2: "a2"},
    "yolo11{}_halo": {8: "halo"},
    "yolov8{}_dattn": {9: "dattn"},
    "yolov8{}": {},
    "yolo11{}": {},
}


@pytest.mark.parametrize("scale", "nsmlx")
@pytest.mark.parametrize(("pattern", "grafts"), FAMILIES.items())
def test_every_row_of_the_design_is_registered(pattern: str, grafts: dict[int | str, str], scale: str) -> None:
    config = get_config(pattern.format(scale))
    assert {graft.position: graft.block for graft in config.grafts} == grafts
    assert config.scale == scale
    assert config.num_classes == 80


def test_nothing_else_is_registered() -> None:
    assert len(zoo.list_models()) == len(FAMILIES) * 5


def test_list_models_filters_by_fnmatch() -> None:
    assert zoo.list_models("yolov8s_*") == [
        "yolov8s_a2",
        "yolov8s_dattn",
        "yolov8s_hat",
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
