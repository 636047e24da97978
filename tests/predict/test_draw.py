"""Where labels go, and how small pictures are drawn."""

import cv2
import numpy as np
import pytest
import torch
from ultralytics.engine.results import Results

from zoo.predict.draw import draw, enlarge, enlargement, labels, place


def detected(shape=(48, 64), boxes=((8, 8, 40, 40, 0.9, 1),), **parts):
    image = np.full((*shape, 3), 128, np.uint8)
    return Results(image, "a.png", {0: "ant", 1: "bee"}, boxes=torch.tensor(boxes).reshape(-1, len(boxes[0])), **parts)


def hidden(corners, sizes, boxes):
    """Share of each box under labels, counted pixel by pixel."""
    shares = []
    covered = np.zeros((400, 400), bool)
    for (x, y), (w, h) in zip(corners, sizes, strict=True):
        covered[y : y + h, x : x + w] = True
    for x1, y1, x2, y2 in boxes:
        shares.append(covered[y1:y2, x1:x2].mean())
    return shares


def test_labels_hide_no_object_when_there_is_room():
    boxes = np.array([[50, 50, 120, 120], [50, 130, 120, 200], [130, 60, 200, 190], [300, 0, 399, 60], [0, 0, 90, 30]])
    sizes = np.array([[60, 14]] * 5)
    assert max(hidden(place(boxes, sizes, (400, 400)), sizes, boxes)) == 0


def test_labels_stay_in_the_picture_and_apart():
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 360, (40, 2))
    boxes = np.concatenate([corner, corner + rng.integers(5, 40, (40, 2))], axis=1)
    sizes = np.tile([[50, 14]], (40, 1))
    corners = place(boxes, sizes, (400, 400))
    assert (corners >= 0).all() and (corners + sizes <= 400).all()
    covered = np.zeros((400, 400), int)
    for (x, y), (w, h) in zip(corners, sizes, strict=True):
        covered[y : y + h, x : x + w] += 1
    assert (covered > 1).sum() < 0.1 * sizes.prod(1).sum()


@pytest.mark.parametrize(
    ("shape", "factor"), [((480, 640), 1), ((1080, 1920), 1), ((240, 320), 2), ((100, 30), 7), ((1, 1), 16)]
)
def test_small_pictures_are_enlarged_by_whole_steps(shape, factor):
    assert enlargement(*shape) == factor
    assert draw(detected(shape)).shape == (shape[0] * factor, shape[1] * factor, 3)


def test_boxes_move_with_the_picture():
    large = enlarge(detected(), 3)
    assert large.boxes.xyxy.tolist() == [[24, 24, 120, 120]]
    assert large.boxes.conf.tolist() == pytest.approx([0.9])


def test_the_object_is_still_seen_and_its_frame_is_drawn():
    picture = draw(detected((480, 640), ((100, 100, 300, 300, 0.9, 1),)))
    assert (picture[110:290, 110:290] == 128).all()
    assert (picture[100, 100:300] != 128).any(axis=1).all()


def test_labels_name_track_class_and_confidence():
    assert labels(detected()) == ["bee 0.90"]
    assert labels(detected(boxes=((8, 8, 40, 40, 7, 0.9, 1),))) == ["#7 bee 0.90"]


def test_pictures_without_objects_and_of_other_tasks_are_drawn():
    empty = Results(np.zeros((700, 700, 3), np.uint8), "a", {0: "ant"}, boxes=torch.zeros(0, 6))
    assert not draw(empty).any()
    mask = torch.zeros(1, 48, 64)
    mask[:, 10:30, 10:30] = 1
    assert (cv2.absdiff(draw(detected(masks=mask)), draw(detected())) > 20).any()
    points = torch.tensor([[[20.0, 20.0, 1.0]] * 17])
    assert draw(detected(keypoints=points)).shape == (480, 640, 3)
    oriented = Results(
        np.zeros((48, 64, 3), np.uint8), "a", {0: "ant"}, obb=torch.tensor([[32.0, 24, 20, 10, 0.3, 0.8, 0]])
    )
    assert draw(oriented).any()
