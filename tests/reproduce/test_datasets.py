"""Whatever authors distribute comes into the one layout: boxes to the pixel, ignored objects apart, all or nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from ultralytics.data.converter import coco91_to_coco80_class

from reproduce.datasets import layout
from reproduce.datasets.layout import Box, Sample, write_split
from reproduce.datasets.prepare import prepare
from zoo.errors import DataError

pytestmark = pytest.mark.fast


def picture(path: Path, width: int = 100, height: int = 80) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height)).save(path)


def voc_object(name: str, corners: tuple[int, int, int, int], difficult: int = 0) -> str:
    sides = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
    return f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{sides}</bndbox></object>"


VOC = {
    "name": "cells",
    "format": "voc",
    "source": "https://example.org/cells",
    "root": "the folder that holds DEV",
    "names": ["red", "white"],
    "splits": {"train": ["DEV/A/trainval"], "val": ["DEV/A/val"], "test": ["DEV/A/test"]},
}


@pytest.fixture
def voc(tmp_path):
    folder = tmp_path / "source" / "DEV" / "A"
    for part in ("Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    objects = {
        "one": voc_object("white", (1, 1, 100, 80)) + voc_object("red", (11, 21, 30, 60), difficult=1),
        "two": "",
        "three": voc_object("red", (11, 21, 30, 60)),
    }
    for name, text in objects.items():
        picture(folder / "JPEGImages" / f"{name}.jpg")
        (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{text}</annotation>")
    (folder / "ImageSets" / "Main" / "trainval.txt").write_text("one\ntwo\n")
    (folder / "ImageSets" / "Main" / "val.txt").write_text("three\n")
    return tmp_path / "source"


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_voc(voc, tmp_path):
    before = contents(voc)
    data = prepare(VOC, voc, tmp_path / "cache")
    root = data.parent
    assert contents(voc) == before
    description = yaml.safe_load(data.read_text())
    assert description["names"] == {0: "red", 1: "white"}
    assert "test" not in description and "path" not in description
    assert (root / "labels/train/one.txt").read_text() == "1 0.500000 0.500000 1.000000 1.000000\n"
    assert (root / "labels/train/two.txt").read_text() == ""
    truth = json.loads((root / "annotations/train.json").read_text())
    assert [(a["bbox"], a["iscrowd"]) for a in truth["annotations"]] == [([0, 0, 100, 80], 0), ([10, 20, 20, 40], 1)]
    assert Image.open(root / "images/val/three.jpg").size == (100, 80)


def test_voc_corners_as_coordinates(voc, tmp_path):
    root = prepare(VOC | {"inclusive_corners": False}, voc, tmp_path / "cache").parent
    assert json.loads((root / "annotations/val.json").read_text())["annotations"][0]["bbox"] == [11, 21, 19, 39]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: (a / "Annotations/two.xml").unlink(), "two.xml"),
        (lambda a: (a / "Annotations/two.xml").write_text("<annotation>"), "two.xml"),
        (lambda a: (a / "Annotations/two.xml").write_text(f"<a>{voc_object('blue', (1, 1, 2, 2))}</a>"), "'blue'"),
        (lambda a: (a / "JPEGImages/two.jpg").write_bytes(b"no image"), "two.jpg is not a readable image"),
        (lambda a: (a / "ImageSets/Main/trainval.txt").write_text("\n"), "no image"),
        (lambda a: (a / "ImageSets/Main/trainval.txt").unlink(), "https://example.org/cells"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_left(voc, tmp_path, change, words):
    change(voc / "DEV" / "A")
    with pytest.raises(DataError, match=words):
        prepare(VOC, voc, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*")) and not list((tmp_path / "cache").glob(".*"))


def test_no_source_says_where_to_get_it(tmp_path):
    with pytest.raises(DataError, match=r"--data.*https://example.org/cells.*DEV"):
        prepare(VOC, None, tmp_path)


def test_prepared_once(voc, tmp_path, monkeypatch):
    first = prepare(VOC, voc, tmp_path / "cache")
    monkeypatch.setattr(layout, "write_split", None)
    assert prepare(VOC, voc, tmp_path / "cache") == first
    assert prepare(VOC | {"names": ["white", "red"]}, voc, tmp_path / "cache") != first


def test_limit_keeps_the_first_images(voc, tmp_path):
    root = prepare(VOC, voc, tmp_path / "cache", limit=1).parent
    assert [path.name for path in (root / "images/train").iterdir()] == ["one.jpg"]


def test_counts_and_digests_are_checked(voc, tmp_path):
    wrong = VOC | {"expected": {"train": {"images": 3}}}
    with pytest.raises(DataError, match=r"train: images is 2.*3"):
        prepare(wrong, voc, tmp_path / "cache")
    digests = yaml.safe_load(prepare(wrong, voc, tmp_path / "cache", verify=False).read_text())["sha256"]
    right = {split: {"sha256": digest} for split, digest in digests.items()}
    prepare(VOC | {"expected": right}, voc, tmp_path / "cache")
    with pytest.raises(DataError, match="sha256"):
        prepare(VOC | {"expected": {"val": right["train"]}}, voc, tmp_path / "cache")


def test_another_process_may_win(tmp_path):
    with layout.staged(tmp_path / "set") as root:
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "data.yaml").write_text("theirs")
        (root / "data.yaml").write_text("ours")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert (tmp_path / "set" / "data.yaml").read_text() == "theirs"


COCO = {
    "name": "things",
    "format": "coco",
    "source": "https://example.org/things",
    "root": "the folder that holds a",
    "splits": {split: {"annotations": f"a/{split}.json", "images": f"i/{split}"} for split in ("train", "val")},
}


def coco_source(folder: Path, annotations: list[dict]) -> Path:
    missing = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    categories = [{"id": i, "name": f"thing {i}"} for i in range(90, 0, -1) if i not in missing]
    for split in ("train", "val"):
        picture(folder / "i" / split / "000000000009.jpg")
        images = [{"id": 9, "file_name": "000000000009.jpg", "width": 100, "height": 80}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / "a").mkdir(exist_ok=True)
        (folder / "a" / f"{split}.json").write_text(json.dumps(content))
    return folder


def test_coco(tmp_path):
    ids = [1, 13, 90]
    annotations = [
        {"id": n, "image_id": 9, "category_id": c, "bbox": [10, 20, 30, 40], "area": 600.5, "iscrowd": int(c == 13)}
        for n, c in enumerate(ids)
    ]
    root = prepare(COCO, coco_source(tmp_path / "s", annotations), tmp_path / "cache").parent
    truth = json.loads((root / "annotations/val.json").read_text())
    official = coco91_to_coco80_class()
    assert [a["category_id"] for a in truth["annotations"]] == [official[c - 1] for c in ids]
    assert [a["iscrowd"] for a in truth["annotations"]] == [0, 1, 0]
    assert [a["area"] for a in truth["annotations"]] == [600.5] * 3
    labels = (root / "labels/val/000000000009.txt").read_text().splitlines()
    assert labels == ["0 0.250000 0.500000 0.300000 0.500000", "79 0.250000 0.500000 0.300000 0.500000"]


def test_coco_names_what_is_wrong(tmp_path):
    source = coco_source(tmp_path / "s", [{"id": 1, "image_id": 9, "category_id": 12, "bbox": [0, 0, 1, 1]}])
    with pytest.raises(DataError, match="category"):
        prepare(COCO, source, tmp_path / "cache")
    (source / "i" / "train" / "000000000009.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 1 images.*000000000009.jpg"):
        prepare(COCO | {"splits": COCO["splits"]}, coco_without_annotations(source), tmp_path / "cache")
    (source / "a" / "train.json").write_text("[]")
    with pytest.raises(DataError, match="not COCO JSON"):
        prepare(COCO, source, tmp_path / "cache")


def coco_without_annotations(source: Path) -> Path:
    content = json.loads((source / "a" / "train.json").read_text())
    (source / "a" / "train.json").write_text(json.dumps(content | {"annotations": []}))
    return source


YOLO = {
    "name": "boards",
    "format": "yolo",
    "source": "https://example.org/boards",
    "root": "the folder that holds images",
    "names": ["open", "short"],
    "splits": {"train": "train", "val": "val"},
}


def yolo_source(folder: Path, rows: str) -> Path:
    for split in ("train", "val"):
        picture(folder / "images" / split / "a.png")
        (folder / "labels" / split).mkdir(parents=True)
        (folder / "labels" / split / "a.txt").write_text(rows)
    return folder


def test_yolo(tmp_path):
    root = prepare(YOLO, yolo_source(tmp_path / "s", "1 0.5 0.5 0.2 0.25\n\n"), tmp_path / "cache").parent
    assert json.loads((root / "annotations/val.json").read_text())["annotations"][0]["bbox"] == [40, 30, 20, 20]


@pytest.mark.parametrize(
    ("rows", "words"),
    [("2 0.5 0.5 0.1 0.1", "class 2"), ("-1 0.5 0.5 0.1 0.1", "class -1"), ("0 0.5 nan 0.1 0.1", "not finite"),
     ("0 0.5 0.5 0.1", "class x y w h"), ("a 0.5 0.5 0.1 0.1", "a.txt")],
)  # fmt: skip
def test_yolo_names_what_is_wrong(tmp_path, rows, words):
    with pytest.raises(DataError, match=words):
        prepare(YOLO, yolo_source(tmp_path / "s", rows), tmp_path / "cache")


coordinate = st.floats(-50, 150, allow_nan=False)
box = st.builds(Box, st.integers(0, 2), coordinate, coordinate, coordinate, coordinate, st.booleans(), st.none())


@settings(max_examples=30, deadline=None)
@given(boxes=st.lists(box, max_size=6))
def test_labels_are_the_boxes_inside_the_image(boxes, tmp_path_factory):
    root = tmp_path_factory.mktemp("layout")
    pixels = np.zeros((80, 100, 3), np.uint8)
    write_split(root, "train", ["a", "b", "c"], [Sample(Path("x.png"), 100, 80, boxes, pixels)])
    rows = [[float(v) for v in line.split()] for line in (root / "labels/train/x.txt").read_text().splitlines()]
    expected, trained_on = [], []
    for box in boxes:
        x0, x1 = np.clip([box.x, box.x + box.w], 0, 100)
        y0, y1 = np.clip([box.y, box.y + box.h], 0, 80)
        trained_on.append(x1 - x0 > 1e-4 and y1 - y0 > 1e-4 and not box.ignored)
        if trained_on[-1]:
            expected.append([box.label, (x0 + x1) / 200, (y0 + y1) / 160, (x1 - x0) / 100, (y1 - y0) / 80])
    assert np.allclose(np.array(rows).reshape(-1, 5), np.array(expected).reshape(-1, 5), atol=1e-6)
    truth = json.loads((root / "annotations/train.json").read_text())
    assert [a["bbox"] for a in truth["annotations"]] == [list(box[1:5]) for box in boxes]
    assert [a["iscrowd"] == 0 for a in truth["annotations"]] == trained_on
