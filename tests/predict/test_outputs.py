"""What is written of frames, read back by other programs than wrote it."""

import csv
import json

import cv2
import numpy as np
import pytest
import torch
from ultralytics.engine.results import Results

from zoo.predict.frames import Frame
from zoo.predict.outputs import Outputs, category_ids

NAMES = {0: "ant", 1: "bee/../../wasp"}


def frame(
    source="a.png", number=None, boxes=((8, 8, 40, 30, 0.9, 1), (0, 0, 20, 20, 0.5, 0)), live=False, size=(48, 64)
):
    image = np.full((*size, 3), 128, np.uint8)
    result = Results(image, source, NAMES, boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, len(boxes[0])))
    return Frame(source, number, 10, live, result)


def test_coco_results_are_read_by_pycocotools(tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    with Outputs(tmp_path, pictures=False, coco=tmp_path / "d.json") as outputs:
        outputs.write(frame("7.png"))
        outputs.write(frame("8.png"))
    truth = coco.COCO()
    truth.dataset = {"images": [{"id": 7}, {"id": 8}], "categories": [{"id": 1}, {"id": 2}], "annotations": []}
    truth.createIndex()
    loaded = truth.loadRes(str(tmp_path / "d.json"))
    assert [loaded.anns[key]["bbox"] for key in loaded.anns][:2] == [[8, 8, 32, 22], [0, 0, 20, 20]]
    assert [loaded.anns[key]["category_id"] for key in loaded.anns] == [2, 1, 2, 1]
    assert [loaded.anns[key]["image_id"] for key in loaded.anns] == [7, 7, 8, 8]


def test_no_frame_is_an_empty_list(tmp_path):
    with Outputs(tmp_path, pictures=False, coco=tmp_path / "d.json"):
        pass
    assert json.loads((tmp_path / "d.json").read_text()) == []


def test_categories_are_cocos_for_its_classes_only():
    from ultralytics.utils import YAML
    from ultralytics.utils.checks import check_yaml

    names = YAML.load(check_yaml("coco.yaml"))["names"]
    assert category_ids(names)[79] == 90
    assert category_ids({0: "a", 1: "b"}) == [1, 2]


def test_table_has_corners_tracks_and_frames(tmp_path):
    with Outputs(tmp_path, pictures=False, table=tmp_path / "d.csv") as outputs:
        outputs.write(frame("a.png"))
        outputs.write(frame("v.mp4", 3, boxes=((1, 2, 3, 4, 17, 0.25, 0),)))
    with (tmp_path / "d.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["image"] for row in found] == ["a.png", "a.png", "v.mp4"]
    assert found[2] | {} == {
        **{"image": "v.mp4", "frame": "3", "track": "17", "class": "0", "name": "ant", "confidence": "0.25"},
        **{"x1": "1.0", "y1": "2.0", "x2": "3.0", "y2": "4.0"},
    }


def test_labels_can_be_trained_on(tmp_path):
    with Outputs(tmp_path, pictures=False, txt=True) as outputs:
        outputs.write(frame())
        outputs.write(frame())
    lines = (tmp_path / "labels" / "a.txt").read_text().split("\n")
    assert [float(word) for word in lines[0].split()] == pytest.approx([1, 0.375, 19 / 48, 0.5, 22 / 48], abs=1e-5)
    assert len(list(filter(None, lines))) == 2


def test_crops_stay_in_their_folder_whatever_a_class_is_called(tmp_path):
    with Outputs(tmp_path / "out", pictures=False, crops=True) as outputs:
        outputs.write(frame())
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.jpg"))
    assert found == ["out/crops/ant/a.jpg", "out/crops/bee_______wasp/a.jpg"]


def test_sources_of_one_name_and_sources_in_the_folder_keep_apart(tmp_path):
    own = tmp_path / "a.jpg"
    own.write_bytes(b"mine")
    with Outputs(tmp_path, [own]) as outputs:
        drawn = [outputs.write(frame(source)) for source in (str(own), "x/a.png", "y/a.png", "x/a.png")]
    assert own.read_bytes() == b"mine"
    assert [path.name for path in drawn] == ["a-2.jpg", "a-3.jpg", "a-4.jpg", "a-3.jpg"]
    assert all(path.is_file() for path in drawn)


@pytest.mark.parametrize("order", [1, -1])
def test_an_image_and_a_frame_of_a_video_keep_apart(order, tmp_path):
    frames = [frame("clip_1.jpg"), frame("clip.mp4", 1), frame("clip.mp4", 2), frame("clip_2.mp4", 1)]
    with Outputs(tmp_path, pictures=False, txt=True, coco=tmp_path / "d.json") as outputs:
        for each in frames[::order]:
            outputs.write(each)
    assert len(list((tmp_path / "labels").iterdir())) == 4
    assert len({record["image_id"] for record in json.loads((tmp_path / "d.json").read_text())}) == 4


@pytest.mark.parametrize("number", [None, 1])
def test_names_may_be_as_long_as_a_file_s(number, tmp_path):
    with Outputs(tmp_path) as outputs:
        assert outputs.write(frame(f"{'x' * 251}.png", number)).stem == "x" * 251
    assert len(list(tmp_path.iterdir())) == 1


def test_videos_are_whole_and_keep_rate_and_size(tmp_path):
    with Outputs(tmp_path) as outputs:
        for source in ("v.mp4", "w.avi"):
            for number in range(1, 6):
                path = outputs.write(frame(source, number, size=(480, 640)))
    assert path.name == "w.mp4"
    for name in ("v.mp4", "w.mp4"):
        capture = cv2.VideoCapture(str(tmp_path / name))
        assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 5
        assert capture.get(cv2.CAP_PROP_FPS) == 10
        assert capture.read()[1].shape == (480, 640, 3)
    assert len(list(tmp_path.iterdir())) == 2


def test_live_streams_alternate_and_may_change_their_size(tmp_path):
    with Outputs(tmp_path) as outputs:
        for number in range(1, 5):
            outputs.write(frame("north", number, live=True, size=(480, 640)))
            outputs.write(frame("south", number, live=True, size=(480, 640) if number < 3 else (960, 1280)))
    for name in ("north.mp4", "south.mp4"):
        assert cv2.VideoCapture(str(tmp_path / name)).get(cv2.CAP_PROP_FRAME_COUNT) == 4


def test_an_interruption_leaves_whole_files(tmp_path):
    with pytest.raises(KeyboardInterrupt), Outputs(tmp_path, coco=tmp_path / "d.json") as outputs:
        outputs.write(frame("v.mp4", 1))
        raise KeyboardInterrupt
    assert len(json.loads((tmp_path / "d.json").read_text())) == 2
    assert cv2.VideoCapture(str(tmp_path / "v.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 1


def test_what_cannot_be_written_is_said(tmp_path):
    (tmp_path / "labels").write_text("a file where a folder should be")
    with pytest.raises(OSError, match="labels"), Outputs(tmp_path, pictures=False, txt=True) as outputs:
        outputs.write(frame())
