"""What is written of each frame, by one thread of its own while the model looks at the next."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import secrets
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import cv2
import numpy as np
from ultralytics.data.converter import coco80_to_coco91_class
from ultralytics.utils import YAML
from ultralytics.utils.checks import check_yaml
from ultralytics.utils.plotting import save_one_box

from zoo.errors import OptionError
from zoo.files import replacing
from zoo.predict.draw import draw, objects
from zoo.predict.frames import Frame

if TYPE_CHECKING:
    from ultralytics.engine.results import Results

COLUMNS = ("image", "frame", "track", "class", "name", "confidence", "x1", "y1", "x2", "y2")
_WAITING = 8
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)


class Outputs:
    """A context in which frames are written; its files are whole when it ends, also after an interruption.

    Args:
        folder: Of pictures, videos, labels and crops.
        sources: Files that are read, and so never written.
        pictures: Draw.
        txt: Write labels as YOLO trains on them, `labels/<name>.txt`.
        crops: Cut out each object, `crops/<class>/<name>.jpg`.
        coco: File for the detections as COCO results.
        table: File for the detections as CSV.
    """

    def __init__(
        self,
        folder: Path,
        sources: Iterable[Path] = (),
        *,
        pictures: bool = True,
        txt: bool = False,
        crops: bool = False,
        coco: Path | None = None,
        table: Path | None = None,
    ) -> None:
        self.folder = folder
        self._pictures, self._txt, self._crops = pictures, txt, crops
        self._coco_file, self._table_file = coco, table
        self._coco: IO[str] | None = None
        self._table: Any = None
        self._reserved = {path.resolve() for path in sources}
        self._bases: dict[str, str] = {}
        self._images: set[str] = set()
        self._films: set[str] = set()
        self._videos: dict[str, _Video] = {}
        self._pending: list[Future[None]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Outputs:
        if self._pictures or self._txt or self._crops:
            self.folder.mkdir(parents=True, exist_ok=True)
        if self._coco_file:
            temporary = self._stack.enter_context(replacing(self._coco_file))
            self._coco = self._stack.enter_context(temporary.open("w", encoding="utf-8"))
            self._coco.write("[")
        if self._table_file:
            temporary = self._stack.enter_context(replacing(self._table_file))
            self._table = csv.writer(self._stack.enter_context(temporary.open("w", newline="", encoding="utf-8")))
            self._table.writerow(COLUMNS)
        self._stack.callback(self._close_videos)
        self._worker = self._stack.enter_context(ThreadPoolExecutor(1))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            self._wait(0)
            if self._coco:
                self._coco.write("\n]\n")

    def write(self, frame: Frame) -> Path | None:
        """Write one frame, soon.

        Returns:
            Where it is drawn, if it is.

        Raises:
            OSError: An earlier frame could not be written.
        """
        base = self._base(frame)
        self._wait(_WAITING)
        self._pending.append(self._worker.submit(self._write, frame, base))
        return self._picture(frame, base) if self._pictures else None

    def _wait(self, waiting: int) -> None:
        while len(self._pending) > waiting:
            self._pending.pop(0).result()

    def _base(self, frame: Frame) -> str:
        """A name that no other source has, and no file that is read."""
        if frame.source not in self._bases:
            stem = Path(frame.source).stem
            names = (f"{stem}-{number}" if number > 1 else stem for number in itertools.count(1))
            base = next(name for name in names if self._is_free(name, frame))
            self._bases[frame.source] = base
            (self._images if frame.number is None else self._films).add(base)
        return self._bases[frame.source]

    def _is_free(self, name: str, frame: Frame) -> bool:
        """Whether no other source has the name, no file that is read, and no image that of a frame of a video."""
        taken = name in self._images or name in self._films
        if taken or self._picture(frame, name).resolve() in self._reserved:
            return False
        if frame.number is None:
            return _film(name) not in self._films
        return name not in map(_film, self._images)

    def _picture(self, frame: Frame, base: str) -> Path:
        return self.folder / f"{base}{'.jpg' if frame.number is None else '.mp4'}"

    def _write(self, frame: Frame, base: str) -> None:
        result = frame.result
        name = base if frame.number is None else f"{base}_{frame.number}"
        if self._coco:
            for record in coco_results(result, name, frame):
                self._coco.write(f"{',' if self._coco.tell() > 1 else ''}\n{json.dumps(record)}")
        if self._table:
            self._table.writerows(rows(result, frame))
        if self._txt:
            labels = self.folder / "labels" / f"{name}.txt"
            labels.unlink(missing_ok=True)
            result.save_txt(labels)
        if self._crops:
            for box in objects(result):
                place = box.xyxyxyxy if result.obb is not None else box.xyxy
                kind = re.sub(r"[^\w +-]", "_", result.names[int(box.cls)])
                save_one_box(place, result.orig_img, self.folder / "crops" / kind / f"{name}.jpg", BGR=True)
        if self._pictures:
            self._draw(frame, self._picture(frame, base))

    def _draw(self, frame: Frame, path: Path) -> None:
        picture = draw(frame.result)
        if frame.number is None:
            _, encoded = cv2.imencode(".jpg", picture, _JPEG)
            with replacing(path) as temporary:
                temporary.write_bytes(encoded.tobytes())
            return
        if frame.source not in self._videos:
            if not frame.live:
                self._close_videos()
            self._videos[frame.source] = _Video(path, frame.rate, picture)
        self._videos[frame.source].write(picture)

    def _close_videos(self) -> None:
        while self._videos:
            self._videos.popitem()[1].close()


class _Video:
    """An MPEG-4 file that has its name once it is whole."""

    def __init__(self, path: Path, rate: float, picture: np.ndarray) -> None:
        self._path = path
        self._temporary = path.with_name(f".{secrets.token_hex(8)}.part{path.suffix}")
        self._size = picture.shape[1::-1]
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(self._temporary), codec, rate if 0 < rate < 1000 else 30, self._size)
        if not self._writer.isOpened():
            raise OptionError(f"OpenCV cannot write the video {path}; --no-pictures leaves it out.")

    def write(self, picture: np.ndarray) -> None:
        same = picture.shape[1::-1] == self._size
        self._writer.write(picture if same else cv2.resize(picture, self._size))

    def close(self) -> None:
        self._writer.release()
        os.replace(self._temporary, self._path)


def _film(name: str) -> str:
    """The video that a name would be a frame of."""
    return re.sub(r"_\d+$", "", name)


def coco_results(result: Results, image_id: str, frame: Frame) -> list[dict[str, Any]]:
    """Detections as COCO's evaluation reads them, boxes in pixels from the left upper corner.

    Classes are numbered as Ultralytics' validation writes them: as in COCO for its 80 classes, else from 1.
    """
    boxes = objects(result)
    numbers = category_ids(result.names)
    records = []
    for index, (x1, y1, x2, y2) in enumerate(boxes.xyxy.tolist()):
        records.append(
            {
                "image_id": int(image_id) if image_id.isdecimal() else image_id,
                "file_name": frame.source,
                **({} if frame.number is None else {"frame": frame.number}),
                **({"track_id": int(boxes.id[index])} if boxes.is_track else {}),
                "category_id": numbers[int(boxes.cls[index])],
                "category": result.names[int(boxes.cls[index])],
                "bbox": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
                "score": round(float(boxes.conf[index]), 5),
                **_shape(result, index),
            }
        )
    return records


def category_ids(names: dict[int, str]) -> list[int]:
    """COCO category of each class."""
    return coco80_to_coco91_class() if names == _coco_names() else list(range(1, max(names, default=0) + 2))


@lru_cache(maxsize=1)
def _coco_names() -> dict[int, str]:
    return YAML.load(check_yaml("coco.yaml"))["names"]


def rows(result: Results, frame: Frame) -> list[list[Any]]:
    """Detections as rows under `COLUMNS`, boxes by their corners in pixels."""
    boxes = objects(result)
    tracks = boxes.id.int().tolist() if boxes.is_track else [""] * len(boxes)
    return [
        [frame.source, frame.number or "", track, int(number), result.names[int(number)], round(confidence, 4)]
        + [round(edge, 1) for edge in corners]
        for track, number, confidence, corners in zip(
            tracks, boxes.cls.tolist(), boxes.conf.tolist(), boxes.xyxy.tolist(), strict=True
        )
    ]


def _shape(result: Results, index: int) -> dict[str, Any]:
    """Of segments the outline, of poses the points, of oriented boxes the corners."""
    found: dict[str, Any] = {}
    if result.masks is not None:
        found["segmentation"] = [np.round(result.masks.xy[index], 2).flatten().tolist()]
    if result.keypoints is not None:
        found["keypoints"] = [round(value, 2) for value in result.keypoints.data[index].flatten().tolist()]
    if result.obb is not None:
        found["poly"] = [round(value, 2) for value in result.obb.xyxyxyxy[index].flatten().tolist()]
    return found
