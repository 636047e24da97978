"""A model over sources, one frame at a time."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ultralytics.utils.checks import check_file

from zoo.predict.loader import Files, count_frames
from zoo.predict.sources import IMAGES, VIDEOS, Sources, is_video

if TYPE_CHECKING:
    import ultralytics
    from ultralytics.engine.predictor import BasePredictor
    from ultralytics.engine.results import Results


@dataclass(frozen=True)
class Frame:
    """What was found in one picture.

    Attributes:
        source: File or stream, spelt as the user did.
        number: Of the frame in its video or stream, from 1; `None` for an image.
        rate: Frames a second of the video or stream.
        live: Whether it comes from a stream, of which several may alternate.
        result: The picture and its detections, on the CPU.
    """

    source: str
    number: int | None
    rate: float
    live: bool
    result: Results


class Frames:
    """Iterate over the frames of sources, files first; what cannot be read is left out and named in `broken`.

    Args:
        model: The engine, `zoo.YOLO` or Ultralytics' own.
        sources: What to look at.
        track: Follow objects from frame to frame: through each video, and through all images as one sequence.
        batch: Images, or frames of one video, that the model sees at a time.
        imgsz: Longer side at the model in pixels; the model's own when `None`.
        downloads: Folder for the files behind URLs, each in a new one of its own.
        settings: Ultralytics' settings of prediction, e.g. `conf`.

    Attributes:
        broken: Reason by source.
    """

    def __init__(
        self,
        model: ultralytics.YOLO,
        sources: Sources,
        *,
        track: bool,
        batch: int,
        imgsz: int | None,
        downloads: Path,
        settings: dict[str, Any],
    ) -> None:
        self.broken: dict[str, str] = {}
        self._model = model
        self._sources = sources
        self._track = track
        self._batch = batch
        self._imgsz = imgsz or model.overrides.get("imgsz") or 640
        self._downloads = downloads
        self._predictor = _reading_ahead(model.task_map[model.task]["predictor"])
        self._settings = {"imgsz": self._imgsz, "batch": batch, **settings}

    def count(self) -> int | None:
        """Frames to come, by the headers of the videos; `None` if a stream makes them endless."""
        if self._sources.streams:
            return None
        return sum(count_frames(file) if is_video(file) else 1 for file in self._sources.files)

    def __iter__(self) -> Iterator[Frame]:
        fetched = [file for stream in self._sources.streams if _is_download(stream) for file in self._fetch(stream)]
        files = [*self._sources.files, *fetched]
        if self._track:
            images = [file for file in files if not is_video(file)]
            groups = [images, *([file] for file in files if is_video(file))]
        else:
            groups = [files]
        for group in filter(None, groups):
            yield from self._of_files(group)
        for stream in self._sources.streams:
            if not _is_download(stream):
                yield from self._of_stream(stream)

    def _of_files(self, files: list[Path]) -> Iterator[Frame]:
        loader = Files(files, self._batch, self._imgsz)
        numbers: Counter[str] = Counter()
        for result in self._results(loader, persist=not is_video(files[0])):
            if not is_video(Path(result.path)):
                yield Frame(result.path, None, 0, False, result.cpu())
                continue
            numbers[result.path] += 1
            rate = self._model.predictor.dataset.fps
            yield Frame(result.path, numbers[result.path], rate, False, result.cpu())
        self.broken.update(loader.broken)

    def _of_stream(self, stream: str) -> Iterator[Frame]:
        numbers: Counter[str] = Counter()
        try:
            for result in self._results(stream, persist=False):
                numbers[result.path] += 1
                rates = self._model.predictor.dataset.fps
                rate = min(rates) if isinstance(rates, list) else rates
                yield Frame(str(result.path), numbers[result.path], rate, True, result.cpu())
        except ConnectionError:
            self.broken[stream] = "it cannot be opened"
        except ImportError as error:
            self.broken[stream] = f"it needs a package, try `pip install {error.name}`"
        except (OSError, IndexError, ValueError) as error:
            self.broken[stream] = _one_line(error)

    def _results(self, source: Files | str, persist: bool) -> Iterator[Results]:
        settings = {"stream": True, "verbose": False, "predictor": self._predictor, **self._settings}
        if self._track:
            return self._model.track(source, persist=persist, **settings)
        return self._model.predict(source, **settings)

    def _fetch(self, url: str) -> list[Path]:
        fresh = next(path for number in itertools.count(1) if not (path := self._downloads / str(number)).exists())
        fresh.mkdir(parents=True)  # where Ultralytics finds no other file of this name, which it would take
        try:
            return [Path(check_file(url, download_dir=fresh))]
        except (OSError, ValueError) as error:
            self.broken[url] = _one_line(error)
            return []


def _reading_ahead(predictor: type[BasePredictor]) -> type[BasePredictor]:
    """A predictor that decodes the next batch while the model looks at this one; Ultralytics does so on GPUs alone."""

    class ReadingAhead(predictor):  # type: ignore[valid-type, misc]
        def setup_model(self, *args: Any, **settings: Any) -> None:
            super().setup_model(*args, **settings)
            self.model.prefetch = True

    return ReadingAhead


def _is_download(stream: str) -> bool:
    """Whether a URL is that of a file, by its name."""
    try:
        url = urlsplit(stream)
    except ValueError:
        return False
    return url.scheme in {"http", "https"} and url.path.lower().rpartition(".")[2] in IMAGES | VIDEOS


def _one_line(error: Exception) -> str:
    return " ".join(str(error).encode("ascii", "ignore").decode().split()).rstrip(".")
