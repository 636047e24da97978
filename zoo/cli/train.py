"""Verbs of the engine: train, val, export, benchmark."""

from __future__ import annotations

from typing import Any

from zoo import info
from zoo.cli import table
from zoo.cli.arguments import MODEL, SETTINGS, Add, check_data, check_device, load
from zoo.engine.settings import TRAIN_ONLY, parse_settings
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
    metrics = load(name, pretrained=True, trust=chosen.pop("trust", False)).val(**chosen)
    print(f"mAP50 {metrics.box.map50:.4f}, mAP50-95 {metrics.box.map:.4f}; results in {metrics.save_dir}")


def export(name: str, settings: list[str]) -> None:
    """Export weights, e.g. format=onnx.

    NAME alone says what its family was exported to, and how far the predictions were from those of PyTorch.
    """
    if not settings and parse(name).kind == "model":
        columns = ("format", "height", "width", "ok", "box_px", "score")
        table.show(
            ["format", "height", "width", "works", "boxes differ by, px", "scores differ by"],
            [[row[column] for column in columns] for row in info.exports(name)],
        )
        return
    chosen = parse_settings(settings)

    from ultralytics.engine.exporter import export_formats

    known = [argument for argument in export_formats()["Argument"] if argument != "-"]
    if chosen.get("format") not in known:
        what = f"unknown format {chosen['format']!r}" if "format" in chosen else "format=FORMAT is missing"
        raise OptionError(f"{what}; known are {', '.join(known)}.")
    check_device(0 if chosen["format"] == "engine" else chosen.get("device"))
    print(load(name, pretrained=True, trust=chosen.pop("trust", False)).export(**chosen))


def benchmark(name: str, settings: list[str]) -> None:
    """Compare the export formats.

    Exports to every format whose software is installed, and measures size, speed and accuracy on data=FILE.yaml.
    """
    chosen = parse_settings(settings)
    check_device(chosen.get("device"))
    check_data(chosen)
    print(load(name, pretrained=True, trust=chosen.pop("trust", False)).benchmark(**chosen))
