"""Verbs of the engine: train, val, export, benchmark."""

from __future__ import annotations

from typing import Any

from zoo import info
from zoo.cli import table
from zoo.cli.arguments import MODEL, SETTINGS, Add, check_data, load
from zoo.engine.settings import TRAIN_ONLY, check_device, parse_settings
from zoo.errors import OptionError
from zoo.names import parse


def add_verbs(add: Add) -> None:
    """Add this module's verbs to the command line."""
    for verb in (train, val, export, benchmark):
        running = add(verb)
        running.add_argument("name", metavar="NAME", help=MODEL)
        running.add_argument("settings", metavar="KEY=VALUE", nargs="*", help=SETTINGS)


def train(name: str, settings: list[str]) -> None:
    """Train a model on data=FILE.yaml.

    NAME with a tag starts from those weights, pretrained=FILE from official weights of the plain base, else from
    scratch. freeze_base=True trains the graft and the head alone. A .pt file with resume=True goes on where it stopped.

    zoo train yolov8n_dattn pretrained=yolov8n.pt data=my.yaml epochs=100
    zoo train yolo11n+cbam@neck_p4 pretrained=yolo11n.pt data=my.yaml freeze_base=True
    zoo train runs/train/weights/last.pt resume=True
    """
    chosen = parse_settings(settings, also=TRAIN_ONLY)
    check_device(chosen.get("device"))
    if not chosen.get("resume"):
        check_data(chosen)
    start: dict[str, Any] = {"trust": chosen.pop("trust", False)}
    if parse(name).kind != "file":
        pretrained = chosen.pop("pretrained", parse(name).tag is not None)
        start["base_weights" if isinstance(pretrained, str) else "pretrained"] = pretrained
    load(name, **start).train(**chosen)


def val(name: str, settings: list[str]) -> None:
    """Validate weights on data=FILE.yaml.

    Data of other classes than the weights' are refused; classes=match scores those that both call alike.
    """
    chosen = parse_settings(settings)
    check_device(chosen.get("device"))
    check_data(chosen)
    metrics = load(name, exports=True, pretrained=True, trust=chosen.pop("trust", False)).val(**chosen)
    print(f"mAP50 {metrics.box.map50:.4f}, mAP50-95 {metrics.box.map:.4f}; results in {metrics.save_dir}")


def export(name: str, settings: list[str]) -> None:
    """Export weights, e.g. format=onnx.

    NAME alone says what its family was exported to, and how far the predictions were from those of PyTorch.
    """
    if not settings and parse(name).kind == "model":
        columns = ("format", "height", "width", "ok", "box_px", "score", "rounding_px")
        rows = [[row[column] for column in columns] for row in info.exports(name)]
        differ = ["boxes differ by, px", "scores differ by", "PyTorch's rounding, px"]
        table.show(["format", "height", "width", "works", *differ], rows)
        if not rows:
            print(f"no export of {name} was measured; format=onnx makes one")
        return
    chosen = parse_settings(settings)
    _check_format(chosen.get("format"))
    print(load(name, pretrained=True, trust=chosen.pop("trust", False)).export(**chosen))


def benchmark(name: str, settings: list[str]) -> None:
    """Compare the export formats.

    Exports to every format whose software is installed, and measures size, speed and accuracy on data=FILE.yaml.
    """
    chosen = parse_settings(settings)
    check_device(chosen.get("device"))
    check_data(chosen)
    if "format" in chosen:
        _check_format(chosen["format"])
    print(load(name, pretrained=True, trust=chosen.pop("trust", False)).benchmark(**chosen))


def _check_format(format: Any) -> None:
    from ultralytics.engine.exporter import export_formats

    known = [argument for argument in export_formats()["Argument"] if argument != "-"]
    if format not in known:
        what = "format=FORMAT is missing" if format is None else f"unknown format {format!r}"
        raise OptionError(f"{what}; known are {', '.join(known)}.")
