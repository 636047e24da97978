"""What trusting a comparison costs: `run.json`, fingerprints of data, and jobs side by side.

Run: `python -m benchmarks.comparing`, on an idle machine. One training is timed with a clock in every function that
`run.json` needs, the fingerprint and the metrics at the end among them. Then a job with all cores trains alone, and
after it as many jobs as there are cores train at once with one thread each. A data set of 10,000 images is
fingerprinted twice.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zoo
from benchmarks.training import write_images
from zoo import records
from zoo.engine import data, fingerprint, record, scores
from zoo.report import runs

RECORDING = [
    *((record.Recorder, name) for name in ("__init__", "batch_ended", "epoch_started", "training_ended")),
    *((record.Recorder, name) for name in ("epoch_ended", "scored", "ended")),
    *((scores.Collector, name) for name in ("clear", "found")),
    (scores, "coco"),
]


@contextmanager
def clocked() -> Iterator[dict[str, float]]:
    """Seconds spent in `RECORDING` while this lasts, by name."""
    spent: dict[str, float] = {}
    stock = [getattr(place, name) for place, name in RECORDING]

    def timed(function: Any, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[name] = spent.get(name, 0.0) + time.perf_counter() - started

        return call

    for (place, name), function in zip(RECORDING, stock, strict=True):
        setattr(place, name, timed(function, name))
    try:
        yield spent
    finally:
        for (place, name), function in zip(RECORDING, stock, strict=True):
            setattr(place, name, function)


def cost_of_run_json(settings: dict[str, Any]) -> tuple[float, float]:
    """Share of a training that its record takes, and that of the data check of the second time in an epoch."""
    with tempfile.TemporaryDirectory() as folder, clocked() as spent:
        zoo.YOLO("yolov8n_dattn").train(**settings, project=folder, name="run")
        run = runs.load(Path(folder, "run"))
    started = time.perf_counter()
    fingerprint.of(data.read(settings["data"]))
    checked = time.perf_counter() - started
    print({name: round(seconds, 4) for name, seconds in spent.items()}, run.seconds)
    assert run.seconds
    return sum(spent.values()) / run.seconds, checked / run.history[-1]["seconds"]


def images_per_second(settings: dict[str, Any], jobs: int, threads: int) -> float:
    """Of all jobs together."""
    with tempfile.TemporaryDirectory() as folder:
        words = [f"{key}={value}" for key, value in settings.items()]
        started = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "zoo",
                    "train",
                    "yolov8n_dattn",
                    *words,
                    f"project={folder}",
                    f"name=job{number}",
                ],
                env=os.environ | {"OMP_NUM_THREADS": str(threads)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for number in range(jobs)
        ]
        if any(each.wait() for each in started):
            raise RuntimeError("a training failed")
        found = [runs.load(Path(folder, f"job{number}")) for number in range(jobs)]
    return sum(run.images_per_second or 0.0 for run in found)


def seconds_of_fingerprint(images: int) -> tuple[float, float]:
    """Of a data set of small images, the first time and the second."""
    with tempfile.TemporaryDirectory() as folder:
        found = data.read(write_images(Path(folder), images, 64))
        seconds = []
        for _ in range(2):
            started = time.perf_counter()
            fingerprint.of(found)
            seconds.append(time.perf_counter() - started)
    return seconds[0], seconds[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--imgsz", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--many", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results" / "benchmark_comparing.csv")
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    rows = []

    def note(what: str, value: float, bar: str) -> None:
        print(f"{what}: {value:.4f} ({bar})", flush=True)
        rows.append({"what": what, "value": f"{value:.4f}", "bar": bar})

    first, second = seconds_of_fingerprint(arguments.many)
    note(f"seconds of the fingerprint of {arguments.many} images, first time", first, "")
    note(f"seconds of the fingerprint of {arguments.many} images, second time", second, "at most 2")
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "data": str(write_images(Path(folder), arguments.images, arguments.imgsz)),
            "epochs": arguments.epochs,
            "imgsz": arguments.imgsz,
            "batch": arguments.batch,
            "nbs": arguments.batch,
            "device": "cpu",
            "plots": False,
            "optimizer": "AdamW",
        }
        share, check = cost_of_run_json(settings)
        note(f"share of run.json in a training of {arguments.epochs} epochs", share, "at most 0.005")
        note("data check of the second time, in epochs", check, "at most 0.01")
        alone = images_per_second(settings, 1, cores)
        together = images_per_second(settings, cores, 1)
        note(f"images a second of one job with {cores} threads", alone, "")
        note(f"images a second of {cores} jobs with one thread, over that of one job", together / alone, "at least 0.9")
    about = records.environment("cpu", ("torch", "ultralytics"))
    records.write(arguments.out, [row | about for row in rows])


if __name__ == "__main__":
    main()
