"""Jobs, rows and rules of the pipeline; the whole path over real training in the slow tests."""

import csv
import json
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import zoo
from reproduce import measure, pipeline, plan
from reproduce.__main__ import parse
from reproduce.job import ROOT, load_recipe, recipes
from zoo.engine.sweep import Plan
from zoo.engine.trainer import ZooTrainer
from zoo.errors import DataError, OptionError
from zoo.files import sha256
from zoo.info import gflops


def job(*line, recipe="digits"):
    return parse([recipe, *line])[0]


def reproduce(*words, cwd):
    command = [sys.executable, "-m", "reproduce", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.fast
@pytest.mark.parametrize("name", recipes())
def test_every_recipe_has_what_a_run_needs_and_every_setting_exists(name):
    from ultralytics.cfg import DEFAULT_CFG_DICT

    recipe = load_recipe(name)
    assert recipe.train.keys() | recipe.pretrained.keys() | recipe.frozen.keys() <= DEFAULT_CFG_DICT.keys()
    assert {"epochs", "imgsz", "batch"} <= recipe.train.keys()
    assert {"name", "format", "license", "source", "expected"} <= recipe.dataset.keys()


@pytest.mark.fast
@pytest.mark.parametrize(
    "line",
    [
        "--model yolov8n --seed 3 --width 0.27 --epochs 5",
        "--model yolov8n+dattn(heads=4)@sppf+eca@p3,p4 --seed 1 --base-weights yolov8n.pt --freeze-base norm",
        "--model yolo11n --seed 0 --base-weights yolo11n.pt --freeze-base --set lr0=0.01 --set mosaic=0.5",
    ],
)
def test_the_command_repeats_the_job(line, tmp_path):
    asked = job(*line.split())
    words = shlex.split(asked.command)
    assert words[:4] == ["python", "-m", "reproduce", "digits"] and words[4:] == line.split()
    assert job(*words[4:]) == asked


@pytest.mark.fast
def test_a_regime_changes_the_settings_it_names_and_the_command_line_has_the_last_word():
    recipe = load_recipe("bccd")
    scratch, whole = job("--model", "x", recipe="bccd"), job("--model", "x", "--base-weights", "b.pt", recipe="bccd")
    frozen = job("--model", "x", "--base-weights", "b.pt", "--freeze-base", recipe="bccd")
    assert scratch.training() == recipe.train
    assert whole.training() == {**recipe.train, **recipe.pretrained}
    assert frozen.training() == {**recipe.train, **recipe.pretrained, **recipe.frozen}
    changed = job("--model", "x", "--base-weights", "b.pt", "--epochs", "3", "--set", "lr0=0.5", recipe="bccd")
    assert changed.training() == whole.training() | {"epochs": 3, "lr0": 0.5}
    assert len({each.directory for each in (scratch, whole, frozen, changed)}) == 4


@pytest.mark.fast
@pytest.mark.parametrize(
    "change", [["--epochs", "1"], ["--imgsz", "64"], ["--set", "lr0=1.0"], ["--width", "0.3"], ["--smoke"]]
)
def test_altered_runs_have_their_own_folder_and_are_never_shipped(tmp_path, change):
    line = ["--model", "yolov8n", "--runs", str(tmp_path), "--cache", str(tmp_path)]
    assert job(*line, recipe="bccd").follows_recipe
    assert job(*line, *change, recipe="bccd").directory != job(*line, recipe="bccd").directory
    with pytest.raises(OptionError, match="--ship"):
        pipeline.run(job(*line, *change, "--ship", recipe="bccd"))


@pytest.mark.fast
@pytest.mark.parametrize(
    ("recipe", "words", "message"),
    [
        ("neudet", ["--ship"], "licence"),
        ("digits", ["--freeze-base"], "needs --base-weights"),
        ("bccd", ["--download"], "--download is for coco and voc"),
        ("digits", ["--finish"], "no checkpoint to record"),
    ],
)
def test_what_cannot_be_is_refused(recipe, words, message, tmp_path):
    line = ["--model", "yolov8n", "--runs", str(tmp_path), "--cache", str(tmp_path), "--smoke", *words]
    line.remove("--smoke") if "--ship" in words else None
    with pytest.raises(OptionError, match=message):
        pipeline.run(job(*line, recipe=recipe))


@pytest.mark.fast
def test_rows_are_kept_by_many_at_once_and_replaced_by_the_same_run(tmp_path):
    path = tmp_path / "results" / "x.csv"
    run = dict.fromkeys(measure.IDENTITY, "") | {"model": "a,b", "seed": 0, "mAP": 0.1}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: measure.keep_row(path, run | {"seed": i}), range(16)))
    measure.keep_row(path, run | {"seed": 3, "mAP": 0.2})
    measure.keep_row(path, run | {"seed": 3, "mAP": 0.3, "freeze_base": "norm"})
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(int(row["seed"]) for row in rows) == sorted([*range(16), 3])
    assert {row["model"] for row in rows} == {"a,b"}
    assert {row["freeze_base"]: row["mAP"] for row in rows if row["mAP"] != "0.1"} == {"": "0.2", "norm": "0.3"}
    with pytest.raises(DataError, match="columns"):
        measure.keep_row(path, {"model": "a"})


