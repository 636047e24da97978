"""Memory and file handles of long runs, into `results/soak.csv`; the slopes should be zero.

Run: `python -m benchmarks.soak [--only images videos ddp]`, on Linux. `zoo predict` over 20,000 images and over a list
of short videos, and a training in two processes on CPU, each as processes of their own: once a second the memory and
open files of all of them are read, and pictures that were written are removed. Slopes are those of straight lines
through the readings after the first quarter, which holds the imports, per 1000 pictures found or trained on. A row
replaces its source's earlier one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil

from benchmarks.predict import make_images, make_video
from reproduce.datasets import digits, layout
from zoo import records

TABLE = Path(__file__).parents[1] / "results" / "soak.csv"
MODEL = "yolov8n_dattn.digits"
DISTINCT = 100
FRAMES = 300
IMAGES = 64
"""Of the data set that is trained on."""
Readings = tuple[int, np.ndarray]
"""Frames done, and seconds, megabytes and open files, `(N, 3)`."""


def link(files: list[Path], folder: Path, count: int) -> Path:
    """A folder with `count` names for the files, which are not copied."""
    folder.mkdir()
    for index in range(count):
        file = files[index % len(files)]
        (folder / f"{index:06}{file.suffix}").symlink_to(file)
    return folder


def watch(command: list[str], log: Path, each_second: Callable[[], None]) -> np.ndarray:
    """Run a command and read it and what it started, every second: seconds, megabytes and open files, `(N, 3)`."""
    readings = []
    with log.open("w") as lines:
        process = subprocess.Popen([sys.executable, "-m", *command], stdout=lines, stderr=subprocess.STDOUT)
        started = time.perf_counter()
        first = psutil.Process(process.pid)
        while process.poll() is None:
            time.sleep(1)
            with suppress(psutil.Error):  # one ended between two looks
                all_of_them = [first, *first.children(recursive=True)]
                megabytes = sum(each.memory_info().rss for each in all_of_them) / 2**20
                handles = sum(each.num_fds() for each in all_of_them)
                readings.append((time.perf_counter() - started, megabytes, handles))
            each_second()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}: {log.read_text()[-2000:]}")
    return np.array(readings)


def predict(source: Path, frames: int, imgsz: int, place: Path) -> Readings:
    """`zoo predict` over a folder."""
    out = place / "out"

    def remove() -> None:
        for written in out.glob("[!.]*"):
            written.unlink()

    command = ["zoo", "predict", MODEL, str(source), "--imgsz", str(imgsz), "--out", str(out)]
    return frames, watch([*command, "--csv", str(place / "found.csv")], place / "log.txt", remove)


def ddp(epochs: int, imgsz: int, place: Path) -> Readings:
    """A training in two processes on CPU."""
    for split in ("train", "val"):
        layout.write_split(place, split, digits.NAMES, (digits.compose(split, index) for index in range(IMAGES)))
    layout.write_yaml(place, digits.NAMES, {"train": "", "val": ""})
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "zoo.cli.launch", "yolov8n_dattn"]
    settings = {"data": place / "data.yaml", "epochs": epochs, "imgsz": imgsz, "batch": 16, "device": "cpu"}
    settings |= {"project": place / "runs", "plots": False, "workers": 1}
    command = [*launch, *(f"{key}={value}" for key, value in settings.items())]
    return epochs * IMAGES, watch(command, place / "log.txt", lambda: None)


def slopes(frames: int, readings: np.ndarray) -> dict[str, object]:
    """What the readings say, for the table."""
    later = readings[len(readings) // 4 : -1]
    done = later[:, 0] * frames / readings[-1, 0] / 1000
    megabytes, handles = (np.polyfit(done, later[:, column], 1)[0] for column in (1, 2))
    return {
        "frames": frames,
        "seconds": f"{readings[-1, 0]:.0f}",
        "most_mb": f"{later[:, 1].max():.0f}",
        "mb_per_1000": f"{megabytes:.3f}",
        "files_per_1000": f"{handles:.4f}",
        "first_files": int(later[0, 2]),
        "last_files": int(later[-1, 2]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sources = ("images", "videos", "ddp")
    parser.add_argument("--only", nargs="+", choices=sources, default=sources)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--videos", type=int, default=60, help=f"of {FRAMES} frames each")
    parser.add_argument("--epochs", type=int, default=500, help=f"of {IMAGES} images")
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--output", type=Path, default=TABLE)
    options = parser.parse_args()

    about = records.environment(packages=("torch", "ultralytics", "opencv-python"))
    for name in options.only:
        with tempfile.TemporaryDirectory() as temporary:
            place, imgsz = Path(temporary), options.imgsz
            images = sorted(make_images(place / "distinct", DISTINCT).iterdir())
            if name == "images":
                found = predict(link(images, place / "in", options.images), options.images, imgsz, place)
            elif name == "videos":
                video = make_video(place / "video.mp4", FRAMES)
                source = link([video], place / "in", options.videos)
                found = predict(source, options.videos * FRAMES, imgsz, place)
            else:
                found = ddp(options.epochs, imgsz, place)
        row = {"source": name, "imgsz": str(imgsz), **slopes(*found), **about}
        print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        rows = {earlier["source"]: earlier for earlier in records.read(options.output)} | {name: row}
        records.write(options.output, [rows[each] for each in sources if each in rows])


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
