"""What is wrong with data or disk is said before training starts, and costs no checkpoint."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ultralytics.cfg import DEFAULT_CFG_DICT
from ultralytics.engine.exporter import Exporter
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.nn.tasks import load_checkpoint

import zoo
from tests.engine.conftest import calibrate, write_data
from zoo.engine.settings import NOT_IN_DEFAULTS, TRAIN_ONLY, parse_settings
from zoo.errors import CheckpointError, DataError, FormatError, OptionError, SourceError

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def own(tmp_path):
    return write_data(tmp_path / "own")


def rewrite(file: Path, **changes) -> None:
    description = yaml.safe_load(file.read_text()) | changes
    file.write_text(yaml.safe_dump({key: value for key, value in description.items() if value is not None}))


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def label(text: str):
    return lambda file: (file.parent / "labels/train/1.txt").write_text(text)


BAD = {
    "no such YAML": (lambda file: file.unlink(), r"data\.yaml"),
    "not YAML": (lambda file: file.write_text("{"), r"data\.yaml"),
    "empty YAML": (lambda file: file.write_text(""), r"data\.yaml"),
    "no names": (lambda file: rewrite(file, names=None), "names"),
    "no names but nc": (lambda file: rewrite(file, names=None, nc=3), "no class names"),
    "wrong nc": (lambda file: rewrite(file, nc=5), "'nc: 5' must match"),
    "no train": (lambda file: rewrite(file, train=None), "'train:' key missing"),
    "no folder of train": (lambda file: rewrite(file, train="images/absent"), "'train' are missing.*images/absent"),
    "no folder of val": (lambda file: rewrite(file, val="images/absent"), "images/absent"),
    "relative path": (lambda file: rewrite(file, path="absent"), "'path: absent' is looked for beside the file"),
    "path is a number": (lambda file: rewrite(file, path=2024), r"data\.yaml cannot be used: .*'path: 2024'"),
    "no image": (lambda file: empty(file.parent / "images/train"), "images/train"),
    "no image to validate": (lambda file: empty(file.parent / "images/val"), "images/val"),
    "no label at all": (lambda file: empty(file.parent / "labels/train"), "[Nn]o labels found.*labels/train"),
    "only background": (
        lambda file: [path.write_text("") for path in (file.parent / "labels/train").iterdir()],
        "none of the 4 training images .* has a box",
    ),
    "class out of range": (label("3 .5 .5 .2 .2"), r"1\.png: Label class 3 exceeds.*labels/train/1\.txt"),
    "negative class": (label("-1 .5 .5 .2 .2"), r"1\.png: negative label values"),
    "fractional class": (label("0.5 .5 .5 .2 .2"), r"1\.png: non-integer class"),
    "box outside": (label("0 .5 .5 .2 1.2"), r"1\.png: non-normalized or out of bounds"),
    "box of pixels": (label("0 32 32 10 10"), r"1\.png: non-normalized or out of bounds"),
    "negative box": (label("0 .5 .5 -.2 .2"), r"1\.png: negative label values"),
    "not a number": (label("0 .5 nan .2 .2"), r"1\.png"),
    "infinite": (label("0 .5 inf .2 .2"), r"1\.png"),
    "four columns": (label("0 .5 .5 .2"), r"1\.png: labels require 5 columns"),
    "words": (label("cat .5 .5 .2 .2"), r"1\.png: could not convert string"),
    "corrupt image": (
        lambda file: (file.parent / "images/train/1.png").write_bytes(b"\x89PNG junk"),
        r"1\.png: it cannot be decoded as an image",
    ),
    "truncated image": (lambda file: os.truncate(file.parent / "images/val/2.png", 99), r"images/val.*2\.png"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data_ends_before_the_first_step(case, own, settings):
    spoil, message = BAD[case]
    spoil(own)
    engine = zoo.YOLO("yolov8n")
    engine.add_callback("on_train_start", lambda trainer: pytest.fail("training started"))
    with pytest.raises(DataError, match=message):
        engine.train(**settings | {"data": str(own)})


def test_one_missing_label_file_is_background_with_a_warning(own, settings, caplog):
    (own.parent / "labels/train/1.txt").unlink()
    zoo.YOLO("yolov8n").train(**settings | {"data": str(own), "epochs": 1})
    assert "1 of 4 images" in caplog.text and "labels/train/1.txt is missing" in caplog.text


def test_no_folder_for_the_run(settings, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match=r"run cannot be written: Not a directory.*project="):
        zoo.YOLO("yolov8n").train(**settings | {"project": str(tmp_path / "file")})


@pytest.mark.parametrize("victim", ["last.pt", "best.pt"])
def test_a_full_disk_leaves_the_checkpoints_of_the_epoch_before(victim, settings, tmp_path, monkeypatch):
    folder = tmp_path / "run" / "weights"
    whole = {}
    write = Path.write_bytes

    def write_or_fail(path, content):
        if path.name == victim and whole:
            write(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_or_fail)
    monkeypatch.setattr(BaseTrainer, "validate", lambda trainer: grow(trainer))
    engine = zoo.YOLO("yolov8n_dattn")
    engine.add_callback("on_model_save", lambda t: whole.update({p.name: p.read_bytes() for p in folder.iterdir()}))
    with pytest.raises(CheckpointError, match=r"epoch 2 could not be saved.*No space left.*resume"):
        engine.train(**settings)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    model, saved = load_checkpoint(folder / "last.pt")
    assert saved["epoch"] == 0 and "9" in model.grafts


def grow(trainer):
    """A validation in which each epoch is the best so far."""
    trainer.best_fitness = trainer.epoch + 1
    return {}, trainer.epoch + 1


def test_a_kill_while_checkpoints_are_stripped_leaves_them_whole(settings, tmp_path, monkeypatch):
    def torn(content, place, *_, **__):
        Path(place).write_bytes(b"half")
        raise KeyboardInterrupt

    engine = zoo.YOLO("yolov8n_dattn")
    engine.add_callback("on_model_save", lambda trainer: monkeypatch.setattr(torch, "save", torn))
    with pytest.raises(KeyboardInterrupt):
        engine.train(**settings | {"epochs": 1})
    monkeypatch.undo()
    for name in ("last.pt", "best.pt"):
        assert "9" in load_checkpoint(tmp_path / "run" / "weights" / name)[0].grafts


@pytest.mark.fast
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("verb", ["train", "val", "predict", "track", "export", "benchmark", "tune"])
@pytest.mark.parametrize("device", [0, "cuda:1", [0, 1]], ids=str)
def test_a_gpu_that_is_not_there(verb, device, data, tmp_path):
    engine = zoo.YOLO("yolov8n")
    settings = {"source": str(data.parent)} if verb in {"predict", "track"} else {"data": str(data)}
    with pytest.raises(OptionError, match=r"device .* is not available; PyTorch sees no CUDA device"):
        getattr(engine, verb)(**settings, device=device, project=str(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


ON_DATA = {"val": {}, "benchmark": {"format": "-"}, "export": {"format": "onnx", "quantize": 8}}


@pytest.mark.parametrize("verb", ON_DATA)
def test_no_verb_fetches_data(verb, own, tmp_path, monkeypatch):
    """Ultralytics takes data of its own where none are given, and downloads or runs what a YAML says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Exporter, "__call__", calibrate)
    rewrite(own, train="images/absent", val="images/absent", download="open('ran', 'w')")
    engine = zoo.YOLO("yolov8n", num_classes=3)
    with pytest.raises(DataError, match="images/absent"):
        getattr(engine, verb)(data=str(own), imgsz=64, device="cpu", **ON_DATA[verb])
    assert not (tmp_path / "ran").exists()
    with pytest.raises(OptionError, match=r"data=FILE\.yaml is missing"):
        getattr(engine, verb)(imgsz=64, device="cpu", **ON_DATA[verb])