@pytest.mark.fast
@pytest.mark.parametrize("name", [path.stem for path in (ROOT / "results").glob("*.csv") if path.stem in recipes()])
def test_tables_of_runs_have_the_columns_of_today(name):
    with (ROOT / "results" / f"{name}.csv").open(newline="") as file:
        assert set(measure.IDENTITY) <= set(csv.DictReader(file).fieldnames)


@pytest.mark.fast
def test_the_median_seed_ships_with_where_it_started_from(tmp_path, monkeypatch):
    base = tmp_path / "yolov8n.safetensors"
    base.write_bytes(b"1")
    line = ["--model", "yolov8n_dattn", "--base-weights", str(base), "--runs", str(tmp_path / "runs")]
    asked = job(*line, "--results", str(tmp_path / "results"), "--ship", recipe="bccd")
    with pytest.raises(OptionError, match=r"no run of .* is recorded"):
        pipeline.run(asked)
    common = {"model": "yolov8n_dattn", "imgsz": 320, "base_weights": measure.base(asked), "commit": "c"}
    common |= {"planned_epochs": asked.training()["epochs"], "versions": "{}", "val_mAP50": 0.9, "test_mAP50": ""}
    for seed, score, status in [(0, 0.3, "complete"), (1, 0.9, "complete"), (2, 0.5, "complete"), (3, 0.4, "cut")]:
        row = dict.fromkeys(measure.IDENTITY, "") | common | {"seed": seed, "val_mAP50-95": score, "status": status}
        measure.keep_row(tmp_path / "results" / "bccd.csv", row)
    with pytest.raises(OptionError, match="seed 2 is the median of 3"):
        pipeline.run(asked)
    (tmp_path / "runs" / "bccd" / "yolov8n_dattn-s2-pretrained" / "weights" / "zoo").mkdir(parents=True)
    shipped = {}
    monkeypatch.setattr(pipeline.repository, "add", lambda folder, name, facts: shipped.update(vars(facts), name=name))
    assert pipeline.run(asked)["seed"] == "2"
    assert shipped["name"] == "yolov8n_dattn.bccd" and shipped["metrics"] == {"val": {"mAP50": 0.9, "mAP50-95": 0.5}}
    assert shipped["started_from"] == measure.base(asked) and "--seed 2" in shipped["recipe"]
    monkeypatch.setattr(pipeline, "REBUILT", {sha256(base)})
    pipeline.run(asked)
    assert shipped["started_from"].startswith("Ultralytics' COCO weights as rebuilt from public int8 exports")


@pytest.mark.fast
def test_a_run_goes_on_from_the_base_weights_it_started_from(tmp_path):
    for name, content in (("one.pt", b"1"), ("two.pt", b"2")):
        (tmp_path / name).write_bytes(content)
    line = ["--model", "yolov8n", "--runs", str(tmp_path / "runs"), "--base-weights"]
    measure.note_origin(job(*line, str(tmp_path / "one.pt")))
    measure.note_origin(job(*line, str(tmp_path / "one.pt")))
    with pytest.raises(OptionError, match=r"started from one\.pt"):
        measure.note_origin(job(*line, str(tmp_path / "two.pt")))


@pytest.mark.fast
def test_records_are_kept_without_the_paths_of_this_machine(tmp_path):
    record = {"data": {"yaml": "/home/me/cells/data.yaml", "name": "cells"}, "settings": [{"project": "/home/me/runs"}]}
    (tmp_path / "run.json").write_text(json.dumps(record | {"seed": 3, "error": None}))
    measure.keep_record(tmp_path, tmp_path / "results")
    kept = json.loads((tmp_path / "results" / f"{tmp_path.name}.json").read_text())
    assert kept["data"] == {"yaml": "data.yaml", "name": "cells"} and kept["settings"] == [{"project": "runs"}]
    assert (kept["seed"], kept["error"]) == (3, None)


@pytest.mark.fast
def test_training_time_adds_up_over_resumed_runs():
    assert measure.training_seconds([10, 20, 31]) == 31
    assert measure.training_seconds([10, 20, 12, 25]) == 45


