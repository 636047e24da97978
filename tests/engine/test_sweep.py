"""A plan becomes one row a job, whatever happens to some of them."""

from __future__ import annotations

import csv
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

import zoo
from zoo import cli
from zoo.engine.jobs import Job
from zoo.engine.lock import FolderLock
from zoo.engine.sweep import Plan, run
from zoo.errors import OptionError, SweepError, ZooError
from zoo.report import page
from zoo.report.comparison import compare
from zoo.report.runs import folder_name, read


@pytest.fixture
def plan(data, settings, tmp_path):
    """Writes a plan of trainings that last one step."""
    own = {key: value for key, value in settings.items() if key not in {"data", "project", "name", "device"}}

    def write(**changes):
        file = tmp_path / "plan.yaml"
        content = {"models": ["yolov8n"], "data": {"shapes": str(data)}, "train": own | {"epochs": 1}}
        content |= {"folder": str(tmp_path / "sweep"), **changes}
        file.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
        return file

    return write


@pytest.fixture(autouse=True)
def ray_folder(monkeypatch):
    """Ray's own folder, with a path short enough for its sockets; it names a cluster that is gone."""
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        Path(folder, "ray").mkdir()
        Path(folder, "ray", "ray_current_cluster").write_text("127.0.0.1:9")
        yield


@pytest.mark.slow
def test_a_failed_job_stops_no_other_and_a_second_run_repeats_none(plan, tmp_path):
    pytest.importorskip("ray")
    (tmp_path / "bad.yaml").write_text("train: nowhere\nval: nowhere\nnames: [a]\n")
    file = plan(models=["yolov8n", "yolov8n_dattn"], data={**Plan.read(plan()).data, "bad": str(tmp_path / "bad.yaml")})
    with pytest.raises(SweepError, match=r"2 of 4 jobs failed.*bad.*nowhere"):
        run(Plan.read(file))
    with (tmp_path / "sweep" / "results.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert [(row["data"], row["model"], row["status"]) for row in rows] == [
        ("bad", "yolov8n", "failed"),
        ("bad", "yolov8n_dattn", "failed"),
        ("shapes", "yolov8n", "complete"),
        ("shapes", "yolov8n_dattn", "complete"),
    ]
    assert "nowhere" in rows[0]["error"] and float(rows[2]["val_mAP50-95"]) >= 0

    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep").rglob("results.csv")}
    assert run(Plan.read(plan(models=["yolov8n", "yolov8n_dattn"]))) == tmp_path / "sweep" / "results.csv"
    again = {path: path.stat().st_mtime_ns for path in written if path.parent.name == "run"}
    assert again == {path: written[path] for path in again} and len(again) == 2
    text = page.render(compare(read([tmp_path / "sweep"])))
    assert "yolov8n_dattn" in text and "2 runs" in text


@pytest.mark.slow
def test_a_recipe_is_reproduced(plan, tmp_path):
    pytest.importorskip("ray")
    command = "python -m reproduce digits --model {model} --seed {seed} --runs {folder}/runs --device {device} "
    command += f"--smoke --imgsz 64 --cache {tmp_path / 'cache'}"
    table = run(Plan.read(plan(data=None, recipes={"digits": command}, models=["yolov8n_dattn"], seeds=[3])))
    with table.open(newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["data"], row["model"], row["seed"], row["epochs"], row["imgsz"]) == (
        "digits",
        "yolov8n_dattn",
        "3",
        "1",
        "64",
    )
    assert 0 <= float(row["val_mAP50-95"]) <= 1 and set(json.loads(row["gamma_norms"])) == {"9"}
    [saved] = (tmp_path / "sweep" / "digits").glob("*/runs/digits/*/weights/zoo")
    assert zoo.create(f"local-dir:{saved}").config.name == "yolov8n_dattn"
    assert (saved.parents[1] / "args.yaml").read_text().count("seed: 3\n") == 1


@pytest.fixture
def cluster():
    """Starts a Ray cluster that asks for a token and says it has 64 processors; gives what a sweep needs to join it."""
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=64"]
    command += [f"--port={address.partition(':')[2]}", "--include-dashboard=false", "--disable-usage-stats"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | token) as head:
        assert head.stdout is not None
        assert any("Ray runtime started" in line for line in head.stdout), "Ray did not start"
        yield token | {"RAY_ADDRESS": address}
        assert head.poll() is None, "a sweep leaves the cluster running"
        head.terminate()
        head.communicate(timeout=60)


