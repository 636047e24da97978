"""What the page asks for, computed: no Gradio here."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torchvision.ops import box_iou
from ultralytics.engine.results import Results

from zoo import pictures
from zoo.engine.yolo import YOLO
from zoo.errors import DataError, NoWeightsError, OptionError, one_line
from zoo.examples import examples
from zoo.explain import drawing, looks
from zoo.names import parse
from zoo.predict.draw import draw
from zoo.weights import manifest

MOST_MEGAPIXELS = 50
EXPORTS = ("onnx", "openvino", "torchscript")


@dataclass(frozen=True)
class Answer:
    """Both drawings, RGB `(H, W, 3)`, and what to say under them, in Markdown."""

    with_grafts: np.ndarray
    without_grafts: np.ndarray
    text: str


def choices() -> list[str]:
    """Trained weights by name, as the page offers them: those of the examples first."""
    return list(dict.fromkeys([*(name for name, _ in examples()), *manifest.entries()]))


def example_files(folder: Path) -> list[list[str]]:
    """The examples as files in a folder, each with the weights that go with it."""
    files = []
    for name, picture in examples():
        file = folder / f"{name}.png"
        picture.save(file)
        files.append([str(file), name])
    return files


@lru_cache(maxsize=4)
def engine(name: str) -> YOLO:
    """A model with trained weights, kept for the next question.

    Raises:
        NoWeightsError: The name has no weights: what it would find means nothing.
        ZooError: As `zoo.create`.
    """
    named = parse(name.strip())
    if named.kind == "file":
        raise OptionError(
            f"{name!r} is a file of this machine; the page takes names. Save it, and name local-dir:PATH."
        )
    if named.kind == "model" and named.grafts:
        raise NoWeightsError(f"{name} is a free-form name without trained weights; train it, and name local-dir:PATH.")
    return YOLO(name.strip(), pretrained=True)


def read(file: str | Path | None) -> np.ndarray:
    """The uploaded picture: RGB, uint8, `(H, W, 3)`.

    Raises:
        DataError: There is none, it is no image, or it is larger than 50 megapixels.
    """
    if not file:
        raise DataError("upload a picture first.")
    return pictures.read(file, MOST_MEGAPIXELS)


def detect(file: str | None, name: str, conf: float, imgsz: int) -> Answer:
    """Detections of a model and of the same weights with every gate shut.

    Raises:
        ZooError: The picture or the name cannot be used.
    """
    picture, model = read(file)[..., ::-1], engine(name)
    if len(getattr(model.model, "grafts", ())) == 0:
        raise OptionError(f"{name} is plain: there is nothing to compare it with. Choose a grafted model.")
    started = time.perf_counter()
    found = looks.attention(model, picture, conf=conf, imgsz=imgsz)
    seconds = time.perf_counter() - started
    lines = [
        f"**{_counted(found, found.found)}** with the grafts, **{_counted(found, found.found_without)}** with their "
        f"gates shut; {len(found.gained)} only with, {len(found.lost)} only without.",
        *(f"- {look.block} at {look.place} {look.effect}" for look in found.looks),
        f"\n{seconds * 1000:.0f} ms for both on this machine, at {imgsz} px. Click the picture to see what a graft "
        "looks at from there.",
    ]
    return Answer(_drawn(found, found.found), _drawn(found, found.found_without), "\n".join(lines))


def explain(file: str | None, name: str, conf: float, imgsz: int, at: tuple[float, float]) -> np.ndarray:
    """What every graft looks at from a point of the picture, drawn: RGB, `(H, W, 3)`.

    Raises:
        ZooError: The picture, the name or the point cannot be used.
    """
    found = looks.attention(engine(name), read(file)[..., ::-1], conf=conf, imgsz=imgsz, at=at)
    figure = drawing.draw(found)
    figure.set_dpi(120)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def compare_exports(file: str | None, name: str, conf: float, imgsz: int) -> list[list[str]]:
    """Export to every format whose software is installed, and hold its detections against PyTorch's.

    Returns:
        Rows of format, megabytes, milliseconds, detections, and the least overlap with PyTorch's; or what went wrong.

    Raises:
        ZooError: The picture or the name cannot be used.
    """
    picture, model = np.ascontiguousarray(read(file)[..., ::-1]), engine(name)
    expected, milliseconds = _timed(model, picture, conf, imgsz)
    rows = [["PyTorch", "", f"{milliseconds:.0f}", str(len(expected)), ""]]
    with tempfile.TemporaryDirectory() as folder:
        fresh = YOLO(name, pretrained=True)
        fresh.model.pt_path = str(Path(folder, "model.pt"))
        for kind in EXPORTS:
            try:
                exported = Path(fresh.export(format=kind, imgsz=imgsz, dynamic=kind == "onnx", verbose=False))
                found, milliseconds = _timed(YOLO(exported, task="detect"), picture, conf, imgsz)
            except (ImportError, RuntimeError, OSError) as error:
                rows.append([kind, "", "", "", one_line(error)[:120]])
                continue
            files = [exported] if exported.is_file() else list(exported.rglob("*"))
            size = sum(each.stat().st_size for each in files if each.is_file()) / 1e6
            least = box_iou(expected, found).amax(1).min() if len(expected) and len(found) else None
            said = "" if least is None else f"{float(least):.4f}"
            rows.append([kind, f"{size:.1f}", f"{milliseconds:.0f}", str(len(found)), said])
    return rows


def _timed(model: YOLO, picture: np.ndarray, conf: float, imgsz: int) -> tuple[torch.Tensor, float]:
    """Boxes, and the milliseconds of the second of two predictions."""
    for _ in range(2):
        started = time.perf_counter()
        [result] = model.predict(picture, conf=conf, imgsz=imgsz, verbose=False, save=False)
        milliseconds = 1000 * (time.perf_counter() - started)
    return result.boxes.xyxy.cpu(), milliseconds


def _drawn(found: looks.Explanation, detections: looks.Detections) -> np.ndarray:
    boxes = torch.cat((detections.boxes, detections.scores[:, None], detections.classes[:, None].float()), 1)
    bgr = np.ascontiguousarray(found.picture[..., ::-1])
    return draw(Results(bgr, path="", names=dict(found.names), boxes=boxes.cpu()))[..., ::-1]


def _counted(found: looks.Explanation, detections: looks.Detections) -> str:
    counts = Counter(found.names[int(number)] for number in detections.classes)
    return ", ".join(f"{count} x {name}" for name, count in counts.most_common()) or "nothing"
