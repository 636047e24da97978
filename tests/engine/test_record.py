"""What a training leaves in its folder says what was trained, on what, how far and how well."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from types import SimpleNamespace

import pytest
import torch
import yaml
from huggingface_hub import constants
from ultralytics.data.dataset import YOLODataset
from ultralytics.nn.tasks import load_checkpoint

import zoo
from tests.engine.conftest import NAMES, write_data
from tests.engine.test_training import moved, train
from zoo import cli
from zoo.engine import fingerprint, parent
from zoo.engine.data import read
from zoo.engine.record import keep_epochs
from zoo.errors import DataError, OptionError
from zoo.report import runs
from zoo.weights import hub


@pytest.fixture
def own(tmp_path):
    """A data set with a test split, of this test alone."""
    file = write_data(tmp_path / "own")
    for kind in ("images", "labels"):
        shutil.copytree(file.parent / kind / "val", file.parent / kind / "test")
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"test": "images/test"}))
    return file


def test_a_training_says_what_it_was(own, settings, tmp_path, caplog):
    train("yolov8n_dattn", settings, data=str(own), optimizer="AdamW", seed=3)
    run = runs.load(tmp_path / "run")
    assert run.record and (run.status, run.error, run.resumed) == ("ended", None, 0)
    assert (run.model, run.base, run.seed, run.imgsz, run.parent) == ("yolov8n_dattn", "yolov8n", 3, 64, None)
    model = zoo.create(f"local-dir:{tmp_path}/run/weights/zoo")
    assert run.parameters == sum(part.numel() for part in model.parameters())
    [graft] = run.grafts
    assert (graft["position"], graft["place"], graft["block"]) == (9, "sppf", "dattn")
    assert graft["parameters"] == sum(part.numel() for part in model.grafts["9"].parameters())
    assert run.data["images"] == {"train": 4, "val": 4, "test": 4} and run.data["class_names"] == NAMES
    assert run.epochs["planned"] == run.epochs["done"] == 2 and [entry["epoch"] for entry in run.history] == [1, 2]
    assert run.metrics["val"].keys() == {"mAP50-95", "mAP50", "small", "medium", "large", "per_class"}
    assert run.metrics["test"] == run.metrics["val"], "the same images"
    assert set(run.metrics["val"]["per_class"]) == set(NAMES)
    last, _ = load_checkpoint(tmp_path / "run" / "weights" / "last.pt")
    assert run.gates["9"] == pytest.approx(float(last.grafts["9"].gamma.abs().mean()), rel=1e-2) and run.gates["9"] > 0
    assert run.images_per_second > 0 and run.seconds >= sum(entry["seconds"] for entry in run.history)
    assert run.settings["lr0"] == 0.01 and run.versions["torch"] == version("torch") and run.ended >= run.started

    log = caplog.text
    assert f"yolov8n_dattn: dattn at sppf (layer 9), {graft['parameters']:,} parameters" in log
    assert "gates open by layer 9 0." in log and "YOLOv8n_dattn summary" in log


def test_the_log_says_what_was_transferred_and_exports_are_called_by_their_name(settings, tmp_path, caplog):
    torch.manual_seed(0)
    zoo.save(zoo.create("yolov8n_dattn", num_classes=3), tmp_path / "source")
    train(f"local-dir:{tmp_path / 'source'}", settings, epochs=1)
    grafts = len([key for key in zoo.create("yolov8n_dattn").state_dict() if key.startswith("grafts.")])
    assert f"355 of 355 tensors of the base, {grafts} of {grafts} tensors of the grafts" in caplog.text
    parent = runs.load(tmp_path / "run").parent
    assert parent["kind"] == "run" and parent["source"] == f"local-dir:{tmp_path / 'source'}"
    exported = zoo.YOLO(tmp_path / "run/weights/best.pt").export(format="torchscript", imgsz=64)
    extra = {"config.txt": ""}
    torch.jit.load(exported, _extra_files=extra)
    assert "YOLOv8n_dattn" in json.loads(extra["config.txt"])["description"]


def stop_before_the_checkpoint_of_epoch_3(trainer):
    """Ctrl-C while epoch 3 is in `results.csv` and not yet in `last.pt`."""
    stock = trainer.save_model
    trainer.save_model = lambda: exec("raise KeyboardInterrupt") if trainer.epoch == 2 else stock()


def epoch_2_is_the_best(trainer):
    """As masks or keypoints may say, whatever the boxes score."""
    stock = trainer.validate

    def validate():
        metrics, _ = stock()
        trainer.best_fitness = 0.1 if trainer.epoch == 0 else 0.9
        return metrics, 0.9 if trainer.epoch == 1 else 0.1

    trainer.validate = validate


def test_a_resumed_run_has_each_epoch_once(settings, tmp_path):
    engine = zoo.YOLO("yolov8n_dattn")
    engine.add_callback("on_train_start", epoch_2_is_the_best)
    engine.add_callback("on_train_start", stop_before_the_checkpoint_of_epoch_3)
    with pytest.raises(KeyboardInterrupt, match=r"Go on with: zoo train .*last\.pt resume=True"):
        engine.train(**settings | {"epochs": 4})
    cut = runs.load(tmp_path / "run")
    assert (cut.status, cut.epochs["done"], cut.resumed) == ("cut", 3, 0)
    assert cut.epochs["best"] == 2

    moved_to = tmp_path / "moved"
    (tmp_path / "run").rename(moved_to)
    zoo.YOLO(moved_to / "weights" / "last.pt").train(resume=True)
    assert not (tmp_path / "run").exists(), "a run goes on where it lies"
    lines = (moved_to / "results.csv").read_text().splitlines()
    assert [int(float(line.split(",")[0])) for line in lines[1:]] == [1, 2, 3, 4]
    whole = runs.load(moved_to)
    assert (whole.status, whole.epochs["done"], whole.resumed) == ("ended", 4, 1)
    assert [entry["epoch"] for entry in whole.history] == [1, 2, 3, 4] and whole.started == cut.started
    assert whole.epochs["best"] == 2 and whole.settings["model"] == "yolov8n_dattn"


@pytest.mark.parametrize("step", ["_score", "_judge_best", "final_eval", "_close"])
def test_a_run_that_was_killed_after_its_last_epoch_is_finished(step, settings, tmp_path):
    def kill_after_step(trainer):
        work = getattr(trainer, step)

        def killed(*arguments):
            work(*arguments)
            trainer.recorder = None  # a kill leaves no time to write
            raise KeyboardInterrupt

        setattr(trainer, step, killed)

    engine = zoo.YOLO("yolov8n_dattn")
    engine.add_callback("on_train_start", kill_after_step)
    with pytest.raises(KeyboardInterrupt):
        engine.train(**settings)
    assert runs.load(tmp_path / "run").status == ("ended" if step == "_close" else "running")
    zoo.YOLO(tmp_path / "run" / "weights" / "last.pt").train(resume=True)
    run = runs.load(tmp_path / "run")
    assert (run.status, run.epochs["done"], run.resumed) == ("ended", 2, 1) and run.metrics["val"]["mAP50"] is not None
    assert [entry["epoch"] for entry in run.history] == [1, 2]
    assert set(zoo.create(f"local-dir:{tmp_path}/run/weights/zoo").grafts) == {"9"}
    for file in ("last.pt", "best.pt"):
        assert load_checkpoint(tmp_path / "run" / "weights" / file)[1]["optimizer"] is None


@pytest.mark.fast
@pytest.mark.parametrize(
    ("file", "kind"),
    [("yolov8n.pt", "base"), ("yolo11n-seg.pt", "base"), ("best.pt", "run"), ("yolov8n.coco.pt", "run")],
)
def test_a_checkpoint_of_ones_own_is_not_called_official(file, kind, tmp_path):
    model = SimpleNamespace(yaml={"base_sha256": "1" * 64})
    assert parent.of("yolov8n_dattn", {"base_weights": f"/mine/{file}"}, model)["kind"] == kind
    (tmp_path / file).write_bytes(b"")
    assert parent.of(str(tmp_path / file), {}, model)["kind"] == kind


@pytest.mark.fast
def test_what_was_loaded_from_the_hub_is_not_asked_for_again(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "snapshot", lambda *_: pytest.fail("the Hub was asked"))
    repository = tmp_path / "models--org--repo"
    for place, text in (("refs/main", "abc"), ("snapshots/abc/model.safetensors", "weights")):
        (repository / place).parent.mkdir(parents=True)
        (repository / place).write_text(text)
    found = parent.of("hf-hub:org/repo", {}, None)
    assert found["sha256"] == hashlib.sha256(b"weights").hexdigest() and found["source"] == "hf-hub:org/repo"


@pytest.mark.fast
def test_rows_beyond_the_checkpoint_and_rows_twice_go(tmp_path):
    table = tmp_path / "results.csv"
    table.write_text("epoch,loss\n1,a\n2,b\n2,c\n3,d\n")
    keep_epochs(table, 2)
    assert table.read_text() == "epoch,loss\n1,a\n2,c\n"
    keep_epochs(table, 0)
    assert not table.exists()


def test_a_training_that_breaks_says_so(settings, tmp_path):
    engine = zoo.YOLO("yolov8n")
    engine.add_callback("on_train_batch_end", lambda trainer: exec("raise RuntimeError('out of luck')"))
    with pytest.raises(RuntimeError, match="out of luck"):
        engine.train(**settings)
    run = runs.load(tmp_path / "run")
    assert (run.status, run.error, run.epochs["done"], run.history) == ("failed", "out of luck", 0, [])


def test_a_second_training_stays_out_of_a_folder_in_use(settings, tmp_path):
    refused = []

    def again(trainer):
        command = [sys.executable, "-m", "zoo", "train", "yolov8n", "epochs=1", f"data={settings['data']}"]
        command += ["imgsz=64", f"project={tmp_path}", "name=run", "exist_ok=True", "device=cpu"]
        refused.append(subprocess.run(command, capture_output=True, text=True, check=False))

    engine = zoo.YOLO("yolov8n")
    engine.add_callback("on_train_start", again)
    engine.train(**settings | {"epochs": 1})
    assert refused[0].returncode == 1
    assert f"is in use: process {os.getpid()} on" in refused[0].stderr and "name=NAME" in refused[0].stderr
    assert runs.load(tmp_path / "run").status == "ended", "and the first goes on untouched"
    zoo.YOLO("yolov8n").train(**settings | {"epochs": 1, "exist_ok": True})


def test_freeze_base_norm_trains_grafts_head_and_batch_norms(settings, tmp_path):
    engine, start, *_, end = train("yolov8n_dattn", settings, freeze_base="norm", epochs=2, optimizer="AdamW")
    norms = {f"{name}." for name, part in engine.model.named_modules() if isinstance(part, torch.nn.BatchNorm2d)}
    changed = {key for key in moved(start, end, "model.") if not key.startswith("model.22.")}
    assert changed and all(any(key.startswith(norm) for norm in norms) for key in changed)
    assert {"model.0.bn.weight", "model.0.bn.running_mean"} <= changed
    run = runs.load(tmp_path / "run")
    assert run.freeze_base == "norm" and run.parameters_trained < run.parameters / 2
    with pytest.raises(OptionError, match=r"freeze_base='some' must be True or 'norm'"):
        zoo.YOLO("yolov8n").train(**settings, freeze_base="some")


@pytest.mark.fast
def test_ctrl_c_ends_the_command_with_130_and_how_to_go_on(monkeypatch, capsys, data):
    def stopped(*_, **__):
        raise KeyboardInterrupt("Go on with: zoo train x/last.pt resume=True")

    monkeypatch.setattr(zoo.YOLO, "train", stopped)
    assert cli.main(["train", "yolov8n", f"data={data}"]) == 130
    assert "Go on with: zoo train x/last.pt resume=True" in capsys.readouterr().err


@pytest.mark.fast
def test_a_fingerprint_is_of_contents(tmp_path):
    one, other = (fingerprint.of(read(write_data(tmp_path / name))) for name in ("here", "there"))
    assert one == other and one[1] == {"train": 4, "val": 4}

    def changed(spoil):
        file = write_data(tmp_path / f"set{len(list(tmp_path.iterdir()))}")
        known = fingerprint.of(read(file))[0]
        spoil(file.parent)
        return known, fingerprint.of(read(file))[0]

    known, found = changed(lambda root: (root / "images/train/0.png").rename(root / "images/train/renamed.png"))
    assert known != found, "an image without its label is another thing"
    known, found = changed(lambda root: (root / "labels/val/0.txt").write_text("0 .5 .5 .1 .1\n"))
    assert known != found
    known, found = changed(lambda root: (root / "images/train/0.png").write_bytes(b"other"))
    assert known != found
    known, found = changed(
        lambda root: (root / "data.yaml").write_text((root / "data.yaml").read_text().replace("disc", "coin"))
    )
    assert known != found

    def rename_both(root):
        for kind, suffix in (("images", "png"), ("labels", "txt")):
            (root / kind / "train" / f"0.{suffix}").rename(root / kind / "train" / f"zero.{suffix}")

    known, found = changed(rename_both)
    assert known == found, "names do not count"


@pytest.mark.fast
def test_images_are_those_that_ultralytics_reads(tmp_path):
    file = write_data(tmp_path / "my data")
    images = file.parent / "images" / "train"
    (images / "._0.png").write_bytes(b"of a Mac")
    (images / ".hidden").mkdir()
    shutil.copy(images / "0.png", images / ".hidden")
    shutil.copy(images / "0.png", images / "of a [b].png")
    listed = images.parent / "list.txt"
    listed.write_text("./train/of a [b].png\n" + f"{images / '0.png'}\n", encoding="utf-8-sig")
    for place in (str(images), str(listed), [str(images), str(listed)]):
        stock = YOLODataset.get_img_files(SimpleNamespace(prefix="", fraction=1.0), place)
        assert fingerprint.image_files(place) == stock
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"train": "images/list.txt"}))
    assert fingerprint.of(read(file))[1] == {"train": 2, "val": 4}


@pytest.mark.fast
def test_a_fingerprint_is_read_from_its_cache(tmp_path, monkeypatch):
    file = write_data(tmp_path / "set")
    first = fingerprint.of(read(file))
    monkeypatch.setattr(fingerprint, "_pair", lambda *_: pytest.fail("a file was read again"))
    assert fingerprint.of(read(file)) == first
    (file.parent / "labels" / "train.fingerprint.json").write_text("[torn")
    monkeypatch.undo()
    assert fingerprint.of(read(file)) == first


@pytest.mark.fast
@pytest.mark.parametrize(
    ("names", "message"),
    [({0: "a", 2: "b"}, "names has no class 1; 2 classes are numbered 0 to 1, found 0, 2"), ({1: "a"}, "no class 0")],
)
def test_class_numbers_with_holes_are_refused(names, message, tmp_path):
    file = write_data(tmp_path / "set", images=1)
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"names": names}))
    with pytest.raises(DataError, match=message):
        read(file)
