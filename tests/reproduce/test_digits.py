"""The composed data set is the same everywhere, honest about its splits and labels, and not trivial."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from reproduce.datasets import digits

pytestmark = pytest.mark.fast


def test_a_scene_depends_on_split_and_index_alone():
    first, other = digits.compose("val", 3), digits.compose("val", 4)
    again = digits.compose("val", 3)
    assert np.array_equal(first.pixels, again.pixels)
    assert first.boxes == again.boxes
    assert other.pixels.shape != first.pixels.shape or not np.array_equal(first.pixels, other.pixels)


def test_scenes_are_those_that_the_weights_were_trained_on():
    digest = hashlib.sha256()
    for split in digits.SPLITS:
        for index in range(3):
            scene = digits.compose(split, index)
            digest.update(scene.pixels.tobytes() + repr([tuple(box) for box in scene.boxes]).encode())
    assert digest.hexdigest() == "e26e190445ab0f37cf221693b9f8a0335c6ab1ee15c52a51e73819674f2c65bf"


def test_splits_share_no_digit_image_and_use_all():
    images = {split: {im.tobytes() for p in digits.digit_pool(split).values() for im in p} for split in digits.SPLITS}
    assert not images["train"] & images["val"]
    assert not images["train"] & images["test"]
    assert not images["val"] & images["test"]
    assert sum(len(p) for split in digits.SPLITS for p in digits.digit_pool(split).values()) == 1797


@pytest.mark.parametrize("split", digits.SPLITS)
def test_scenes_vary_and_boxes_are_inside(split):
    scenes = [digits.compose(split, index) for index in range(60)]
    assert {(192, 192), (144, 192), (192, 144)} == {scene.pixels.shape[:2] for scene in scenes}
    boxes = [box for scene in scenes for box in scene.boxes]
    assert {box.label for box in boxes} == set(range(10))
    for scene in scenes:
        assert (scene.width, scene.height) == scene.pixels.shape[1::-1]
        assert 1 <= len(scene.boxes) <= 8
        for box in scene.boxes:
            assert box.x >= 0 and box.x + box.w <= scene.width
            assert box.y >= 0 and box.y + box.h <= scene.height
    heights = np.array([box.h for box in boxes])
    assert np.quantile(heights, 0.1) < 24 and np.quantile(heights, 0.9) > 48


def test_no_box_is_mostly_hidden_by_another():
    for index in range(60):
        boxes = digits.compose("train", index).boxes
        for i, a in enumerate(boxes):
            for b in boxes[i + 1 :]:
                w = min(a.x + a.w, b.x + b.w) - max(a.x, b.x)
                h = min(a.y + a.h, b.y + b.h) - max(a.y, b.y)
                assert max(w, 0) * max(h, 0) <= digits.MAX_COVERED * min(a.w * a.h, b.w * b.h)


def test_render_writes_the_scene(tmp_path):
    scene = digits.render(tmp_path / "scene.png", index=5)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "scene.png")), scene.pixels)
    assert scene.boxes == digits.compose("test", 5).boxes
