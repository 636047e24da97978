"""Pictures to try first, and weights that find something in them: photographs, if weights know what they show."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from zoo.names import parse
from zoo.registry import get_config
from zoo.weights import find, manifest

SHOWN = frozenset({"person", "bus"})
"""What the photograph that Ultralytics carries shows."""
DIGITS = "yolov8n_dattn.digits"


def photograph() -> Path:
    """The picture of a bus and people in the installed Ultralytics package."""
    from ultralytics.utils import ASSETS

    return ASSETS / "bus.jpg"


def knowing_photographs() -> list[str]:
    """Grafted weights on this machine whose class names include what the photograph shows, the best on COCO first."""
    known = [name for name in find.local_names() if set(manifest.entries()[name].class_names) >= SHOWN]
    grafted = [name for name in known if get_config(parse(name).architecture).grafts]
    return sorted(grafted, key=lambda name: -manifest.entries()[name].metrics.get("val", {}).get("mAP50-95", 0))


@cache
def drawn_digits() -> Image.Image:
    """A few digits on a dark ground, which the weights of digits find."""
    picture = Image.new("RGB", (240, 160), (18, 22, 30))
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), 56)
    for number, digit in enumerate("357"):
        ImageDraw.Draw(picture).text((20 + 72 * number, 30 + 18 * number), digit, fill=(230, 225, 210), font=font)
    return picture


def examples() -> list[tuple[str, Image.Image]]:
    """Weights on this machine by name, each with a picture in which they find something; a photograph comes first."""
    found = []
    names = knowing_photographs()
    if names and photograph().is_file():
        with Image.open(photograph()) as picture:
            found.append((names[0], picture.convert("RGB")))
    if DIGITS in find.local_names():
        found.append((DIGITS, drawn_digits()))
    return found
