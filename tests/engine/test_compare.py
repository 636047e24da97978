"""A comparison says what it would cost, trains every model alike, goes on when it is killed, and judges what ended."""

from __future__ import annotations

import copy
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from rich.console import Console

import zoo
from tests.engine.conftest import write_data
from tests.report.test_runs import WHOLE
from zoo import cli, registry
from zoo.engine import compare, entrants, estimate, jobs
from zoo.engine.lock import FolderLock
from zoo.engine.progress import Progress
from zoo.errors import DataError, OptionError, SourceError, SweepError, ZooError
from zoo.report import runs

MODELS = ["yolov8n", "yolov8n_dattn"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(estimate, "seconds_per_image", lambda *_: (3.6, 1.8))
    monkeypatch.setattr(estimate, "milliseconds", lambda models, *_: {name: 10.0 for name in models})


def plan(data, tmp_path, models=MODELS, **options):
    return zoo.compare(
        models, data, project=tmp_path / "cmp", dry_run=True, **{"epochs": 2, "imgsz": 64} | options
    ).plan


@pytest.mark.fast
def test_a_plan_says_what_it_would_cost_and_runs_nothing(data, tmp_path):
    found = plan(data, tmp_path, seeds=3, cpus=1, gpus=0)
    assert [(job.model, job.seed) for job in found.jobs[:3]] == [("yolov8n", 0), ("yolov8n_dattn", 0), ("yolov8n", 1)]
    assert len(found.jobs) == 6 and found.images == {"train": 4, "val": 4}
    # 6 trainings of 2 epochs of 4 images of 3.6 s and 4 of 1.8 s
    assert found.hours * 3600 * found.at_once == pytest.approx(6 * 2 * 4 * 5.4)
    assert found.bytes >= 3 * 6 * sum(entrant.parameters for entrant in found.entrants)
    assert "6 jobs (2 models, seeds 0, 1, 2) of 2 epochs at 64 px on 4 train, 4 val images" in found.text
    assert not (tmp_path / "cmp").exists()
    words = found.jobs[1].words
    assert {"patience=0", "epochs=2", "seed=0", "device=cpu"} <= set(words), "no early stopping by validation"
    assert words[1:5] == ["-m", "zoo", "train", "yolov8n_dattn"]


@pytest.mark.fast
def test_the_same_call_has_the_same_folder_and_other_settings_another(data, tmp_path):
    first = plan(data, tmp_path)
    assert plan(data, tmp_path, [*MODELS, "yolov8n+eca@p3"], seeds=5).folder == first.folder, "to which jobs are added"
    for changes in ({"epochs": 3}, {"imgsz": 96}, {"lr0": 0.1}, {"freeze_base": True}):
        assert plan(data, tmp_path, **changes).folder != first.folder


@pytest.mark.fast
def test_data_that_changed_are_kept_apart_and_said(tmp_path):
    file = write_data(tmp_path / "mine")
    first = plan(file, tmp_path)
    first.folder.mkdir(parents=True)
    (file.parent / "labels" / "train" / "0.txt").write_text("0 .5 .5 .2 .2\n")
    second = plan(file, tmp_path)
    assert second.folder != first.folder
    [note] = second.notes
    assert first.folder.name in note and "not mixed" in note


@pytest.mark.fast
@pytest.mark.parametrize(
    ("models", "options", "error", "message"),
    [
        (["yolov8n"], {}, OptionError, "two models at least"),
        (["yolov8n", "yolov8n"], {}, OptionError, "two models at least"),
        (["yolov8n", "yolov8n_datn"], {}, ZooError, "yolov8n_dattn"),
        (["yolov8n", "yolov8n_dattn.bccd"], {}, OptionError, "give its architecture, yolov8n_dattn,"),
        (["yolov8n", "local-dir:x"], {}, OptionError, "base_weights"),
        (MODELS, {"seeds": 0}, OptionError, "seeds=0 must be how many"),
        (MODELS, {"seeds": ["a"]}, OptionError, "list of whole numbers"),
        (MODELS, {"seeds": True}, OptionError, "seeds=True"),
        (MODELS, {"patience": 5}, OptionError, "patience cannot be set: every model is trained alike"),
        (MODELS, {"pretrained": "x.pt"}, OptionError, "Start from weights with base_weights"),
        (MODELS, {"epoch": 5}, OptionError, "unknown setting 'epoch'"),
        (MODELS, {"base_weights": "absent.pt"}, SourceError, r"absent\.pt"),
        (MODELS, {"base_weights": 5}, OptionError, "base_weights=5 must be a file, a folder or True"),
        (MODELS, {"device": 0}, OptionError, "device cannot be set.*with cpus and gpus"),
        (MODELS, {"imgsz": [48, 64]}, OptionError, r"imgsz=\[48, 64\] must be one whole number"),
        (MODELS, {"cpus": 0}, OptionError, "cpus=0 must be a whole number of at least 1"),
        (MODELS, {"cpus": "two"}, OptionError, "cpus='two' must be"),
        (MODELS, {"gpus": 1.5}, OptionError, r"gpus=1\.5 must be a whole number, or a share"),
        (MODELS, {"gpus": 99}, OptionError, r"gpus=99: PyTorch sees \d+ CUDA devices"),
    ],
)
def test_bad_input(models, options, error, message, data, tmp_path):
    with pytest.raises(error, match=message):
        plan(data, tmp_path, models, **options)


@pytest.mark.fast
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_folder_without_images_is_named(split, tmp_path):
    file = write_data(tmp_path / "mine")
    for image in (file.parent / "images" / split).iterdir():
        image.unlink()
    with pytest.raises(DataError, match=f"there is no image in .*/images/{split}, the place of '{split}'"):
        plan(file, tmp_path)


@pytest.mark.fast
def test_one_file_of_weights_does_not_start_two_bases(data, tmp_path):
    file = tmp_path / "yolov8n.pt"
    torch.save(zoo.create("yolov8n").state_dict(), file)
    with pytest.raises(OptionError, match="of one base, and the models are of yolov8n and yolo11n"):
        plan(data, tmp_path, ["yolov8n", "yolo11n_halo"], base_weights=file)
    found = plan(data, tmp_path, ["yolov8n", "yolov8n_dattn"], base_weights=file, size_control=True)
    assert {each.base_weights for each in found.entrants} == {file}
    assert [note for note in found.notes if note.startswith("yolov8s is left out")]
    assert f"pretrained={file}" in found.jobs[0].words
    trained = zoo.create("yolov8n", base_weights=file, num_classes=3)
    assert found.entrants[0].parameters == entrants.size(trained), "the class branch stays as wide as in the weights"
    folder = plan(data, tmp_path, base_weights=tmp_path)
    assert {each.base_weights for each in folder.entrants} == {file}


@pytest.mark.fast
@pytest.mark.parametrize("name", ["yolov8n_dattn", "yolov8n_hat_p345", "yolo11n+se@p3,p4"])
def test_controls_of_size_spend_the_same_parameters_at_the_same_places(name):
    notes = []
    control, own, conv, larger = entrants.configs([registry.get_config(name).base_name, name], True, notes)
    assert [graft.position for graft in conv.grafts] == [graft.position for graft in own.grafts]
    assert {graft.block for graft in conv.grafts} == {"conv"} and not larger.grafts and larger.scale == "s"
    sizes = [entrants.size(zoo.create(each.name)) for each in (control, own, conv)]
    assert 0.9 <= (sizes[2] - sizes[0]) / (sizes[1] - sizes[0]) <= 1 and not notes


@pytest.mark.fast
def test_a_block_smaller_than_any_convolution_has_no_control_of_its_size():
    notes = []
    assert [each.name for each in entrants.configs(["yolov8n", "yolov8n+eca@p3"], True, notes)] == [
        "yolov8n",
        "yolov8n+eca@p3",
        "yolov8s",
    ]
    assert "no convolution has as few parameters as eca" in notes[0]


def pretend(job: jobs.Job, score: float | None, status: str = "ended", **changes) -> None:
    """Leave what a training of the job would leave."""
    record = copy.deepcopy(WHOLE) | {"model": job.model, "seed": job.seed, "status": status, "grafts": []} | changes
    record["metrics"]["val"] |= {"mAP50-95": score}
    job.run.mkdir(parents=True)
    (job.run / runs.RECORD).write_text(json.dumps(record))
    if status == "ended":
        (job.folder / jobs.ROW).write_text(json.dumps({"status": "complete"}))


def failed(jobs_, **_):
    return {job.folder: job.finished() or {"status": "failed", "error": "exit code 1: broken"} for job in jobs_}


def test_a_verdict_is_paired_by_seed_to_the_first_model(data, tmp_path):
    planned = plan(data, tmp_path, seeds=3)
    for job in planned.jobs:
        pretend(job, 0.5 + 0.1 * job.seed + (0.02 + 0.001 * job.seed) * (job.model != "yolov8n"))
    verdict = compare.run(planned, images=False)
    assert verdict.comparison.control == "yolov8n" and not verdict.failed
    [said] = verdict.comparison.verdicts
    assert said.startswith("yolov8n_dattn is better than yolov8n: +0.021")
    assert "better than yolov8n" in verdict.page.read_text()


def test_what_a_test_split_says_counts(data, tmp_path):
    planned = plan(data, tmp_path, seeds=2)
    for job in planned.jobs:
        metrics = {split: copy.deepcopy(WHOLE["metrics"]["val"]) for split in ("val", "test")}
        metrics["test"]["mAP50-95"] = 0.3 + 0.1 * job.seed
        pretend(job, 0.5, metrics=metrics)
    assert compare.run(planned, images=False).comparison.split == "test"


def test_a_failed_job_stops_nothing_and_is_named(data, tmp_path, monkeypatch):
    planned = plan(data, tmp_path, seeds=2)
    for job in planned.jobs[:3]:
        pretend(job, 0.5)
    monkeypatch.setattr(jobs, "execute", failed)
    verdict = compare.run(planned, images=False)
    assert "1 of 4 jobs failed" in verdict.failed and "yolov8n_dattn-s1: exit code 1: broken" in verdict.failed
    assert "One seed cannot say" in verdict.comparison.verdicts[0]


@pytest.mark.parametrize("status", ["failed", "cut", "running"])
def test_without_its_control_nothing_is_compared(status, data, tmp_path, monkeypatch):
    planned = plan(data, tmp_path, seeds=1)
    pretend(planned.jobs[0], 0.5, status)
    pretend(planned.jobs[1], 0.5)
    monkeypatch.setattr(jobs, "execute", failed)
    with pytest.raises(SweepError, match="no training of the control yolov8n ended"):
        compare.run(planned, images=False)


def test_no_common_seed_and_no_score_are_said(data, tmp_path, monkeypatch):
    planned = plan(data, tmp_path, seeds=2)
    pretend(planned.jobs[0], 0.5)  # the control under seed 0
    pretend(planned.jobs[3], 0.5)  # the other under seed 1
    monkeypatch.setattr(jobs, "execute", failed)
    notes = compare.run(planned, images=False).comparison.notes
    assert any("share no seed: they are not compared" in note for note in notes)
    pretend(planned.jobs[1], None)
    assert any("it has no mAP50-95" in note for note in compare.judge(planned, images=False).comparison.notes)


@pytest.mark.fast
def test_the_live_table_says_how_far_each_job_is(data, tmp_path):
    planned = plan(data, tmp_path, seeds=2, epochs=4)
    ended, runs_on, broken, _ = planned.jobs
    entry = WHOLE["history"][0] | {"mAP50-95": 0.321, "seconds": 60.0}
    pretend(ended, 0.5)
    pretend(runs_on, None, "running", history=[entry], epochs={"planned": 4, "done": 1})
    rows = {ended.folder: {"status": "complete"}, broken.folder: {"status": "failed", "error": "why"}}
    console = Console(record=True, width=100, file=io.StringIO())
    with Progress(planned.jobs, rows, 4) as progress:
        console.print(progress.table())
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert lines[1].startswith("yolov8n 0 2/4") and lines[1].endswith("ended")
    assert lines[2] == "yolov8n_dattn 0 1/4 0.321 3 min"
    assert lines[3] == "yolov8n 1 failed" and lines[4] == "yolov8n_dattn 1 waits"


@pytest.mark.fast
def test_a_second_comparison_in_one_folder_is_refused(data, tmp_path):
    made = plan(data, tmp_path)
    refused = pytest.raises(OptionError, match=f"process {os.getpid()} .* runs its jobs")
    with FolderLock(made.folder, "runs its jobs"), refused:
        compare.run(made)


@pytest.mark.fast
def test_a_full_disk_is_said_before_the_first_job(data, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("usage", "free")(1000))
    monkeypatch.setattr(jobs, "execute", lambda *_, **__: pytest.fail("a job started"))
    with pytest.raises(OptionError, match=r"the jobs need 0\.\d GB and .* has 0\.0 GB left.*project=PATH"):
        compare.run(plan(data, tmp_path))


@pytest.mark.fast
def test_the_command_takes_names_with_options_and_settings_in_any_order(data, tmp_path, capsys):
    words = ["yolov8n", f"data={data}", "yolov8n+dattn(heads=4)@sppf", "epochs=2", "imgsz=64", "dry_run=True"]
    assert cli.main(["compare", *words, f"project={tmp_path}", "seeds=[3, 5]"]) == 0
    said = capsys.readouterr().out
    assert "yolov8n (control)" in said and "yolov8n+dattn(heads=4)@sppf" in said and "seeds 3, 5" in said
    assert cli.main(["compare", *words, "pretrained=absent.pt"]) == 1
    assert "absent.pt" in capsys.readouterr().err, "it starts from the weights, as zoo train would"
    assert cli.main(["compare", *words, "cpus=two"]) == 1
    assert "cpus='two' must be a whole number" in capsys.readouterr().err
    assert cli.main(["compare", "yolov8n", "yolov8n_dattn"]) == 1
    assert "data=FILE.yaml is missing" in capsys.readouterr().err


@pytest.mark.slow
def test_a_comparison_that_is_killed_twice_goes_on_to_its_page(settings, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    file = write_data(tmp_path / "shapes")
    own = {key: value for key, value in settings.items() if key not in {"data", "project", "name", "device", "plots"}}
    command = [sys.executable, "-m", "zoo", "compare", "yolov8n", "yolov8n+eca@p3,p4,p5", f"data={file}", "seeds=2"]
    command += [f"project={tmp_path / 'cmp'}", *(f"{key}={value}" for key, value in (own | {"epochs": 20}).items())]
    command += ["gpus=0", "images=False"]
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        environment = os.environ | {"RAY_TMPDIR": folder, "RAY_worker_niceness": "0"}
        moments = {
            signal.SIGKILL: lambda: list(tmp_path.rglob("last.pt")),  # an epoch is recorded before it is saved
            signal.SIGINT: lambda: list(tmp_path.rglob(jobs.ROW)),
        }
        for kill, reached in moments.items():
            with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
                while running.poll() is None and not reached():
                    time.sleep(0.2)
                running.send_signal(kill)
                said = running.communicate(timeout=120)[1]
            assert running.returncode == (130 if kill == signal.SIGINT else -9)
            if kill == signal.SIGINT:
                assert "the same command goes on" in said
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "against the control" in done.stdout and Path(done.stdout.splitlines()[-1]).is_file()
    records = [runs.load(place.parent) for place in tmp_path.rglob(runs.RECORD)]
    assert [run.epochs["done"] for run in records] == [20] * 4 and any(run.resumed for run in records)
    for run in records:
        assert [entry["epoch"] for entry in run.history] == list(range(1, 21))
