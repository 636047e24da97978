"""Verbs that detect: predict, track."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.cli import table
from zoo.cli.arguments import MODEL, Add, fraction, load, natural, pixels
from zoo.engine.settings import check_device
from zoo.errors import DataError, FormatError, OptionError, ZooError, one_line
from zoo.predict import sources as finding

if TYPE_CHECKING:
    from zoo.predict.frames import Frames
    from zoo.predict.outputs import Outputs

TRUST = "trust=True"


def add_verbs(add: Add) -> None:
    """Add this module's verbs to the command line."""
    _add_detection(add(predict), conf=0.25)
    tracking = add(track)
    _add_detection(tracking, conf=0.1)
    tracking.add_argument("--tracker", help="botsort, bytetrack, ... or a YAML file (default: Ultralytics' choice)")


def _add_detection(verb: argparse.ArgumentParser, conf: float) -> None:
    verb.usage = f"{verb.prog} NAME SOURCE [SOURCE ...] [options]"
    verb.add_argument("name", metavar="NAME", help=MODEL)
    trust = f"{TRUST} among them runs whatever a .pt file holds"
    verb.add_argument("sources", metavar="SOURCE", nargs="+", help=f"{finding.FORMS}; {trust}")
    looking = verb.add_argument_group("how to look")
    looking.add_argument("--conf", type=fraction, default=conf, help="least confidence (default: %(default)s)")
    looking.add_argument("--iou", type=fraction, help="overlap of which one box is dropped (default: 0.7)")
    looking.add_argument("--imgsz", type=pixels, help="longer side in pixels (default: as trained)")
    looking.add_argument("--classes", metavar="A,B", help="only these, by name or number")
    looking.add_argument("--max-det", type=natural, metavar="N", help="most boxes in a picture (default: 300)")
    looking.add_argument("--batch", type=natural, default=1, help="pictures at a time (default: %(default)s)")
    looking.add_argument("--device", help="cpu, 0, mps, ... (default: the first GPU, else cpu)")
    looking.add_argument("--half", action="store_true", help="16-bit floats, on a GPU")
    writing = verb.add_argument_group("what to write")
    writing.add_argument("--out", type=Path, help="folder of what is drawn (default: the next free runs/VERB)")
    writing.add_argument("--no-pictures", action="store_false", dest="pictures", help="draw nothing")
    writing.add_argument("--txt", action="store_true", help="labels to train on: OUT/labels/*.txt")
    writing.add_argument("--crops", action="store_true", help="each object cut out: OUT/crops/CLASS/*.jpg")
    writing.add_argument("--json", type=Path, dest="coco", metavar="FILE.json", help="detections as COCO results")
    writing.add_argument("--csv", type=Path, dest="csv", metavar="FILE.csv", help="detections as a table")


def predict(name: str, sources: list[str], **options: Any) -> None:
    """Detect objects in pictures and videos, and draw them.

    Without a tag in NAME, the weights are the model's first. Exported models go by their file or folder.

    zoo predict yolov8n_dattn.coco photo.jpg 'more/*.png' clip.mp4 --json boxes.json
    zoo predict runs/train 0                 the camera, until Ctrl-C
    """
    _detect("predict", name, sources, **options)


def track(name: str, sources: list[str], **options: Any) -> None:
    """Follow objects through videos, and draw them.

    Images are taken as one sequence, in the order of their names. Without a tag in NAME, the weights are the model's
    first.
    """
    _detect("track", name, sources, **options)


def _detect(
    verb: str,
    name: str,
    sources: list[str],
    *,
    conf: float,
    iou: float | None,
    imgsz: int | None,
    classes: str | None,
    max_det: int | None,
    batch: int,
    device: str | None,
    half: bool,
    out: Path | None,
    pictures: bool,
    txt: bool,
    crops: bool,
    coco: Path | None,
    csv: Path | None,
    tracker: str | None = None,
) -> None:
    found = finding.find([source for source in sources if source != TRUST])
    for file, suffix in ((coco, ".json"), (csv, ".csv")):
        if file and file.suffix != suffix:
            raise OptionError(f"--{suffix[1:]} {file}: the name must end in {suffix}.")
    if not (pictures or txt or crops or coco or csv):
        raise OptionError("nothing would be written; give --txt, --crops, --json or --csv with --no-pictures.")
    model = load(name, exports=True, pretrained=True, trust=TRUST in sources)

    import cv2
    from ultralytics.utils.files import increment_path

    from zoo.predict.frames import Frames
    from zoo.predict.outputs import Outputs

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    out = out or increment_path(Path("runs", verb))
    given = {"conf": conf, "iou": iou, "max_det": max_det, "device": check_device(device)}
    settings: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if classes is not None:
        settings["classes"] = _class_numbers(classes, model.names)
    if tracker is not None:
        settings["tracker"] = _tracker(tracker)
    if half:
        settings["quantize"] = _half(device)
    frames = Frames(
        model, found, track=verb == "track", batch=batch, imgsz=imgsz, downloads=out / "downloads", settings=settings
    )
    started, count = time.perf_counter(), 0
    try:
        with Outputs(out, found.files, pictures=pictures, txt=txt, crops=crops, coco=coco, table=csv) as outputs:
            for count in _tell(frames, outputs):  # noqa: B007  # after an interruption it says how many are written
                pass
    except Exception as error:
        if count or isinstance(error, ZooError | OSError) or name.endswith(".pt") or not Path(name).exists():
            raise
        raise FormatError(f"{name} is no export that can be loaded: {one_line(error)}") from error
    except KeyboardInterrupt as interrupt:
        written = f"{count} pictures are done and written"
        if not found.streams:
            raise KeyboardInterrupt(f"{written}; the same command starts again.") from interrupt
        print(f"stopped: {written}")
    seconds = time.perf_counter() - started
    if count > 1:
        print(f"{count} pictures in {seconds:.1f} s, {count / seconds:.1f} a second")
    for written in filter(None, (coco, csv, out / "labels" if txt else None, out / "crops" if crops else None)):
        print(f"written: {written}")
    if failures := [*found.unusable, *(f"{source}: {reason}." for source, reason in frames.broken.items())]:
        others = ", the others are done" if count else ""
        raise DataError(f"{len(failures)} of the sources could not be read{others}. {_some(failures)}")


