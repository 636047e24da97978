"""Files to frames by Ultralytics' loader, with two differences: scientific images keep their range, nothing stops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from ultralytics.data.loaders import LoadImagesAndVideos, SourceTypes

from zoo.predict.sources import is_video

_TIFF = {".tif", ".tiff"}
_HEIF = {".heic", ".heif"}


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
        try:
            return super().__next__()
        except StopIteration:
            self._judge_video()
            raise

    def _append_image(
        self, paths: list[str], imgs: list[np.ndarray], info: list[str], path: str, im0: np.ndarray | None, idx: int
    ) -> None:
        try:
            image = _decoded(path, im0)
            check_shape(image, self._imgsz)
        except ValueError as error:
            self.broken[path] = str(error)
        else:
            super()._append_image(paths, imgs, info, path, image, idx)

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
        ValueError: It is; the message has both sizes.
    """
    height, width = image.shape[:2]
    if min(height, width) * imgsz < max(height, width):
        raise ValueError(f"{height} x {width} pixels are too elongated for a model that sees {imgsz} pixels; cut it up")


def _decoded(path: str, image: np.ndarray | None) -> np.ndarray:
    """8 bits a channel, BGR: of 16 the upper 8, of floating point [0, 1] or else [0, 255]."""
    suffix = Path(path).suffix.lower()
    if suffix in _TIFF and (image is None or image.dtype != np.uint8):
        content = np.fromfile(path, np.uint8)
        image = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    if image is None:
        needs = ", and HEIC needs `pip install pi-heif`" if suffix in _HEIF else ""
        raise ValueError(f"it is no image that can be decoded{needs}")
    if image.dtype == np.uint8:
        return image
    image = image.astype(np.float32)
    low, high = float(image.min()), float(image.max())
    if not (np.isfinite([low, high]).all() and low >= 0 and high <= 255):
        raise ValueError(f"its values go from {low:g} to {high:g}; write 8 or 16 bits, or floats in [0, 1] or [0, 255]")
    image = (image * (255 if high <= 1 else 1)).round().astype(np.uint8)
    image = image if image.ndim == 3 else image[..., None]
    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.shape[2] == 1 else np.ascontiguousarray(image[..., :3])
