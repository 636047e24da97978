"""`zoo predict` against Ultralytics' own prediction of the same plain model, into `results/benchmark_predict.csv`.

Run: `python -m benchmarks.predict`. Both get one checkpoint, a plain yolov8n that finds digits, and the same files, 200
images of 640 pixels and a video of 300 frames, and both detect, draw and save. Each measurement is a process of its
own, from loading the checkpoint to the last byte written; the two take turns, and rows hold medians. `mb` is the most
memory that a process had.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import ultralytics
from ultralytics.nn.tasks import DetectionModel

import zoo
from reproduce.datasets import digits
from zoo import records
from zoo.cli import main as command
from zoo.engine import yolo as _engine  # noqa: F401  # imported lazily by the command, and not to be timed
from zoo.predict import outputs as _outputs  # noqa: F401  # likewise

TABLE = Path(__file__).parents[1] / "results" / "benchmark_predict.csv"
SIDE = 640


def scene(index: int) -> np.ndarray:
    """Digits in clutter, RGB."""
    pixels = digits.compose("val", index, shape=(SIDE, SIDE)).pixels
    assert pixels is not None
    return pixels


def make_images(folder: Path, count: int) -> Path:
    """Scenes of digits, as JPEG."""
    folder.mkdir(parents=True)
    for index in range(count):
        cv2.imwrite(str(folder / f"{index:05}.jpg"), scene(index)[..., ::-1])
    return folder


def make_video(file: Path, frames: int) -> Path:
    """A camera that moves over scenes of digits."""
    wide = np.concatenate([scene(index) for index in range(4)], axis=1)
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), 25, (SIDE, SIDE))
    for number in range(frames):
        left = number * (wide.shape[1] - SIDE) // max(frames - 1, 1)
        writer.write(np.ascontiguousarray(wide[:, left : left + SIDE, ::-1]))
    writer.release()
    return file


def make_checkpoint(file: Path) -> Path:
    """The stock layers of a trained model as a file that Ultralytics opens; they find something, which is enough."""
    trained = zoo.create("yolov8n_dattn.digits", pretrained=True)
    plain = ultralytics.YOLO("yolov8n.yaml", task="detect")
    plain.model = DetectionModel("yolov8n.yaml", nc=trained.config.num_classes, verbose=False)
    plain.model.load_state_dict({key: value for key, value in trained.state_dict().items() if "grafts" not in key})
    plain.model.names = trained.names
    plain.save(file)
    return file


def predict(program: str, checkpoint: Path, source: Path, out: Path) -> dict[str, float]:
    """Predict in this process; seconds, megabytes and threads."""
    started = time.perf_counter()
    if program == "zoo":
        if command(["predict", str(checkpoint), str(source), "--out", str(out), "--imgsz", str(SIDE)]):
            raise SystemExit(1)
    else:
        model = ultralytics.YOLO(checkpoint)
        settings = {"stream": True, "save": True, "imgsz": SIDE, "project": out, "name": "stock", "verbose": False}
        for _ in model.predict(source, **settings):
            pass
    seconds = time.perf_counter() - started
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "mb": megabytes, "threads": torch.get_num_threads()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=TABLE)
    parser.add_argument("--one", nargs=4, metavar=("PROGRAM", "CHECKPOINT", "SOURCE", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        program, checkpoint, source, out = options.one
        measured = predict(program, Path(checkpoint), Path(source), Path(out))
        print(json.dumps(measured))
        return

    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        checkpoint = make_checkpoint(place / "plain.pt")
        sources = {
            "images": (options.images, make_images(place / "images", options.images)),
            "video": (options.frames, make_video(place / "video.mp4", options.frames)),
        }
        for name, (count, source) in sources.items():
            found: dict[str, list[dict[str, float]]] = {"zoo": [], "ultralytics": []}
            for turn in range(options.rounds):
                for program in sorted(found, reverse=bool(turn % 2)):
                    words = [program, checkpoint, source, place / f"{name}-{program}-{turn}"]
                    call = [sys.executable, "-m", "benchmarks.predict", "--one", *map(str, words)]
                    done = subprocess.run(call, check=True, capture_output=True, text=True)
                    found[program].append(json.loads(done.stdout.splitlines()[-1]))
            seconds = {program: statistics.median(run["seconds"] for run in runs) for program, runs in found.items()}
            memory = {program: max(run["mb"] for run in runs) for program, runs in found.items()}
            row = {"source": name, "frames": count, "pixels": SIDE, "rounds": options.rounds}
            row |= {f"{program}_per_second": f"{count / seconds[program]:.2f}" for program in found}
            row |= {"ratio": f"{seconds['ultralytics'] / seconds['zoo']:.3f}"}
            row |= {f"{program}_mb": f"{memory[program]:.0f}" for program in found}
            rows.append(row | {"threads": int(found["zoo"][0]["threads"])})
            print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    about = records.environment(packages=("torch", "ultralytics", "opencv-python"))
    records.write(options.output, [row | about for row in rows])


if __name__ == "__main__":
    main()
