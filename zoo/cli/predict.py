"""The verb that detects: predict."""

from __future__ import annotations

import csv
import glob
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.cli import table
from zoo.cli.arguments import MODEL, Add, fraction, load, pixels
from zoo.errors import DataError, OptionError
from zoo.files import replacing, write_text

if TYPE_CHECKING:
    from ultralytics.engine.results import Results

TRUST = "trust=True"
IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def add_verbs(add: Add) -> None:
    """Add this module's verbs to the command line."""
    detecting = add(predict)
    detecting.add_argument("name", metavar="NAME", help=MODEL)
    detecting.add_argument(
        "sources",
        metavar="SOURCE",
        nargs="+",
        help=f"image files, folders and globs; {TRUST} runs whatever a .pt file of your own holds",
    )
    detecting.add_argument("--conf", type=fraction, default=0.25, help="least confidence (default: %(default)s)")
    detecting.add_argument("--imgsz", type=pixels, help="longer side in pixels (default: as trained)")
    detecting.add_argument("--device", help="cpu, 0, mps, ... (default: the first GPU, else cpu)")
    detecting.add_argument("--out", type=Path, default="runs/predict", help="folder of the annotated images")
    detecting.add_argument("--json", type=Path, dest="json_file", metavar="FILE", help="write the detections as JSON")
    detecting.add_argument("--csv", type=Path, dest="csv_file", metavar="FILE", help="write the detections as CSV")


def predict(
    name: str,
    sources: list[str],
    conf: float,
    imgsz: int | None,
    device: str | None,
    out: Path,
    json_file: Path | None,
    csv_file: Path | None,
) -> None:
    """Detect objects in images and draw them.

    Without a tag in NAME, the weights are the model's first.
    """
    paths = _find_images([source for source in sources if source != TRUST])
    model = load(name, pretrained=True, trust=TRUST in sources)
    settings = {"conf": conf, "imgsz": imgsz, "device": _check_device(device)}
    settings = {key: value for key, value in settings.items() if value is not None}

    from rich.console import Console
    from rich.progress import track
    from ultralytics.utils.patches import imread

    pictures, unreadable, records = _pictures(paths, out), [], []
    quiet = len(paths) == 1 or not sys.stderr.isatty()
    for path in track(paths, "predict", console=Console(stderr=True), transient=True, disable=quiet):
        image = imread(path)
        if image is None:
            unreadable.append(path)
            continue
        results = model.predict(image, verbose=False, **settings)[0]
        _write_picture(results, pictures[path])
        records.append(_record(results, path, pictures[path]))
        counts = Counter(detection["name"] for detection in records[-1]["detections"])
        found = ", ".join(f"{count} x {what}" for what, count in counts.items()) or "nothing found"
        print(f"{path}: {found}; drawn in {pictures[path]}")
    if len(records) == 1:
        table.show(
            ["name", "confidence", "x1", "y1", "x2", "y2"],
            [[d["name"], f"{d['confidence']:.2f}", *(f"{x:.0f}" for x in d["box"])] for d in records[0]["detections"]],
        )
    if json_file:
        write_text(json_file, json.dumps(records, indent=2) + "\n")
    if csv_file:
        with replacing(csv_file) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["image", "class", "name", "confidence", "x1", "y1", "x2", "y2"])
            for record in records:
                for d in record["detections"]:
                    writer.writerow([record["image"], d["class"], d["name"], d["confidence"], *d["box"]])
    if unreadable:
        raise DataError(f"{len(unreadable)} of {len(paths)} images could not be decoded: {_some(unreadable)}.")


def _check_device(device: str | None) -> str | None:
    from ultralytics.utils.torch_utils import select_device

    if device is not None:
        try:
            select_device(device, verbose=False)
        except (ValueError, RuntimeError) as error:
            raise OptionError(f"device {device!r} is not available: {_one_line(error)}") from error
    return device


def _find_images(sources: list[str]) -> list[Path]:
    paths: list[Path] = []
    for source in sources:
        if Path(source).is_dir():
            found = sorted(path for path in Path(source).iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        elif Path(source).is_file():
            found = [Path(source)]
        else:
            found = [path for path in map(Path, sorted(glob.glob(source, recursive=True))) if path.is_file()]
        if not found:
            what = "no image in folder" if Path(source).is_dir() else "no such file, and no file matches"
            raise DataError(f"{what} {source!r}; images end in {', '.join(sorted(IMAGE_SUFFIXES))}.")
        paths += found
    return list(dict.fromkeys(paths))


def _pictures(paths: list[Path], folder: Path) -> dict[Path, Path]:
    """One file name for each image, none of them an image that is read."""
    taken: Counter[str] = Counter()
    pictures = {}
    for path in paths:
        taken[path.stem] += 1
        number = f"_{taken[path.stem]}" if taken[path.stem] > 1 else ""
        pictures[path] = folder / f"{path.stem}_detected{number}.jpg"
    return pictures


def _record(results: Results, path: Path, picture: Path) -> dict[str, Any]:
    height, width = results.orig_shape
    detections = [
        {
            "class": int(number),
            "name": results.names[int(number)],
            "confidence": round(confidence, 4),
            "box": [round(edge, 1) for edge in box],
        }
        for *box, confidence, number in results.boxes.data.tolist()
    ]
    return {"image": str(path), "annotated": str(picture), "height": height, "width": width, "detections": detections}


def _write_picture(results: Results, path: Path) -> None:
    import cv2

    _, encoded = cv2.imencode(".jpg", results.plot())
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _some(paths: list[Path]) -> str:
    shown = ", ".join(map(str, paths[:3]))
    return shown if len(paths) <= 3 else f"{shown} and {len(paths) - 3} more"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
