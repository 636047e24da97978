"""Files to frames: images by the zoo's one rule for pictures, videos by Ultralytics' loader, and nothing stops."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from ultralytics.data.loaders import LoadImagesAndVideos, SourceTypes
from ultralytics.utils import NUM_THREADS

from zoo import pictures
from zoo.errors import DataError
from zoo.predict.sources import is_video

_WORTH_THREADS = 8
"""Images from which on they are decoded at once."""


class Files(LoadImagesAndVideos):
    """Batches of decoded images and video frames, images first, paths spelt as they were given.

    Args:
        files: Existing images and videos, at least one.
        batch: Images, or frames of one video, in a batch.
        imgsz: Longer side that the model will see, in pixels; a picture that would have no height or width left at
            this size is broken.

    Attributes:
        broken: Reason by file, for those of which nothing or not everything could be read so far.
    """

    def __init__(self, files: Sequence[Path], batch: int, imgsz: int) -> None:
        self.broken: dict[str, str] = {}
        self._imgsz = imgsz
        self._playing = ""
        super().__init__([str(file) for file in files], batch=batch)
        self.close()
        self.cap = None  # of the first video in an order that is not ours
        self.files = [str(file) for file in sorted(files, key=is_video)]
        self._playing = ""
        self.broken.clear()
        self.source_type = SourceTypes()

    def __next__(self) -> tuple[list[str], list[np.ndarray], list[str]]:
        """The next batch.

        Raises:
            StopIteration: There is none.
        """
        if self.count < self.ni and (batch := self._next_images()):
            return batch
        try:
            return super().__next__()
        except StopIteration:
            self._judge_video()
            raise

    def _next_images(self) -> tuple[list[str], list[np.ndarray], list[str]] | None:
        """The next batch of images, `None` if there is none left that can be read."""
        self.mode = "image"
        paths: list[str] = []
        images: list[np.ndarray] = []
        while self.count < self.ni and len(images) < self.bs:
            taken = self.files[self.count : min(self.count + self.bs - len(images), self.ni)]
            self.count += len(taken)
            if len(taken) < _WORTH_THREADS:
                opened = [self._open(path) for path in taken]
            else:
                with ThreadPoolExecutor(NUM_THREADS) as pool:
                    opened = list(pool.map(self._open, taken))
            for path, image in zip(taken, opened, strict=True):
                if image is not None:
                    paths.append(path)
                    images.append(image)
        return (paths, images, [f"{path}: " for path in paths]) if images else None

    def _open(self, path: str) -> np.ndarray | None:
        try:
            image = pictures.of_file(path)
            check_shape(image, self._imgsz)
        except DataError as error:
            self.broken[path] = str(error)
            return None
        return image

    def _new_video(self, path: str) -> None:
        self._judge_video()
        self._playing = path
        try:
            super()._new_video(path)
        except FileNotFoundError:
            self.broken[path] = "it is no video that can be decoded"

    def _judge_video(self) -> None:
        """Compare the frames of the last video with its header, which some containers estimate."""
        if not self._playing or self._playing in self.broken:
            return
        if self.frame == 0:
            self.broken[self._playing] = "not one of its frames can be decoded"
        elif self.frames - self.frame > max(2, 0.02 * self.frames):
            self.broken[self._playing] = f"it ends after {self.frame} of {self.frames} frames"


def count_frames(path: Path) -> int:
    """Frames of a video by its header, 0 when it has none that can be read."""
    capture = cv2.VideoCapture(str(path))
    frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    return max(frames, 0)


def check_shape(image: np.ndarray, imgsz: int) -> None:
    """Refuse an image so elongated that no pixel of its shorter side is left at the model's size.

    Args:
        image: `(H, W, C)`.
        imgsz: Longer side at the model, in pixels.

    Raises:
        DataError: It is; the message has both sizes.
    """
    height, width = image.shape[:2]
    if min(height, width) * imgsz < max(height, width):
        raise DataError(f"{height} x {width} pixels are too elongated for a model that sees {imgsz} pixels; cut it up")
