"""What sparing gates and position tables from decay is worth, into `results/ablation_decay.csv`.

Run: `python -m benchmarks.ablations`. Short trainings of the digits recipe from the same weights on the same images,
once with the parameter groups of `zoo.engine.ZooTrainer` and once with Ultralytics' own, which decays gates, warms
tables called `bias` up from a rate of 0.1 and under MuSGD orthogonalises tables. A run that the table has is not
repeated. The end prints the differences, paired by seed.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from ultralytics.models.yolo.detect import DetectionTrainer

import zoo
from benchmarks import records
from reproduce.datasets.prepare import prepare
from reproduce.pipeline import load_recipe
from zoo.engine import ZooTrainer
from zoo.report import t_quantile

TABLE = Path(__file__).parents[1] / "results" / "ablation_decay.csv"
RATES = {"SGD": 0.01, "AdamW": 0.001, "MuSGD": 0.01}
TABLES = ("bias_table", "rel_height", "rel_width")
RUN = ("model", "optimizer", "groups", "seed", "epochs", "imgsz")
MEASURED = ("val_mAP50-95", "gate_norm", "table_norm")


class StockGroups(ZooTrainer):
    """The zoo's trainer with Ultralytics' parameter groups."""

    build_optimizer = DetectionTrainer.build_optimizer


TRAINERS = {"zoo": ZooTrainer, "ultralytics": StockGroups}


def norm(model: torch.nn.Module, names: tuple[str, ...]) -> float:
    tensors = [p for key, p in model.grafts.named_parameters() if key.endswith(names)]
    return float(sum(tensor.detach().square().sum() for tensor in tensors) ** 0.5)


def measure(model: str, optimizer: str, groups: str, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Train once and return the run's measurements, of the averaged weights."""
    torch.manual_seed(seed)
    engine = zoo.YOLO(model)
    seen: dict[str, float] = {}

    def look(trainer: ZooTrainer) -> None:
        average = trainer.ema.ema
        seen.update(gate_norm=norm(average, ("gamma",)), table_norm=norm(average, TABLES))

    engine.add_callback("on_train_epoch_end", look)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        own = {"optimizer": optimizer, "lr0": RATES[optimizer], "seed": seed, "project": folder, "name": "run"}
        metrics = engine.train(TRAINERS[groups], **settings | own)
    seen |= {"val_mAP50-95": float(metrics.box.map), "seconds": time.perf_counter() - started}
    return {name: f"{value:.5g}" for name, value in seen.items()}


def summarise(rows: list[dict[str, str]]) -> None:
    """Print zoo minus Ultralytics, as the mean over seeds with its 95 % interval."""
    for model, optimizer in dict.fromkeys((row["model"], row["optimizer"]) for row in rows):
        runs = {
            (row["groups"], row["seed"]): row for row in rows if (row["model"], row["optimizer"]) == (model, optimizer)
        }
        pairs = [(run, runs["ultralytics", seed]) for (groups, seed), run in runs.items() if groups == "zoo"]
        for name in MEASURED:
            differences = [float(zoos[name]) - float(stock[name]) for zoos, stock in pairs]
            mean, count = statistics.fmean(differences), len(differences)
            margin = f" ± {t_quantile(count - 1) * statistics.stdev(differences) / count**0.5:.4f}" if count > 1 else ""
            stock_mean = statistics.fmean(float(stock[name]) for _, stock in pairs)
            print(f"{model} {optimizer} {name}: {mean:+.4f}{margin}, {count} seeds, Ultralytics' {stock_mean:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["yolov8n_hat", "yolo11n_halo"])
    parser.add_argument("--optimizers", nargs="+", choices=RATES, default=list(RATES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--imgsz", type=int, default=128)
    parser.add_argument("--cache", type=Path, default=Path("runs/datasets"))
    parser.add_argument("--output", type=Path, default=TABLE)
    options = parser.parse_args()
    recipe = load_recipe("digits")
    settings = recipe["train"] | {
        "data": str(prepare(recipe["dataset"], None, options.cache)),
        "epochs": options.epochs,
        "imgsz": options.imgsz,
        "device": "cpu",
        "plots": False,
    }
    about = records.environment(packages=("torch", "ultralytics"))
    rows = records.read(options.output)
    done = {tuple(row[key] for key in RUN) for row in rows}
    for seed, model, optimizer, groups in itertools.product(
        options.seeds, options.models, options.optimizers, TRAINERS
    ):
        run = dict(zip(RUN, map(str, (model, optimizer, groups, seed, options.epochs, options.imgsz)), strict=True))
        if tuple(run.values()) in done:
            continue
        rows.append(run | measure(model, optimizer, groups, seed, settings) | about)
        print(*list(rows[-1].items())[: len(RUN) + len(MEASURED) + 1], flush=True)
        records.write(options.output, rows)
    summarise(rows)


if __name__ == "__main__":
    main()