@pytest.mark.slow
def test_a_sweep_joins_the_cluster_that_is_there(plan, cluster, tmp_path):
    command = [sys.executable, "-c", "import sys; from zoo.cli import main; sys.exit(main())", "sweep"]
    command.append(str(plan(cpus=64)))  # more than Ray counts on this machine, so that only the cluster can run it
    done = subprocess.run(command, env=os.environ | cluster, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "sweep" / "results.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["complete"]
    without = {key: value for key, value in cluster.items() if key == "RAY_ADDRESS"} | {"RAY_AUTH_MODE": "disabled"}
    command[-1] = str(plan(cpus=64, seeds=[1]))
    done = subprocess.run(command, env=os.environ | without, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1
    assert "was not reached" in done.stderr and "RAY_AUTH_TOKEN" in done.stderr


def test_jobs_of_a_plan(plan, tmp_path):
    found = Plan.read(plan(models=["yolov8n", "yolov8n_dattn"], seeds=[0, 1], gpus=1)).jobs()
    assert [(job.model, job.seed) for job in found] == [
        ("yolov8n", 0),
        ("yolov8n_dattn", 0),
        ("yolov8n", 1),
        ("yolov8n_dattn", 1),
    ]
    command = found[3].words
    assert command[1:5] == ["-m", "zoo", "train", "yolov8n_dattn"]
    assert {"seed=1", "device=0", "epochs=1", f"save_dir={tmp_path}/sweep/shapes/yolov8n_dattn-s1/run"} <= set(command)
    last = found[3].folder / "run" / "weights" / "last.pt"
    last.parent.mkdir(parents=True)
    last.touch()
    assert found[3].words[4:] == [str(last), "resume=True"]


@pytest.mark.parametrize(
    ("base_weights", "starts"),
    [(True, ["yolov8n.pt", "yolo11n.pt"]), ("mine.pt", ["mine.pt", "mine.pt"]), (False, [None, None])],
)
def test_weights_of_the_base_are_never_those_of_the_grafted_model(base_weights, starts, plan):
    made = Plan.read(plan(models=["yolov8n_dattn", "yolo11n_halo"], train={"base_weights": base_weights}))
    found = [[word[11:] for word in job.words if word.startswith("pretrained=")] for job in made.jobs()]
    assert found == [[start] if start else [] for start in starts]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpus_that_are_not_there_are_refused_before_a_job_waits_for_them(plan):
    with pytest.raises(OptionError, match="PyTorch sees 0 CUDA devices on this machine"):
        run(Plan.read(plan(gpus=1)))


def test_a_command_is_filled_in(plan, tmp_path):
    command = "python -m mine --of {model} --data 'a b' --seed {seed} --out {folder}/runs --on {device}"
    [job] = Plan.read(plan(data=None, recipes={"bccd": command}, models=["yolov8n+eca@p3"], seeds=[4])).jobs()
    folder = tmp_path / "sweep" / "bccd" / "yolov8n+eca@p3-s4"
    words = ["mine", "--of", "yolov8n+eca@p3", "--data", "a b", "--seed", "4", "--out", f"{folder}/runs", "--on", "cpu"]
    assert job.words == [sys.executable, "-m", *words]


def test_what_a_command_leaves_is_its_row(tmp_path):
    code = "import os, pathlib, sys; folder = pathlib.Path(sys.argv[1]); folder.mkdir(parents=True); "
    code += "(folder / 'row.json').write_text('{\"mine\": ' + os.environ['OMP_NUM_THREADS'] + '}')"
    made = Job("m", "d", 0, tmp_path / "made", (sys.executable, "-c", code, str(tmp_path / "made" / "runs")), threads=3)
    assert made.execute()["mine"] == 3, "a job has its share of threads"
    assert made.execute() == made.finished(), "and is not repeated"
    empty = Job("m", "d", 0, tmp_path / "empty", (sys.executable, "-c", "pass")).execute()
    assert empty["status"] == "failed" and "left neither row.json nor run.json" in empty["error"]
    broken = Job("m", "d", 0, tmp_path / "broken", (sys.executable, "-c", "raise SystemExit('why it broke')")).execute()
    assert broken["error"] == "exit code 1: why it broke" and not (tmp_path / "broken" / "row.json").exists()
    said = "print('error: the disk is full'); print('13/20 epochs\\r14/20 epochs'); raise SystemExit(2)"
    hidden = Job("m", "d", 0, tmp_path / "broken", (sys.executable, "-c", said)).execute()
    assert hidden["error"] == "exit code 2: the disk is full", "not what stood last, and not what an earlier try said"


def test_a_second_sweep_in_one_folder_is_refused(plan, tmp_path):
    made = Plan.read(plan())
    refused = pytest.raises(OptionError, match=f"process {os.getpid()} .* runs its jobs")
    with FolderLock(made.folder, "runs its jobs"), refused:
        run(made)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_training_dies_with_the_process_of_its_job(tmp_path):
    """A job that is killed would leave a training that keeps the folder from the one that resumes."""
    held = tmp_path / "alive"
    child = f"import os, time; open({str(held)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    code = f"""
from pathlib import Path
from zoo.engine.jobs import Job
import sys
Job("m", "d", 0, Path({str(tmp_path / "job")!r}), (sys.executable, "-c", {child!r})).execute()
"""
    with subprocess.Popen([sys.executable, "-c", code]) as parent:
        while not (held.is_file() and held.read_text()):
            assert parent.poll() is None
            time.sleep(0.05)
        parent.kill()
    number = int(held.read_text())
    for _ in range(100):
        state = Path(f"/proc/{number}/stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    os.kill(number, 9)
    pytest.fail("the training lives on")


@pytest.mark.parametrize("model", ["yolov8n_dattn", "yolov8n+dattn(heads=4)@sppf+eca@p3,p4", "local-dir:/a/b c"])
def test_the_folder_of_any_model(model):
    assert "/" not in folder_name(model, 3) and " " not in folder_name(model, 3)
    assert folder_name("yolov8n_dattn", 3) == "yolov8n_dattn-s3", "as of earlier sweeps, which go on"


@pytest.mark.fast
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modells": ["yolov8n"]}, "unknown key 'modells'. Did you mean models"),
        ({"models": []}, "at least one of 'models'"),
        ({"models": ["yolov8n_datn"]}, "Did you mean .*yolov8n_dattn"),
        ({"models": "yolov8n"}, "models must be a list of names"),
        ({"data": None}, "one of 'data' or 'recipes'"),
        ({"data": {"shapes": "absent.yaml"}}, "no file absent.yaml"),
        ({"data": {"../up": "plan.yaml"}}, "name of a folder"),
        ({"seeds": ["one"]}, "list of whole numbers"),
        ({"seeds": [True]}, "list of whole numbers"),
        ({"train": {"epoch": 3}}, "unknown setting 'epoch'"),
        ({"train": {"epochs": 0}}, "epochs=0"),
        ({"train": {"seed": 3}}, "seed cannot be set; the sweep does"),
        ({"recipes": {"bccd": ["--data", "x"]}}, "must be a command, such as .*python -m reproduce bccd"),
        ({"recipes": {"bccd": "python -m reproduce bccd"}}, "must hold {model}, {seed} and {folder}.*holds none"),
        ({"recipes": {"bccd": "run {model} {seed} {folder} {what}"}}, "holds .*{what}"),
        ({"recipes": {"bccd": "run {model} {seed {folder}"}}, "cannot be read"),
        ({"gpus": "all"}, "gpus must be a number"),
        ({"gpus": -1}, "gpus=-1 must be a whole number, or a share"),
        ({"gpus": True}, "gpus=True must be a whole number, or a share"),
        ({"cpus": 0}, "cpus=0 must be a whole number of at least 1"),
        ({"train": {"base_weights": 3}}, "base_weights must be a file or true, found 3"),
        ({"train": {"base_weights": True}, "models": ["local-dir:x"]}, "local-dir:x is a file or a folder"),
    ],
)
def test_a_bad_plan_is_refused(changes, message, plan, capsys):
    with pytest.raises(ZooError, match=message):
        Plan.read(plan(**changes))
    assert cli.main(["sweep", str(plan(**changes))]) == 1
    assert "zoo: error:" in capsys.readouterr().err


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(["models", "seeds", "data", "train", "recipes", "folder", "cpus", "gpus", "x"]), x
            )
        ),
        max_leaves=8,
    )
)
def test_any_yaml_is_a_plan_or_an_option_error(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("plan") / "plan.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(ZooError):
        Plan.read(file)


def test_a_missing_plan_and_a_missing_ray(plan, tmp_path, monkeypatch):
    with pytest.raises(OptionError, match=r"absent\.yaml cannot be read"):
        Plan.read(tmp_path / "absent.yaml")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SweepError, match=r"yolo-attention-zoo\[sweep\]"):
        run(Plan.read(plan()))