def test_bad_input_is_one_line_and_a_non_zero_code(tmp_path):
    done = reproduce("coco", "--model", "yolov8n", cwd=tmp_path)
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1].startswith("error: COCO2017 needs --data")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("freeze_base", [False, True, "norm"])
def test_what_a_training_changes(freeze_base):
    model = zoo.create("yolov8n_dattn")
    norms = sum(m.weight.numel() * 2 for m in model.model[:-1].modules() if isinstance(m, torch.nn.BatchNorm2d))
    alone = sum(p.numel() for part in (model.grafts, model.model[-1]) for p in part.parameters())
    expected = {False: sum(p.numel() for p in model.parameters()), True: alone, "norm": alone + norms}
    assert sum(p.numel() for p in plan.learning(model, freeze_base)) == expected[freeze_base]
    grafts = sum(p.numel() for p in model.grafts.parameters())
    assert sum(p.numel() for p in plan.learning(model, False, len(model.model))) == grafts


def test_a_dry_run_is_json_alone_and_leaves_nothing(tmp_path):
    done = reproduce("coco", "--model", "yolov8n_dattn", "--imgsz", "320", "--dry-run", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["images"] == {"train": 118287, "val": 5000} and said["steps"] == 925 * 500
    one, eight = said["h100"]
    assert 0 < one["hours"][0] < one["hours"][1] and eight["hours"][0] < one["hours"][0] < 8 * eight["hours"][1]
    assert eight["memory_gb_per_card"] < one["memory_gb_per_card"] and one["fits"]
    assert not list(tmp_path.iterdir())


def test_a_frozen_base_costs_less_time_and_memory():
    whole = plan.measure_step(job("--model", "yolov8n", "--base-weights", "b.pt"), 10, 320)
    frozen = plan.measure_step(job("--model", "yolov8n", "--base-weights", "b.pt", "--freeze-base"), 10, 320)
    for key in ("operations", "bytes", "state"):
        assert frozen[key] < 0.75 * whole[key], key
    forward = 1e9 * gflops(zoo.create("yolov8n", num_classes=10), 320)
    assert whole["operations"] == pytest.approx(3 * forward, rel=0.02)


@pytest.mark.slow
def test_the_whole_path(tmp_path, monkeypatch):
    """Train on a few scenes, record, do not repeat; a run that ended without a record is recorded, not trained."""
    monkeypatch.chdir(tmp_path)
    asked = job("--model", "yolov8n_dattn", "--smoke", "--imgsz", "64")
    row = pipeline.run(asked)
    directory = asked.directory
    assert row["status"] == "complete" and row["epochs"] == row["planned_epochs"] == 1
    assert list(json.loads(row["gamma_norms"])) == ["9"]
    assert 0 <= float(row["val_mAP50-95_without_grafts"]) <= 1
    assert row["val_mAP50-95"] == pytest.approx(row["val_ultralytics_mAP50-95"], abs=0.01)
    with (directory / "digits.csv").open(newline="") as file:
        assert [r["model"] for r in csv.DictReader(file)] == ["yolov8n_dattn"]
    written = (directory / "weights" / "best.pt").stat().st_mtime_ns
    assert pipeline.run(asked) == row

    config = (directory / "weights" / "zoo" / "config.json").read_text()
    shutil.rmtree(directory / "weights" / "zoo")
    (directory / "row.json").unlink()
    assert pipeline.run(asked) == row
    assert (directory / "weights" / "zoo" / "config.json").read_text() == config
    assert (directory / "weights" / "best.pt").stat().st_mtime_ns == written


@pytest.mark.slow
@pytest.mark.parametrize(("again", "epochs", "status"), [([], 3, "complete"), (["--finish"], 2, "cut")])
def test_an_interrupted_run_goes_on_or_is_recorded_as_it_is(again, epochs, status, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = ["--model", "yolov8n", "--smoke", "--imgsz", "64", "--epochs", "3"]
    save = ZooTrainer.save_model

    def interrupted(trainer):
        done = save(trainer)
        if trainer.epoch == 1:
            raise ConnectionResetError("pulled the plug")
        return done

    with monkeypatch.context() as patch:
        patch.setattr(ZooTrainer, "save_model", interrupted)
        with pytest.raises(ConnectionResetError):
            pipeline.run(job(*line))
    row = pipeline.run(job(*line, *again))
    assert (row["epochs"], row["status"]) == (epochs, status)
    with (job(*line).directory / "results.csv").open(newline="") as file:
        assert [int(r["epoch"]) for r in csv.DictReader(file)] == [1, 2, 3][:epochs]


@pytest.mark.fast
@pytest.mark.parametrize("file", sorted((ROOT / "reproduce" / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_plan_names_models_and_recipes_that_exist(file):
    sweep = Plan.read(file)
    for command in sweep.recipes.values():
        for model in sweep.models:
            words = shlex.split(command.format(model=model, seed=0, folder="runs", device="cpu"))
            asked, _ = parse(words[3:])
            assert asked.model == model and asked.training()["epochs"] > 0