def _tell(frames: Frames, outputs: Outputs) -> Iterator[int]:
    """Write every frame, yield how many are; say a line for every file, show the boxes of a single image."""
    from zoo.predict.draw import objects

    with _progress(frames.count()) as advance:
        written, shown = 0, 0
        for source, group in itertools.groupby(frames, key=lambda frame: None if frame.live else frame.source):
            counts: Counter[str] = Counter()
            before = written
            for frame in group:
                picture = outputs.write(frame)
                counts.update(frame.result.names[int(kind)] for kind in objects(frame.result).cls.tolist())
                advance()
                written += 1
                yield written
            what = ", ".join(f"{count} x {kind}" for kind, count in counts.items()) or "nothing found"
            videos = "" if frame.number is None else f"{written - before} frames, "
            print(f"{source or 'stream'}: {videos}{what}" + (f"; drawn in {picture}" if picture else ""))
            shown += 1
    if shown == 1 and frame.number is None:
        boxes = objects(frame.result)
        table.show(
            ["name", "confidence", "x1", "y1", "x2", "y2"],
            [
                [frame.result.names[int(kind)], f"{confidence:.2f}", *(f"{edge:.0f}" for edge in box)]
                for box, confidence, kind in zip(
                    boxes.xyxy.tolist(), boxes.conf.tolist(), boxes.cls.tolist(), strict=True
                )
            ],
        )


@contextmanager
def _progress(total: int | None) -> Iterator[Any]:
    """A bar with rate and time left, on a terminal and for more than one frame."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    with ExitStack() as stack:
        if total == 1 or not sys.stderr.isatty():
            yield lambda: None
            return
        columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn()
        console = Console(stderr=True)
        bar = stack.enter_context(
            Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty())
        )
        task = bar.add_task("", total=total, rate="")

        def advance() -> None:
            bar.advance(task)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:.1f} a second" if speed else "")

        yield advance


def _tracker(name: str) -> str:
    """The file that a tracker is described in."""
    from ultralytics.trackers.track import TRACKER_MAP
    from ultralytics.utils import ROOT, YAML

    known = sorted(path.stem for path in (ROOT / "cfg" / "trackers").glob("*.yaml"))
    if name.removesuffix(".yaml") in known:
        return f"{name.removesuffix('.yaml')}.yaml"
    try:
        kind = YAML.load(name).get("tracker_type")
    except (OSError, ValueError, AssertionError, AttributeError) as error:
        raise OptionError(f"--tracker {name}: no tracker, and no YAML file; known are {', '.join(known)}.") from error
    if kind not in TRACKER_MAP:
        raise OptionError(f"--tracker {name}: its tracker_type is {kind!r}; known are {', '.join(TRACKER_MAP)}.")
    return name


def _half(device: str | None) -> int:
    import torch

    if device == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        raise OptionError("--half needs a GPU: 16-bit floats gain nothing on a CPU; leave it out.")
    return 16


def _class_numbers(words: str, names: dict[int, str]) -> list[int]:
    numbers = {name: number for number, name in names.items()}
    chosen = []
    for word in filter(None, map(str.strip, words.split(","))):
        number = numbers.get(word, int(word) if word.isdecimal() else None)
        if number not in names:
            raise OptionError(f"--classes {word}: the model has {', '.join(f'{k} {v}' for k, v in names.items())}.")
        chosen.append(number)
    if not chosen:
        raise OptionError("--classes is empty; give names or numbers with commas between them.")
    return chosen


def _some(failures: list[str], shown: int = 5) -> str:
    rest = len(failures) - shown
    return " ".join(failures[:shown]) + (f" And {rest} more." if rest > 0 else "")
