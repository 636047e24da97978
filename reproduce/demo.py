"""`make demo`: detect in a picture, and draw what attention looks at; in a photograph if weights know what it shows.

Run: `python -m reproduce.demo FOLDER`. The photograph is that of the installed Ultralytics package. Grafted weights
that know its classes come first, then the official `yolov8n.pt` if it lies here, which has no graft to explain; without
either it is a scene of handwritten digits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reproduce.datasets import digits
from zoo import examples
from zoo.cli import main as zoo

OFFICIAL = Path("yolov8n.pt")


def run(folder: Path) -> int:
    """Draw into the folder; returns the exit code of the first command that fails, else 0."""
    folder.mkdir(parents=True, exist_ok=True)
    names = examples.knowing_photographs()
    if names or OFFICIAL.is_file():
        name, picture, size = names[0] if names else str(OFFICIAL), examples.photograph(), []
    else:
        name, picture, size = examples.DIGITS, folder / "scene.png", ["--imgsz", "320"]
        digits.render(picture, shape=(240, 320))
    failed = zoo(["predict", name, str(picture), "--out", str(folder), *size])
    if failed or name == str(OFFICIAL):
        return failed
    return zoo(["explain", name, str(picture), "--out", str(folder / "explained.png"), *size])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    raise SystemExit(run(parser.parse_args().folder))
