"""`run.json` is read whole or refused with the file and the key; folders without one are read as far as they go."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import DataError, ZooError
from zoo.report import runs
from zoo.report.runs import RECORD, TRAINING
from zoo.report.schema import check

pytestmark = pytest.mark.fast

SCORES = {"mAP50-95": 0.5, "mAP50": 0.8, "small": None, "medium": 0.4, "large": 0.6}
WHOLE = {
    "schema": 1,
    "status": "ended",
    "error": None,
    "model": "yolov8n_dattn",
    "base": "yolov8n",
    "task": "detect",
    "grafts": [{"position": 9, "place": "sppf", "block": "dattn", "options": {"heads": 4}, "parameters": 1000}],
    "parameters": 3_200_000,
    "parameters_trained": 3_200_000,
    "gflops": 8.1,
    "parent": {"source": "yolov8n.pt", "sha256": "0" * 64, "kind": "base"},
    "data": {"name": "data", "yaml": "/d/data.yaml", "fingerprint": "f" * 64}
    | {"images": {"train": 4, "val": 4}, "class_names": ["a", "b"]},
    "settings": {"lr0": 0.01, "optimizer": "SGD", "project": "x"},
    "freeze_base": False,
    "seed": 0,
    "imgsz": 64,
    "width": None,
    "epochs": {"planned": 2, "done": 2},
    "resumed": 0,
    "metrics": {"val": {**SCORES, "per_class": {"a": {"mAP50-95": 0.5, "mAP50": 0.8}}}},
    "history": [{"epoch": 1, "mAP50-95": 0.4, "mAP50": 0.7, "loss": 3.0, "gates": {"9": 0.0}, "seconds": 1.5}],
    "gates": {"9": 0.01},
    "images_per_second": 12.0,
    "seconds": 3.0,
    "machine": "a processor",
    "versions": {"torch": "2.6"},
    "commit": None,
    "started": "2026-01-01T00:00:00+00:00",
    "ended": "2026-01-01T00:01:00+00:00",
}


def write(folder: Path, **changes) -> Path:
    folder.mkdir(parents=True)
    (folder / RECORD).write_text(json.dumps(WHOLE | changes))
    return folder


def test_what_is_written_is_read_again(tmp_path):
    run = runs.load(write(tmp_path / "run"))
    assert run.record and {key: getattr(run, key) for key in WHOLE if key != "schema"} == {
        key: value for key, value in WHOLE.items() if key != "schema"
    }


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: r.pop("seed"), "lacks seed"),
        (lambda r: r.update(more=1), "unknown 'more'"),
        (lambda r: r.update(schema=2), "schema 2, not 1"),
        (lambda r: r.update(status="done"), "status must be one of"),
        (lambda r: r.update(seed=True), "seed must be int, found True"),
        (lambda r: r.update(grafts=[{}]), r"grafts\[0\] lacks position"),
        (lambda r: r["metrics"].update(test={}), "metrics: test lacks mAP50-95"),
        (lambda r: r.update(parent="yolov8n.pt"), "parent must be an object"),
        (lambda r: r["epochs"].update(done=3), "3 of 2 epochs are done"),
        (lambda r: r["epochs"].update(best="2"), "epochs: best must be int"),
        (lambda r: r["data"].update(class_names="ab"), "class_names must be a list"),
    ],
)
def test_a_malformed_record_is_refused_by_its_key(spoil, message, tmp_path):
    record = copy.deepcopy(WHOLE)
    spoil(record)
    with pytest.raises(DataError, match=message) as caught:
        check(record, tmp_path / RECORD)
    assert str(tmp_path / RECORD) in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.sampled_from(sorted(WHOLE)), json_values)
def test_any_value_in_any_place_is_read_or_a_zoo_error(key, value):
    try:
        check(WHOLE | {key: value}, Path("run.json"))
    except ZooError as error:
        assert "run.json" in str(error)


@given(json_values)
def test_any_json_is_no_crash(value):
    with pytest.raises(ZooError):
        check(value, Path("run.json"))


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"model": "yolov8n"},
        {"width": 0.3},
        {"parent": None},
        {"imgsz": 96},
        {"freeze_base": "norm"},
        {"epochs": {"planned": 3, "done": 2}},
        {"data": WHOLE["data"] | {"fingerprint": "e" * 64}},
        {"settings": WHOLE["settings"] | {"lr0": 0.1}},
        {"settings": WHOLE["settings"] | {"classes": [0]}},
        {"settings": WHOLE["settings"] | {"distill_model": "teacher.pt"}},
        {"settings": WHOLE["settings"] | {"time": 1.0}},
    ],
)
def test_runs_that_differ_in_anything_that_matters_stand_side_by_side(changes, tmp_path):
    one, other = runs.load(write(tmp_path / "a")), runs.load(write(tmp_path / "b", **changes))
    assert one.identity != other.identity


def test_data_sets_are_the_same_when_their_fingerprints_are(tmp_path):
    here, there = (write(tmp_path / name, seed=len(name)) for name in ("a", "bb"))
    moved = WHOLE["data"] | {"name": "other", "yaml": "/elsewhere/other.yaml"}
    third = write(tmp_path / "ccc", seed=3, data=moved)
    assert len({runs.load(folder).conditions for folder in (here, there, third)}) == 1


def test_a_folder_of_stock_ultralytics_counts_a_repeated_epoch_once_as_it_was_last(tmp_path):
    settings = {"data": "/d/my.yaml", "model": "yolov8n.pt", "seed": 3, "imgsz": 320, "epochs": 3}
    (tmp_path / "args.yaml").write_text(yaml.safe_dump(settings))
    lines = ["epoch,metrics/mAP50(B),metrics/mAP50-95(B)", "1,.2,.1", "2,.9,.8", "2,.4,.3", "3,.3,.2"]
    (tmp_path / "results.csv").write_text("\n".join(lines))
    run = runs.load(tmp_path)
    assert runs.data_name("/d/bccd.v3/data.yaml") == "bccd.v3" and runs.data_name("data.yaml") == "data"
    assert not run.record and run.data["name"] == "my" and run.data_key == "/d/my.yaml" and run.epochs["done"] == 3
    assert run.metrics["val"]["mAP50-95"] == 0.3 and [entry["epoch"] for entry in run.history] == [1, 2, 3]


def test_training_settings_are_ultralytics_own():
    from ultralytics.cfg import DEFAULT_CFG_DICT

    assert set(TRAINING) <= set(DEFAULT_CFG_DICT)
