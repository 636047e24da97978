"""`zoo predict` and `zoo track`: as processes where that matters, by `main` elsewhere."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
import torch
import ultralytics
from PIL import Image
from safetensors.torch import save_file

import zoo
from tests.cli.process import ROOT, run
from zoo.cli import main
from zoo.cli.arguments import load


@pytest.fixture
def video(tmp_path):
    """Twelve frames of 64 x 64 pixels."""
    path = tmp_path / "v.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 12, (64, 64))
    noise = np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8)
    for shift in range(12):
        writer.write(np.ascontiguousarray(noise[:, shift : shift + 64]))
    writer.release()
    return path


def detections(model, tmp_path, *arguments) -> list:
    file = tmp_path / "d.json"
    assert main(["predict", model, *map(str, arguments), "--out", str(tmp_path / "o"), "--json", str(file)]) == 0
    return json.loads(file.read_text())


def test_process_writes_pictures_and_detections(model, images, tmp_path):
    done = run("predict", model, "images", "--json", "d.json", "--csv", "d.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "images/a.png: " in done.stdout
    assert "drawn in runs/predict/a.jpg" in done.stdout
    records = json.loads((tmp_path / "d.json").read_text())
    assert {record["file_name"] for record in records} == {"images/a.png", "images/b.jpg"}
    first = [record for record in records if record["file_name"] == "images/a.png"]
    for found in first:
        left, top, width, height = found["bbox"]
        assert 0 <= left < left + width <= 80.01 and 0 <= top < top + height <= 48.01
        assert found["category"] == ("ant", "bee", "cow")[found["category_id"] - 1]
        assert 0.25 <= found["score"] <= 1
    with Image.open(tmp_path / "runs/predict/a.jpg") as picture, Image.open(images / "a.png") as source:
        assert picture.size == (source.width * 8, source.height * 8)
        small = np.asarray(picture.resize(source.size), int)
        assert np.abs(small - np.asarray(source, int)).max() > 100
    rows = list(csv.DictReader((tmp_path / "d.csv").open()))
    assert len(rows) == len(records)
    assert float(rows[0]["confidence"]) == pytest.approx(first[0]["score"], abs=1e-4)
    assert float(rows[0]["x2"]) == pytest.approx(first[0]["bbox"][0] + first[0]["bbox"][2], abs=0.1)


def test_a_run_leaves_the_one_before_alone(model, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["predict", model, str(images)]) == 0
    assert [len(list(folder.iterdir())) for folder in (tmp_path / "runs").iterdir()] == [2, 2]


def test_images_of_one_name_get_a_picture_each(model, images, tmp_path):
    twin = tmp_path / "twin"
    twin.mkdir()
    (twin / "a.png").write_bytes((images / "a.png").read_bytes())
    arguments = [str(images / "*.png"), str(twin), str(twin / "a.png"), "--out", str(tmp_path / "o")]
    assert main(["predict", model, *arguments]) == 0
    assert len(list((tmp_path / "o").iterdir())) == 2


def test_sources_are_left_alone(model, images):
    before = {path: path.read_bytes() for path in images.iterdir()}
    assert main(["predict", model, str(images), "--out", str(images)]) == 0
    assert {path: path.read_bytes() for path in before} == before
    assert len(list(images.iterdir())) == 4


def test_confidence_is_a_floor_and_nothing_found_has_no_table(model, images, tmp_path, capsys):
    assert detections(model, tmp_path, images / "a.png", "--conf", "1") == []
    assert "nothing found" in (out := capsys.readouterr().out)
    assert "x1" not in out


def test_image_size_is_the_model_s_own_unless_given(model, images, tmp_path):
    def boxes(*size: str) -> list:
        return [found["bbox"] for found in detections(model, tmp_path, images / "a.png", *size)]

    assert boxes() == boxes("--imgsz", "64") != boxes("--imgsz", "96")


def test_batches_find_the_same(model, images, tmp_path):
    image = Image.open(images / "b.jpg")
    for number in range(5):
        image.rotate(90 * number).save(images / f"r{number}.png")
    one, four = (detections(model, tmp_path, images / "r*.png", "--batch", size) for size in ("1", "4"))
    assert [found["file_name"] for found in one] == [found["file_name"] for found in four]
    assert [found["score"] for found in one] == pytest.approx([found["score"] for found in four], abs=1e-3)


def test_detections_are_those_of_the_engine(model, images, tmp_path):
    found = detections(model, tmp_path, images / "b.jpg", "--iou", "0.5", "--max-det", "7", "--classes", "bee,0")
    expected = zoo.YOLO(model).predict(images / "b.jpg", iou=0.5, max_det=7, classes=[1, 0], verbose=False)[0].boxes
    assert 0 < len(found) <= 7
    assert [record["category_id"] - 1 for record in found] == expected.cls.int().tolist()
    assert [record["score"] for record in found] == pytest.approx(expected.conf.tolist(), abs=1e-4)


def test_what_cannot_be_read_does_not_stop_the_others(model, images, tmp_path, capsys):
    (images / "broken.png").write_bytes(b"no image")
    file = tmp_path / "d.json"
    sources = [str(images), "none*.png"]
    assert main(["predict", model, *sources, "--out", str(tmp_path / "o"), "--json", str(file)]) == 1
    assert {record["file_name"] for record in json.loads(file.read_text())} == {
        str(images / "a.png"),
        str(images / "b.jpg"),
    }
    err = capsys.readouterr().err
    assert err.startswith("zoo: error: 2 of the sources could not be read, the others are done.")
    assert "broken.png: it is no image that can be decoded" in err
    assert "'none*.png'" in err


def test_videos_become_videos(model, video, tmp_path, capsys):
    assert main(["predict", model, str(video), "--out", str(tmp_path / "o"), "--txt", "--batch", "5"]) == 0
    assert "v.mp4: 12 frames, " in capsys.readouterr().out
    drawn = cv2.VideoCapture(str(tmp_path / "o" / "v.mp4"))
    assert [drawn.get(key) for key in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS)] == [12, 12]
    assert len(list((tmp_path / "o" / "labels").iterdir())) == 12


def test_tracks_have_numbers_through_a_video_and_through_a_folder(model, video, images, tmp_path):
    pytest.importorskip("lap")
    arguments = ["--conf", "0.25", "--no-pictures", "--csv", str(tmp_path / "t.csv"), "--tracker", "bytetrack.yaml"]
    frame = Image.open(images / "b.jpg")
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(4):
        frame.save(folder / f"{number}.png")
    assert main(["track", model, str(video), str(folder), *arguments]) == 0
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    frames_of = {row["track"]: set() for row in rows if row["image"].endswith(".png")}
    for row in rows:
        if row["image"].endswith(".png"):
            frames_of[row["track"]].add(row["image"])
    assert max(map(len, frames_of.values())) == 4
    assert all(row["track"] for row in rows)
    assert {row["frame"] for row in rows if row["image"] == str(video)} >= {"3", "12"}


@pytest.mark.parametrize("spelling", ["{}", "{}/model.safetensors", "local-dir:{}"])
def test_saved_models_go_by_folder_and_by_file(model, images, tmp_path, spelling):
    name = spelling.format(model.removeprefix("local-dir:"))
    assert detections(name, tmp_path, images / "a.png") == detections(model, tmp_path, images / "a.png")


def test_run_folders_are_names(model, images, tmp_path):
    run_folder = tmp_path / "run"
    (run_folder / "weights").mkdir(parents=True)
    (run_folder / "weights" / "zoo").symlink_to(model.removeprefix("local-dir:"))
    assert detections(str(run_folder), tmp_path, images / "a.png")


def test_weights_of_the_repository_go_by_file(images, tmp_path):
    name = zoo.list_models("yolov8n*", pretrained=True)[0]
    file = ROOT / "weights" / f"{name}.safetensors"
    assert detections(str(file), tmp_path, images / "a.png") == detections(name, tmp_path, images / "a.png")


@pytest.mark.parametrize(("format", "needs"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_exports_are_names(model, images, tmp_path, format, needs):
    pytest.importorskip(needs)
    copy = tmp_path / "copy"
    zoo.save(zoo.create(model), copy)
    exported = zoo.YOLO(f"local-dir:{copy}").export(format=format, imgsz=64)
    found = detections(exported, tmp_path, images / "b.jpg")
    [expected] = ultralytics.YOLO(exported, task="detect").predict(images / "b.jpg", imgsz=64, verbose=False)
    assert len(found) > 0
    assert [one["score"] for one in found] == pytest.approx(expected.boxes.conf.tolist(), abs=1e-4)


def test_tensors_are_taken_in_python(model):
    [result] = zoo.YOLO(model).predict(torch.rand(1, 3, 64, 64), verbose=False)
    assert result.orig_shape == (64, 64)


def test_urls_of_one_file_name_are_pictures_of_their_own_and_asked_for_again(model, images, tmp_path):
    served = {"/x.png?1": "a.png", "/x.png?2": "b.jpg"}

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            content = (images / served[self.path]).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    def sizes(*queries: int) -> list[tuple[int, int]]:
        urls = [f"http://127.0.0.1:{server.server_port}/x.png?{query}" for query in queries]
        found = detections(model, tmp_path, *urls)
        return [Image.open(file).size for file in dict.fromkeys(record["file_name"] for record in found)]

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert sizes(1, 2) == [(80, 48), (64, 64)]
        served["/x.png?1"] = "b.jpg"
        assert sizes(1) == [(64, 64)]
        server.shutdown()


def test_a_camera_that_is_not_there_is_one_line(model, tmp_path):
    done = run("predict", model, "77", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("zoo: error: 1 of the sources could not be read")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done(model, images, tmp_path):
    noise = (images / "b.jpg").read_bytes()
    for number in range(3000):
        (images / f"{number}.jpg").write_bytes(noise)
    command = [sys.executable, "-m", "zoo", "predict", model, "images", "--json", "d.json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True, env=environment)
    for _ in range(5):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "pictures are done and written; the same command starts again" in err
    assert len({record["file_name"] for record in json.loads((tmp_path / "d.json").read_text())}) >= 5


def test_a_folder_named_like_a_model_does_not_take_its_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("yolov8n_dattn", "yolov8n"):
        (tmp_path / name).mkdir()
    assert load("yolov8n_dattn", pretrained=True).overrides["pretrained"] is True
    base = zoo.create("yolov8n").state_dict()
    save_file(base, "yolov8n.safetensors")
    loaded = load("yolov8n.safetensors", pretrained=True).model.state_dict()
    assert torch.equal(loaded["model.0.conv.weight"], base["model.0.conv.weight"])


def test_a_run_of_ultralytics_is_no_export_and_keeps_its_task(tmp_path):
    best = tmp_path / "run" / "weights" / "best.pt"
    best.parent.mkdir(parents=True)
    ultralytics.YOLO("yolov8n-pose.yaml").save(best)
    loaded = load(str(tmp_path / "run"), pretrained=True)
    assert (loaded.task, loaded.ckpt_path) == ("pose", str(best))
