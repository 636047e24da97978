"""The verb that shows what grafts look at: explain."""

from __future__ import annotations

import argparse
from pathlib import Path

from zoo.cli.arguments import MODEL, Add, fraction, load, pixels


def add_verbs(add: Add) -> None:
    """Add this module's verb to the command line."""
    explaining = add(explain)
    explaining.add_argument("name", metavar="NAME", help=MODEL)
    explaining.add_argument("image", metavar="IMAGE", type=Path, help="an image file")
    asked = explaining.add_mutually_exclusive_group()
    asked.add_argument("--at", type=_point, metavar="X,Y", help="the point to ask from, pixels (default: the middle)")
    asked.add_argument("--box", type=int, metavar="N", help="the middle of detection N, the most confident being 0")
    explaining.add_argument("--conf", type=fraction, default=0.25, help="least confidence (default: %(default)s)")
    explaining.add_argument("--imgsz", type=pixels, help="longer side in pixels (default: as trained)")
    explaining.add_argument("--out", type=Path, metavar="FILE", help="a .png, .svg or .pdf (default: in runs/explain)")


def explain(
    name: str,
    image: Path,
    at: tuple[float, float] | None,
    box: int | None,
    conf: float,
    imgsz: int | None,
    out: Path | None,
) -> None:
    """Draw what the grafts of a model look at.

    From one point of an image: how much each graft changes its map, where its block reads, and what the detector finds
    with the grafts and with their gates shut.
    """
    model = load(name, pretrained=True)

    from zoo.explain.drawing import save
    from zoo.explain.looks import attention

    explanation = attention(model, image, at=at, box=box, conf=conf, imgsz=imgsz)
    for look in explanation.looks:
        print(f"{look.block} at {look.place}: {look.effect}")
    found, without = len(explanation.found.boxes), len(explanation.found_without.boxes)
    gained, lost = len(explanation.gained), len(explanation.lost)
    print(f"{found} detections with the grafts, {without} with the gates shut; {gained} only with, {lost} only without")
    print(f"drawn in {save(explanation, out or Path('runs/explain') / f'{image.stem}_explained.png')}")


def _point(text: str) -> tuple[float, float]:
    try:
        x, y = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not two numbers X,Y") from None
    return x, y
