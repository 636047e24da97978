"""Memory and file handles of `zoo predict` over many frames, into `results/soak.csv`; the slopes should be zero.

Run: `python -m benchmarks.soak`, on Linux. The verb runs as a process of its own over 20,000 images and over a list of
short videos; once a second its memory and its open files are read, and what it wrote is removed. Slopes are those of
straight lines through the readings after the first quarter, which holds the imports, per 1000 frames.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.predict import make_images, make_video
from zoo import records

TABLE = Path(__file__).parents[1] / "results" / "soak.csv"
MODEL = "yolov8n_dattn.digits"
DISTINCT = 100
FRAMES = 300


def link(files: list[Path], folder: Path, count: int) -> Path:
    """A folder with `count` names for the files, which are not copied."""
    folder.mkdir()
    for index in range(count):
        file = files[index % len(files)]
        (folder / f"{index:06}{file.suffix}").symlink_to(file)
    return folder


def watch(source: Path, out: Path, imgsz: int, output: Path) -> np.ndarray:
    """Run the verb and read it every second: seconds, megabytes and open files, `(N, 3)`."""
    command = [sys.executable, "-m", "zoo", "predict", MODEL, str(source), "--imgsz", str(imgsz), "--out", str(out)]
    readings = []
    with output.open("w") as lines:
        process = subprocess.Popen([*command, "--csv", str(output.with_suffix(".csv"))], stdout=lines)
        started = time.perf_counter()
        while process.poll() is None:
            time.sleep(1)
            try:
                pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
                handles = len(os.listdir(f"/proc/{process.pid}/fd"))
            except (OSError, IndexError):
                break  # it ended between two looks
            megabytes = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
            readings.append((time.perf_counter() - started, megabytes, handles))
            for written in out.glob("[!.]*"):
                written.unlink()
        if process.wait():
            raise SystemExit(f"zoo predict ended with {process.returncode}")
    return np.array(readings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--videos", type=int, default=60, help=f"of {FRAMES} frames each")
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--output", type=Path, default=TABLE)
    options = parser.parse_args()

    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        images = sorted(make_images(place / "distinct", DISTINCT).iterdir())
        video = make_video(place / "video.mp4", FRAMES)
        sources = {
            "images": (options.images, link(images, place / "images", options.images)),
            "videos": (options.videos * FRAMES, link([video], place / "videos", options.videos)),
        }
        for name, (frames, source) in sources.items():
            readings = watch(source, place / f"{name} out", options.imgsz, place / f"{name}.log")
            later = readings[len(readings) // 4 : -1]
            done = later[:, 0] * frames / readings[-1, 0] / 1000
            slopes = [np.polyfit(done, later[:, column], 1)[0] for column in (1, 2)]
            row = {
                "source": name,
                "frames": frames,
                "seconds": f"{readings[-1, 0]:.0f}",
                "most_mb": f"{later[:, 1].max():.0f}",
            }
            row |= {"mb_per_1000": f"{slopes[0]:.3f}", "files_per_1000": f"{slopes[1]:.4f}"}
            rows.append(row | {"first_files": int(later[0, 2]), "last_files": int(later[-1, 2])})
            print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    about = records.environment(packages=("torch", "ultralytics", "opencv-python"))
    records.write(options.output, [row | about for row in rows])


if __name__ == "__main__":
    main()