@pytest.mark.fast
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_tensorrt_needs_a_gpu():
    with pytest.raises(OptionError, match="device 0 is not available"):
        zoo.YOLO("yolov8n").export(format="engine")


def test_a_folder_does_not_hide_the_model_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "yolov8n_dattn").mkdir()
    assert set(zoo.YOLO("yolov8n_dattn").model.grafts) == {"9"}


def test_files_that_are_no_checkpoints(tmp_path):
    with pytest.raises(SourceError, match=r"no file .*absent\.pt"):
        zoo.YOLO(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "half.pt").write_bytes(pickle.dumps({"model": list(range(1000))})[:500])
    for name in ("text.pt", "empty.pt", "half.pt"):
        with pytest.raises(FormatError, match=f"{name} is no checkpoint"):
            zoo.YOLO(tmp_path / name)


KEYS = sorted(DEFAULT_CFG_DICT)


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=12))
def test_any_word_parses_or_is_an_option_error(word):
    try:
        parsed = parse_settings([word])
    except OptionError as error:
        assert str(error).endswith(".") or ":" in str(error)
    else:
        assert set(parsed) <= set(DEFAULT_CFG_DICT) | NOT_IN_DEFAULTS


@given(st.sampled_from(KEYS), st.data())
def test_a_typing_error_is_answered_with_the_name_meant(key, draw):
    if len(key) < 5:
        return
    place = draw.draw(st.integers(1, len(key) - 1))
    wrong = key[:place] + key[place + 1 :]
    if wrong not in DEFAULT_CFG_DICT:
        with pytest.raises(OptionError, match="Did you mean"):
            parse_settings([f"{wrong}=1"])


@pytest.mark.fast
def test_values_are_typed_as_ultralytics_types_them():
    assert parse_settings(["epochs=3", "lr0=0.1", "data=a=b.yaml", "freeze_base=True"], also=TRAIN_ONLY) == {
        "epochs": 3,
        "lr0": 0.1,
        "data": "a=b.yaml",
        "freeze_base": True,
    }
    for pairs in (["epochs=0"], ["imgsz=-64"], ["lr0=high"], ["freeze_base=True"], ["model=x"], ["verbose"]):
        with pytest.raises(OptionError):
            parse_settings(pairs)
