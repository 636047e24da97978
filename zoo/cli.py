"""The `zoo` command. Only the verbs that run a model import torch, timm and ultralytics."""

from __future__ import annotations

import argparse
import csv
import glob
import inspect
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import registry
from zoo.engine.settings import TRAIN_ONLY, parse_settings
from zoo.errors import DataError, OptionError, SourceError, UnknownModelError, WeightsError, ZooError
from zoo.files import replacing, write_text

if TYPE_CHECKING:
    from ultralytics.engine.results import Results

    from zoo.engine.yolo import YOLO

IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
MODEL = "ARCHITECTURE, ARCHITECTURE.TAG, local-dir:PATH, hf-hub:ORG/REPO[@REVISION] or a .pt file of your own"
SETTINGS = "Ultralytics' own settings, e.g. data=my.yaml epochs=50 imgsz=320"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments after the program's name; those of the process when omitted.

    Returns:
        Exit code: 0, or 1 after a `ZooError` or an `OSError`, which is printed as one line. Malformed arguments exit
        with 2.
    """
    arguments = vars(_parser().parse_args(argv))
    try:
        arguments.pop("verb")(**arguments)
    except (ZooError, OSError) as error:
        print(f"zoo: error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="zoo", description="Ultralytics YOLO detectors with attention.")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    def add(verb: Callable[..., None], name: str | None = None) -> argparse.ArgumentParser:
        text = inspect.cleandoc(verb.__doc__ or "")
        added = verbs.add_parser(name or verb.__name__, help=text.partition("\n")[0], description=text)
        added.set_defaults(verb=verb)
        return added

    listing = add(list_models, "list")
    listing.add_argument("pattern", nargs="?", default="*", help="names to show, e.g. 'yolov8s_*'")
    listing.add_argument("--pretrained", action="store_true", help="trained weights, as ARCHITECTURE.TAG")
    listing.add_argument("--json", action="store_true", dest="as_json", help="print JSON")

    add(info).add_argument("name", metavar="NAME", help="a name that `zoo list` prints")

    detecting = add(predict)
    detecting.add_argument("name", metavar="NAME", help=MODEL)
    detecting.add_argument("sources", metavar="SOURCE", nargs="+", help="image files, folders and globs")
    detecting.add_argument("--conf", type=_confidence, default=0.25, help="least confidence (default: %(default)s)")
    detecting.add_argument("--imgsz", type=_pixels, help="longer side in pixels (default: as trained)")
    detecting.add_argument("--device", help="cpu, 0, mps, ... (default: the first GPU, else cpu)")
    detecting.add_argument("--out", type=Path, default="runs/predict", help="folder of the annotated images")
    detecting.add_argument("--json", type=Path, dest="json_file", metavar="FILE", help="write the detections as JSON")
    detecting.add_argument("--csv", type=Path, dest="csv_file", metavar="FILE", help="write the detections as CSV")

    for verb in (train, val, export, benchmark):
        running = add(verb)
        running.add_argument("name", metavar="NAME", help=MODEL)
        running.add_argument("settings", metavar="KEY=VALUE", nargs="*", help=SETTINGS)

    add(sweep).add_argument("plan", type=Path, metavar="PLAN.yaml", help="models, seeds, data; see zoo/sweep.py")

    reporting = add(report)
    reporting.add_argument("paths", metavar="PATH", nargs="+", help="CSV files of results, folders of sweeps or runs")
    reporting.add_argument("--out", type=Path, default="report.html", help="the page (default: %(default)s)")
    reporting.add_argument("--metric", help="column to compare (default: mAP50-95 on test, else on val)")

    add(verify).add_argument("names", metavar="NAME", nargs="*", help="ARCHITECTURE or ARCHITECTURE.TAG")

    add(card).add_argument("name", metavar="NAME", nargs="?", help="ARCHITECTURE or ARCHITECTURE.TAG")

    publishing = add(push)
    publishing.add_argument("name", metavar="NAME", help="ARCHITECTURE.TAG or local-dir:PATH")
    publishing.add_argument("repo_id", metavar="ORG/REPO", help="created when it does not exist")
    publishing.add_argument("--private", action="store_true", help="create it as a private repository")
    return parser


def list_models(pattern: str, pretrained: bool, as_json: bool) -> None:
    """List the models.

    GFLOPs are those of one image of 640 x 640 pixels; tags are the trained weights, the default first.
    """
    names = registry.list_models(pattern, pretrained=pretrained)
    if not names:
        what = "weights match" if pretrained else "model matches"
        raise UnknownModelError(f"no {what} {pattern!r}; patterns are like 'yolov8?_dattn', and `zoo list` shows all.")
    rows = [(name, registry.model_info(name)) for name in names]
    if as_json:
        keys = ("base", "params", "gflops", "base_params", "base_gflops", "tags")
        records = [{"name": name, **{key: getattr(info, key) for key in keys}} for name, info in rows]
        print(json.dumps(records, indent=2))
        return
    _print_table(
        ["name", "base", "params M", "GFLOPs", "tags"],
        [[name, i.base, f"{i.params / 1e6:.2f}", f"{i.gflops:.1f}", ", ".join(i.tags)] for name, i in rows],
    )


def info(name: str) -> None:
    """Describe one model.

    Its grafts, what they cost, its weights and how well they do.
    """
    model = registry.model_info(name)
    print(model.name)
    for graft in model.grafts:
        where = "image" if graft.position == "stem" else f"output of layer {graft.position}"
        options = ", ".join(f"{key}={value}" for key, value in graft.options.items())
        print(f"  graft    {graft.block}({options}) on the {where}")
    added = (model.params / model.base_params - 1, model.gflops / model.base_gflops - 1)
    print(f"  params   {model.params / 1e6:.2f} M ({added[0]:+.1%} over {model.base})")
    print(f"  GFLOPs   {model.gflops:.1f} at 640 px ({added[1]:+.1%} over {model.base})")
    for tag in model.tags:
        scores = "; ".join(
            f"{split} " + ", ".join(f"{metric} {value:.3f}" for metric, value in values.items())
            for split, values in model.metrics[tag].items()
        )
        print(f"  weights  {model.name}.{tag}: {scores}")
    if not model.tags:
        print("  weights  none")


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
    paths = _find_images(sources)
    model = _load(name, pretrained=True)
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
        _print_table(
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


def train(name: str, settings: list[str]) -> None:
    """Train a model on data=FILE.yaml.

    NAME with a tag starts from those weights, pretrained=FILE from official weights of the plain base, else from
    scratch. freeze_base=True trains the graft and the head alone. A .pt file with resume=True goes on where it stopped.
    """
    chosen = parse_settings(settings, also=TRAIN_ONLY)
    if not chosen.get("resume"):
        _check_data(chosen)
    start: dict[str, Any] = {}
    if not name.endswith(".pt"):
        pretrained = chosen.pop("pretrained", registry.split_tag(name)[1] is not None)
        start = {"base_weights": pretrained} if isinstance(pretrained, str) else {"pretrained": pretrained}
    _load(name, **start).train(**chosen)


def val(name: str, settings: list[str]) -> None:
    """Validate weights on data=FILE.yaml."""
    chosen = parse_settings(settings)
    _check_data(chosen)
    box = _load(name, pretrained=True).val(**chosen).box
    print(f"mAP50 {box.map50:.4f}, mAP50-95 {box.map:.4f}")


def export(name: str, settings: list[str]) -> None:
    """Export weights, e.g. format=onnx.

    NAME alone says what its family was exported to, and how far the predictions were from those of PyTorch.
    """
    if not settings and ":" not in name and not name.endswith(".pt"):
        columns = ("format", "height", "width", "ok", "box_px", "score")
        _print_table(
            ["format", "height", "width", "works", "boxes differ by, px", "scores differ by"],
            [[row[column] for column in columns] for row in registry.exports(name)],
        )
        return
    chosen = parse_settings(settings)

    from ultralytics.engine.exporter import export_formats

    known = [argument for argument in export_formats()["Argument"] if argument != "-"]
    if chosen.get("format") not in known:
        what = f"unknown format {chosen['format']!r}" if "format" in chosen else "format=FORMAT is missing"
        raise OptionError(f"{what}; known are {', '.join(known)}.")
    print(_load(name, pretrained=True).export(**chosen))


def benchmark(name: str, settings: list[str]) -> None:
    """Compare the export formats.

    Exports to every format whose software is installed, and measures size, speed and accuracy on data=FILE.yaml.
    """
    chosen = parse_settings(settings)
    _check_data(chosen)
    print(_load(name, pretrained=True).benchmark(**chosen))


def sweep(plan: Path) -> None:
    """Train models x data sets x seeds on Ray, as a plan says.

    The same command again goes on where it stopped. Ray starts on this machine, or RAY_ADDRESS names its cluster.
    """
    from zoo.engine.sweep import Plan, run

    print(run(Plan.read(plan)))


def report(paths: list[str], out: Path, metric: str | None) -> None:
    """Compare models over seeds on one HTML page."""
    from zoo.report.page import write

    print(write(paths, out, metric))


def verify(names: list[str]) -> None:
    """Check the shipped weights: file, hash, tensors, known output, card.

    All of them when no NAME is given.
    """
    from zoo import shipped

    verdicts = shipped.verify(names)
    for verdict in verdicts:
        print(f"{verdict.name}: {' '.join(verdict.failures) or 'ok'}")
    wrong = sum(bool(verdict.failures) for verdict in verdicts)
    if wrong:
        raise WeightsError(f"{wrong} of {len(verdicts)} weights are not what the manifest says.")


def card(name: str | None) -> None:
    """Write the model cards.

    All of them when no NAME is given.
    """
    from zoo.report import cards

    for path in cards.write(name):
        print(path)


def push(name: str, repo_id: str, private: bool) -> None:
    """Publish weights on the Hugging Face Hub.

    NAME is ARCHITECTURE.TAG, whose manifest entry then gains the new commit as a source, or local-dir:PATH.
    """
    from zoo import publish

    if ":" in name:
        commit = publish.push_to_hub(_load(name).model, repo_id, private=private)
    else:
        commit = publish.push(name, repo_id, private=private)
    print(commit.commit_url)


def _load(name: str, **options: Any) -> YOLO:
    path = Path(name)
    if path.suffix == ".pt":
        if not path.is_file():
            raise SourceError(f"there is no file {path}.")
        options = {}
    elif path.is_dir() and name not in registry.names():
        raise UnknownModelError(f"{name!r} is a folder; write local-dir:{name}.")

    from zoo.engine.yolo import YOLO

    return YOLO(name, **options)


def _confidence(text: str) -> float:
    try:
        if 0 <= (value := float(text)) <= 1:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")


def _pixels(text: str) -> int:
    if text.isdecimal() and (value := int(text)) >= 32:
        return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 32")


def _check_data(settings: dict[str, Any]) -> None:
    from zoo.engine import data

    if not settings.get("data"):
        raise OptionError("data=FILE.yaml is missing: it names the images and the classes.")
    data.read(settings["data"])


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


def _print_table(header: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for index, title in enumerate(header):
        numeric = all(row[index].replace(".", "").isdigit() for row in rows)
        table.add_column(title, justify="right" if numeric and rows else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)


def _some(paths: list[Path]) -> str:
    shown = ", ".join(map(str, paths[:3]))
    return shown if len(paths) <= 3 else f"{shown} and {len(paths) - 3} more"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
