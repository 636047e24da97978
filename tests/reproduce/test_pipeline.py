"""Jobs, rows and rules of the pipeline; the whole path over real training in the slow test."""

import csv
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reproduce import pipeline
from reproduce.pipeline import ROOT, append_row, load_recipe, parse
from zoo.engine.trainer import ZooTrainer
from zoo.errors import DataError, OptionError

RECIPES = sorted(path.stem for path in (ROOT / "reproduce" / "recipes").glob("*.yaml"))


@pytest.mark.fast
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_a_script_and_every_training_argument_exists(name):
    from ultralytics.cfg import DEFAULT_CFG_DICT

    recipe = load_recipe(name)
    assert (ROOT / "reproduce" / f"{name}.py").is_file()
    assert recipe["train"].keys() <= DEFAULT_CFG_DICT.keys()
    assert {"epochs", "imgsz", "batch"} <= recipe["train"].keys()
    assert {"name", "format", "license", "source"} <= recipe["dataset"].keys()


@pytest.mark.fast
def test_the_command_repeats_the_job():
    line = ["--model", "yolov8n", "--seed", "3", "--width", "0.27", "--epochs", "5", "--base-weights", "yolov8n.pt"]
    job = parse("digits", line)
    assert job.command == "python reproduce/digits.py " + " ".join(line)
    assert parse("digits", job.command.split()[2:]) == job


@pytest.mark.fast
@pytest.mark.parametrize(
    "change", [["--epochs", "1"], ["--imgsz", "64"], ["--base-weights", "x.pt"], ["--width", "0.3"], ["--smoke"]]
)
def test_altered_runs_have_their_own_folder_and_are_never_shipped(tmp_path, change):
    line = ["--model", "yolov8n", "--runs", str(tmp_path), "--cache", str(tmp_path)]
    assert parse("digits", line).follows_recipe
    assert parse("digits", line + change).directory != parse("digits", line).directory
    with pytest.raises(OptionError, match="--ship"):
        pipeline.run(parse("digits", [*line, *change, "--ship"]))


@pytest.mark.fast
def test_weights_of_unlicensed_data_are_never_shipped():
    with pytest.raises(OptionError, match="licence"):
        pipeline.run(parse("neudet", ["--model", "yolov8n", "--ship"]))


@pytest.mark.fast
def test_rows_are_appended_by_many_at_once_and_replaced_by_the_same_run(tmp_path):
    path = tmp_path / "results" / "x.csv"
    run = {"model": "a,b", "seed": 0, "epochs": 1, "imgsz": 64, "base_weights": "", "width": "", "mAP": 0.1}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: append_row(path, run | {"seed": i}), range(16)))
    append_row(path, run | {"seed": 3, "mAP": 0.2})
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(int(row["seed"]) for row in rows) == list(range(16))
    assert {row["model"] for row in rows} == {"a,b"}
    assert {row["seed"]: row["mAP"] for row in rows if row["mAP"] != "0.1"} == {"3": "0.2"}
    with pytest.raises(DataError, match="columns"):
        append_row(path, {"model": "a"})


@pytest.mark.fast
def test_training_time_adds_up_over_resumed_runs():
    assert pipeline.training_seconds([10, 20, 31]) == 31
    assert pipeline.training_seconds([10, 20, 12, 25]) == 45


def script(name: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "reproduce" / f"{name}.py"), *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_bad_input_is_one_line_and_a_non_zero_code(tmp_path):
    done = script("coco", "--model", "yolov8n", cwd=tmp_path)
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1].startswith("error: COCO2017 needs --data")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_whole_path(tmp_path, monkeypatch):
    """Train on a few scenes, record, do not repeat; finish a run that was not recorded; refuse to run over it."""
    monkeypatch.chdir(tmp_path)
    line = ["--model", "yolov8n_dattn", "--smoke", "--imgsz", "64"]
    row = pipeline.run(parse("digits", line))
    directory = parse("digits", line).directory
    assert row["status"] == "cut" and row["epochs"] == 1
    assert list(json.loads(row["gamma_norms"])) == ["9"]
    assert 0 <= float(row["val_mAP50-95_without_grafts"]) <= 1
    assert row["val_mAP50-95"] == pytest.approx(row["val_ultralytics_mAP50-95"], abs=0.01)
    with (directory / "digits.csv").open(newline="") as file:
        assert [r["model"] for r in csv.DictReader(file)] == ["yolov8n_dattn"]
    written = (directory / "weights" / "best.pt").stat().st_mtime_ns
    assert pipeline.run(parse("digits", line)) == row
    assert (directory / "weights" / "best.pt").stat().st_mtime_ns == written

    config = (directory / "weights" / "zoo" / "config.json").read_text()
    shutil.rmtree(directory / "weights" / "zoo")
    (directory / "row.json").unlink()
    with pytest.raises(OptionError, match=r"--resume or --finish"):
        pipeline.run(parse("digits", line))
    assert pipeline.run(parse("digits", [*line, "--finish"])) == row
    assert (directory / "weights" / "zoo" / "config.json").read_text() == config


@pytest.mark.slow
def test_an_interrupted_run_goes_on(tmp_path, monkeypatch):
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
            pipeline.run(parse("digits", line))
    row = pipeline.run(parse("digits", [*line, "--resume"]))
    assert row["epochs"] == 3
    with (parse("digits", line).directory / "results.csv").open(newline="") as file:
        assert [int(r["epoch"]) for r in csv.DictReader(file)] == [1, 2, 3]


@pytest.mark.slow
def test_a_dry_run_prints_the_plan_and_leaves_nothing(tmp_path):
    done = script("digits", "--model", "yolov8n", "--smoke", "--imgsz", "64", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for word in ("seconds_per_step", "hours_of_training_steps", "images", '"epochs": 1'):
        assert word in done.stdout
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["datasets"]
