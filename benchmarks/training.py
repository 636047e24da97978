"""Training speed: the zoo's engine against stock Ultralytics on the same plain model, and what each graft costs.

Run: `python -m benchmarks.training`, on an idle machine. Runs of both alternate, so that a machine that slows down
slows both; the first steps of each are dropped. "as it comes" keeps the threads that each sets for itself, where stock
Ultralytics leaves one core of a CPU idle; "same threads" gives both all cores and so measures what the engine adds.
The zoo's engine is also timed with `freeze_base=True`; on a CPU with `amp=bf16`, and with `--workers` as if Ultralytics
did not switch loader processes off there.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import ultralytics
import yaml

import zoo
from zoo import records

WARM_UP = 3


def write_images(folder: Path, count: int, size: int) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for number in range(count if split == "train" else 1):
            pixels = rng.integers(0, 255, (size // 8, size // 8, 3), dtype=np.uint8)
            pixels = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(folder / "images" / split / f"{number}.jpg"), pixels)
            boxes = rng.uniform(0.2, 0.5, (8, 4))
            lines = [f"{index % 4} {' '.join(f'{value:.4f}' for value in box)}" for index, box in enumerate(boxes)]
            (folder / "labels" / split / f"{number}.txt").write_text("\n".join(lines))
    file = folder / "data.yaml"
    splits = {split: f"images/{split}" for split in ("train", "val")}
    file.write_text(yaml.safe_dump({"path": str(folder), **splits, "names": list("abcd")}))
    return file


def step_seconds(engine: ultralytics.YOLO, settings: dict, threads: int | None, workers: int = 0) -> list[float]:
    """Seconds between the ends of steps, loading included, without the warm-up and without validation."""
    ticks: list[float] = []

    def tick(_: object) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        ticks.append(time.perf_counter())

    engine.add_callback("on_train_batch_end", tick)
    if threads:
        engine.add_callback("on_train_start", lambda _: torch.set_num_threads(threads))
    if workers:
        engine.add_callback("on_pretrain_routine_start", lambda trainer: setattr(trainer.args, "workers", workers))
    with tempfile.TemporaryDirectory() as folder:
        engine.train(**settings, project=folder, name="run")
    return [later - earlier for earlier, later in itertools.pairwise(ticks)][WARM_UP:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["yolov8n", "yolov8n_dattn", "yolov8n_hat", "yolov8n_a2"])
    parser.add_argument("--device", default="0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--imgsz", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", nargs="*", type=int, default=[], help="loader processes to try on a CPU")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results" / "benchmark_training.csv")
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    on_cpu = arguments.device == "cpu"
    variants: dict[str, tuple[dict, int]] = {"zoo": ({}, 0), "zoo, freeze_base": ({"freeze_base": True}, 0)}
    if on_cpu:
        variants["zoo, bf16"] = ({"amp": "bf16"}, 0)
        variants |= {f"zoo, bf16, {count} workers": ({"amp": "bf16"}, count) for count in arguments.workers}
    about = records.environment(arguments.device, ("torch", "ultralytics"))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data = write_images(Path(folder), arguments.batch * arguments.steps, arguments.imgsz)
        settings = {
            "data": str(data),
            "epochs": 1,
            "imgsz": arguments.imgsz,
            "batch": arguments.batch,
            "nbs": arguments.batch,
            "device": arguments.device,
            "amp": False if on_cpu else "bf16",
            "plots": False,
            "val": False,
            "seed": 0,
        }
        for threads, what in ((None, "as it comes"), (cores, "same threads")):
            seconds: dict[tuple[str, str], list[float]] = {}
            for _ in range(arguments.rounds):
                for model in arguments.models:
                    base = zoo.model_info(model).base
                    stock = ultralytics.YOLO(f"{base}.yaml")
                    seconds.setdefault((base, "ultralytics"), []).extend(step_seconds(stock, settings, threads))
                    for engine, (changes, workers) in variants.items():
                        ticks = step_seconds(zoo.YOLO(model), settings | changes, threads, workers)
                        seconds.setdefault((model, engine), []).extend(ticks)
            for (model, engine), values in seconds.items():
                speed = arguments.batch / statistics.median(values)
                stock = arguments.batch / statistics.median(seconds[zoo.model_info(model).base, "ultralytics"])
                row = {"device": arguments.device, "imgsz": arguments.imgsz, "batch": arguments.batch, "threads": what}
                row |= {"model": model, "engine": engine}
                row |= {"images_per_second": f"{speed:.1f}", "relative_to_stock": f"{speed / stock:.3f}"}
                print(*row.values())
                rows.append(row | about)
    records.write(arguments.out, rows)


if __name__ == "__main__":
    main()
