"""The `zoo` command: as a process where that matters, by its `main` elsewhere."""

import csv
import json
import os
import pickle
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from reproduce.datasets import digits, layout
from zoo import assets, registry
from zoo.cli import main
from zoo.detector import build
from zoo.weights import saved

ROOT = Path(__file__).parents[1]
ZOO = [sys.executable, "-c", "import sys; from zoo.cli import main; sys.exit(main())"]


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [*ZOO, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A random model of three classes, whose scores are all near 0.5 so that it finds something."""
    torch.manual_seed(0)
    config = registry.get_config("yolov8n_dattn").with_classes(3, ("ant", "bee", "cow"))
    detector = build(replace(config, imgsz=64))
    for branch in detector.model[-1].cv3:
        torch.nn.init.zeros_(branch[-1].bias)
    return f"local-dir:{saved.save(detector, tmp_path_factory.mktemp('model'))}"


@pytest.fixture
def images(tmp_path) -> Path:
    """A folder with `a.png` of 48 x 80 and `b.jpg` of 64 x 64."""
    folder = tmp_path / "images"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
    Image.fromarray(noise[:48]).save(folder / "a.png")
    Image.fromarray(noise[:64, :64]).save(folder / "b.jpg")
    return folder


@pytest.mark.fast
class TestLooking:
    def test_list_has_every_name_with_its_cost(self, capsys):
        assert main(["list"]) == 0
        rows = {line.split()[0]: line.split()[1:4] for line in capsys.readouterr().out.splitlines()[1:]}
        assert rows.keys() == set(zoo.list_models())
        info = zoo.model_info("yolov8s_hat")
        assert rows["yolov8s_hat"] == ["yolov8s", f"{info.params / 1e6:.2f}", f"{info.gflops:.1f}"]

    def test_list_as_json(self, capsys):
        assert main(["list", "yolo11?_halo", "--json"]) == 0
        records = json.loads(capsys.readouterr().out)
        assert [record["name"] for record in records] == zoo.list_models("yolo11?_halo")
        assert records[0]["params"] == zoo.model_info("yolo11n_halo").params

    def test_list_of_blocks_has_every_block_and_what_timm_warns_of(self, capsys):
        assert main(["list", "--blocks"]) == 0
        out = capsys.readouterr().out
        assert {line.split()[0] for line in out.splitlines() if "https://arxiv" in line} >= {"dattn", "cbam", "eca"}
        assert "cbam: timm: WARNING: Results with these attention layers have been mixed." in out
        assert main(["list", "c*", "--blocks", "--json"]) == 0
        found = {row["name"]: row["origin"] for row in json.loads(capsys.readouterr().out)}
        assert found == {"conv": "zoo", "cbam": "timm", "ceca": "timm", "coord": "timm"}
        assert main(["list", "nothing", "--blocks"]) == 1
        assert "no block matches 'nothing'" in capsys.readouterr().err

    def test_list_of_weights(self, capsys):
        expected = zoo.list_models(pretrained=True)
        assert main(["list", "--pretrained"]) == (0 if expected else 1)
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == expected

    def test_info_names_the_grafts_and_their_cost(self, capsys):
        assert main(["info", "yolov8n_hat_p345"]) == 0
        out = capsys.readouterr().out
        info = zoo.model_info("yolov8n_hat_p345")
        assert all(f"output of layer {graft.position}" in out for graft in info.grafts)
        assert f"{info.params / info.base_params - 1:+.1%} over yolov8n" in out

    def test_export_without_a_format_says_what_was_measured(self, capsys):
        assert main(["export", "yolov8s_dattn"]) == 0
        rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
        with (assets.root() / "results" / "exports.csv").open(newline="") as file:
            measured = [row for row in csv.DictReader(file) if row["model"] == "yolov8n_dattn"]
        columns = ("height", "width", "ok", "box_px", "score")
        assert measured
        assert rows == [[*row["format"].split(), *filter(None, (row[key] for key in columns))] for row in measured]

    @pytest.mark.parametrize("arguments", [["list"], ["info", "yolov8n_hat"], ["export", "yolov8n_hat"], ["--help"]])
    def test_looking_imports_nothing_heavy(self, arguments):
        code = f"""
import sys
from zoo.cli import main
try:
    main({arguments})
finally:
    print(*sys.modules, file=sys.stderr)
"""
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert not {"torch", "timm", "ultralytics", "numpy"} & set(done.stderr.split())

    @pytest.mark.parametrize("argument", ["list", "--help"])
    def test_looking_takes_less_than_a_third_of_a_second(self, argument):
        def seconds() -> float:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            assert run(argument).returncode == 0
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

        assert min(seconds() for _ in range(3)) < 0.3


class TestPredict:
    def test_process_writes_pictures_and_detections(self, model, images, tmp_path):
        done = run("predict", model, "images", "--json", "d.json", "--csv", "d.csv", "--out", "o", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        first, second = json.loads((tmp_path / "d.json").read_text())
        assert (first["image"], first["height"], first["width"]) == ("images/a.png", 48, 80)
        assert second["image"] == "images/b.jpg"
        assert first["detections"]
        for found in first["detections"]:
            left, top, right, bottom = found["box"]
            assert 0 <= left < right <= 80 and 0 <= top < bottom <= 48
            assert found["name"] == ("ant", "bee", "cow")[found["class"]]
            assert 0.25 <= found["confidence"] <= 1
        with Image.open(tmp_path / first["annotated"]) as picture, Image.open(images / "a.png") as source:
            assert picture.size == source.size
            assert np.abs(np.asarray(picture, int) - np.asarray(source, int)).max() > 100
        rows = list(csv.DictReader((tmp_path / "d.csv").open()))
        assert len(rows) == len(first["detections"]) + len(second["detections"])
        assert float(rows[0]["confidence"]) == first["detections"][0]["confidence"]
        assert [float(rows[0][edge]) for edge in ("x1", "y1", "x2", "y2")] == first["detections"][0]["box"]

    def test_images_of_one_name_get_a_picture_each(self, model, images, tmp_path):
        twin = tmp_path / "twin"
        twin.mkdir()
        (twin / "a.png").write_bytes((images / "a.png").read_bytes())
        arguments = [str(images / "*.png"), str(twin), str(twin / "a.png"), "--out", str(tmp_path / "o")]
        assert main(["predict", model, *arguments]) == 0
        assert len(list((tmp_path / "o").iterdir())) == 2

    def test_sources_are_left_alone(self, model, images):
        before = {path: path.read_bytes() for path in images.iterdir()}
        assert main(["predict", model, str(images), "--out", str(images)]) == 0
        assert {path: path.read_bytes() for path in before} == before

    def test_confidence_is_a_floor(self, model, images, tmp_path):
        arguments = [str(images / "a.png"), "--out", str(tmp_path), "--json", str(tmp_path / "d.json")]
        assert main(["predict", model, *arguments, "--conf", "1"]) == 0
        assert json.loads((tmp_path / "d.json").read_text())[0]["detections"] == []

    def test_image_size_is_the_model_s_own_unless_given(self, model, images, tmp_path):
        def boxes(*size: str) -> list:
            file = tmp_path / "d.json"
            assert (
                main(["predict", model, str(images / "a.png"), "--out", str(tmp_path), "--json", str(file), *size]) == 0
            )
            return [found["box"] for found in json.loads(file.read_text())[0]["detections"]]

        assert boxes() == boxes("--imgsz", "64") != boxes("--imgsz", "96")

    def test_an_undecodable_image_does_not_stop_the_others(self, model, images, tmp_path, capsys):
        (images / "broken.png").write_bytes(b"no image")
        file = tmp_path / "d.json"
        assert main(["predict", model, str(images), "--out", str(tmp_path), "--json", str(file)]) == 1
        assert len(json.loads(file.read_text())) == 2
        assert "1 of 3 images could not be decoded" in (err := capsys.readouterr().err)
        assert "broken.png" in err


@pytest.fixture
def workplace(tmp_path, images, monkeypatch):
    """A working directory with all sorts of unusable files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("text")
    config = json.dumps(registry.get_config("yolov8n").to_dict())
    for name in ("truncated", "pickled", "lacking"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(config)
    (tmp_path / "truncated/model.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    (tmp_path / "pickled/model.safetensors").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "nameless.yaml").write_text("train: images\nval: images\n")
    (tmp_path / "imageless.yaml").write_text("path: .\ntrain: nowhere\nval: nowhere\nnames: [a]\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("list yolov9*", ["yolov9*", "zoo list"]),
        ("info yolov8n_datn", ["yolov8n_datn", "Did you mean yolov8n_dattn"]),
        ("predict yolov8n_datn images", ["yolov8n_datn", "Did you mean yolov8n_dattn"]),
        ("predict yolov8n_dattn.nope images", ["yolov8n_dattn"]),
        ("predict yolov8x_hat_p345 images", ["yolov8x_hat_p345", "no trained weights"]),
        ("predict local-dir:empty images", ["config.json"]),
        ("predict local-dir:truncated images", ["truncated", "safetensors"]),
        ("predict local-dir:pickled images", ["pickled", "safetensors"]),
        ("predict local-dir:lacking images", ["lacking"]),
        ("predict truncated images", ["folder", "local-dir:truncated"]),
        ("predict none.pt images", ["none.pt"]),
        ("predict yolov8n absent.png", ["absent.png", ".jpg"]),
        ("predict yolov8n empty", ["no image", "empty"]),
        ("predict MODEL images --device cuda:99", ["cuda:99", "not available"]),
        ("predict MODEL images --out file", ["file"]),
        ("train yolov8n_dattn data=x.yaml epoch=3", ["epoch", "Did you mean epochs"]),
        ("train yolov8n_dattn model=yolov8s", ["model"]),
        ("train yolov8n_dattn epochs", ["'epochs'", "key=value"]),
        ("train yolov8n_dattn epochs=three", ["epochs", "int"]),
        ("train yolov8n_dattn epochs=3", ["data=FILE.yaml"]),
        ("train yolov8n_dattn data=absent.yaml", ["absent.yaml"]),
        ("train yolov8n_dattn data=empty.yaml", ["empty.yaml", "train"]),
        ("val MODEL data=nameless.yaml", ["nameless.yaml", "names"]),
        ("val MODEL data=imageless.yaml", ["imageless.yaml", "nowhere"]),
        ("export MODEL format=onx", ["onx", "onnx"]),
        ("export MODEL", ["format=", "onnx"]),
        ("export yolov8n_datn", ["yolov8n_datn", "Did you mean yolov8n_dattn"]),
        ("verify yolov8n_datn", ["yolov8n_datn"]),
        ("card yolov8n_datn", ["yolov8n_datn", "Did you mean yolov8n_dattn"]),
        ("push yolov8x_hat_p345 org/repo", ["yolov8x_hat_p345", "no trained weights"]),
        ("push local-dir:lacking org/repo", ["lacking"]),
    ],
)
def test_bad_input_gets_one_clear_line(arguments, words, workplace, model, capsys):
    assert main(arguments.replace("MODEL", model).split()) == 1
    err = capsys.readouterr().err
    line = err.strip().splitlines()[-1]
    assert line.startswith("zoo: error: ")
    assert all(word in line for word in words), line
    assert "Traceback" not in err


def test_verify_passes_on_what_is_shipped(capsys):
    assert main(["verify"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert sorted(said) == sorted(f"{name}: ok" for name in zoo.list_models(pretrained=True))


def test_verify_of_a_tampered_file_fails(monkeypatch, tmp_path, capsys):
    names = zoo.list_models(pretrained=True)
    if not names:
        pytest.skip("no weights are shipped yet")
    file = assets.root() / "weights" / f"{names[0]}.safetensors"
    tampered = bytearray(file.read_bytes())
    tampered[-1] ^= 1
    for name in ("results", "cards", "weights_manifest.json"):
        (tmp_path / name).symlink_to(assets.root() / name)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / file.name).write_bytes(tampered)
    monkeypatch.setattr(assets, "root", lambda: tmp_path)
    assert main(["verify", names[0]]) == 1
    assert f"{names[0]}: " in (out := capsys.readouterr().out)
    assert "sha256" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "required"),
        ("fly", "fly"),
        ("predict yolov8n", "SOURCE"),
        ("predict yolov8n x.png --conf 1.5", "between 0 and 1"),
        ("predict yolov8n x.png --conf many", "between 0 and 1"),
        ("predict yolov8n x.png --imgsz 31", "at least 32"),
    ],
)
@pytest.mark.fast
def test_malformed_arguments_exit_with_two(arguments, words, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments.split())
    assert exit.value.code == 2
    assert words in capsys.readouterr().err


def test_exit_code_of_the_process_on_bad_input(tmp_path):
    done = run("info", "yolov8n_datn", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_train_val_and_export_of_the_result(tmp_path):
    for split in ("train", "val"):
        layout.write_split(tmp_path, split, digits.NAMES, (digits.compose(split, index) for index in range(8)))
    layout.write_yaml(tmp_path, digits.NAMES, {"train": "", "val": ""})
    settings = (
        f"data=data.yaml imgsz=64 batch=4 device=cpu plots=False project={tmp_path} name=run exist_ok=True".split()
    )
    trained = run("train", "yolov8n_dattn", *settings, "epochs=1", "nbs=4", "warmup_epochs=0", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    result = f"local-dir:{tmp_path / 'run/weights/zoo'}"
    assert zoo.create(result).config.num_classes == 10
    validated = run("val", result, *settings, cwd=tmp_path)
    assert "mAP50 0." in validated.stdout
    exported = run("export", result, "format=torchscript", "imgsz=64", cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    assert Path(tmp_path, exported.stdout.splitlines()[-1]).is_file()
