"""Batches of images and frames, and files that cannot be read."""

import cv2
import numpy as np
import pytest

from zoo.predict.loader import Files, count_frames


def load(*paths, batch=1, imgsz=640):
    loader = Files(list(paths), batch, imgsz)
    found = [(path, image) for paths, images, _ in loader for path, image in zip(paths, images, strict=True)]
    return found, loader.broken


def write_video(path, frames, size=(64, 48)):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, size)
    for number in range(frames):
        writer.write(np.full((size[1], size[0], 3), 5 * number % 255, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (2, 3)])
def test_tiny_images_are_read(tmp_path, size):
    cv2.imwrite(str(tmp_path / "tiny.png"), np.zeros((*size, 3), np.uint8))
    assert len(load(tmp_path / "tiny.png")[0]) == 1


def test_an_image_too_elongated_for_the_model_is_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "thread.png"), np.zeros((1, 700, 3), np.uint8))
    assert "1 x 700" in load(tmp_path / "thread.png")[1][str(tmp_path / "thread.png")]


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff\xe0" + b"\0" * 100])
def test_what_cannot_be_decoded_stops_nothing(tmp_path, content, batch):
    names = ["a.png", "broken.jpg", "c.png", "broken.mp4", "broken.tif", "d.heic"]
    for name in names:
        if name in {"a.png", "c.png"}:
            cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))
        else:
            (tmp_path / name).write_bytes(content)
    whole = write_video(tmp_path / "whole.mp4", 7)
    found, broken = load(*(tmp_path / name for name in names), whole, batch=batch)
    assert [path for path, _ in found] == [str(tmp_path / "a.png"), str(tmp_path / "c.png"), *[str(whole)] * 7]
    assert {path.rpartition("/")[2] for path in broken} == set(names) - {"a.png", "c.png"}
    assert "pi-heif" in broken[str(tmp_path / "d.heic")]


@pytest.mark.parametrize("last", [True, False])
def test_a_video_that_ends_early_is_named_with_its_frames(tmp_path, last, monkeypatch):
    class Short:
        def __init__(self, path):
            self.capture, self.left = capture(path), 20

        def __getattr__(self, name):
            return getattr(self.capture, name)

        def grab(self):
            self.left -= 1
            return self.left >= 0 and self.capture.grab()

    short, other = write_video(tmp_path / "short.mp4", 50), write_video(tmp_path / "other.mp4", 5)
    capture = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Short)
    found, broken = load(*((other, short) if last else (short, other)), batch=4)
    assert len(found) == 25
    assert broken == {str(short): "it ends after 20 of 50 frames"}


def test_frames_are_counted_by_the_header(tmp_path):
    assert count_frames(write_video(tmp_path / "a.mp4", 12)) == 12
    (tmp_path / "b.mp4").write_bytes(b"no video")
    assert count_frames(tmp_path / "b.mp4") == 0
