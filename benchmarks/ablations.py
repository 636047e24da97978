"""What sparing gates and position tables from decay is worth, into `results/ablations/decay.csv`.

Run: `python -m benchmarks.ablations`. Short trainings of the digits recipe from the same weights on the same images,
once with Ultralytics' own parameter groups, which decay gates, warm tables called `bias` up from a rate of 0.1 and
under MuSGD orthogonalise tables, and once with both spared from all three. A run that the table has is not repeated.
The end prints the differences, paired by seed.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

import zoo
from reproduce.datasets.prepare import prepare
from reproduce.job import load_recipe
from zoo import records
from zoo.engine.trainer import ZooTrainer
from zoo.report.statistics import Estimate

TABLE = Path(__file__).parents[1] / "results" / "ablations" / "decay.csv"
RATES = {"SGD": 0.01, "AdamW": 0.001, "MuSGD": 0.01}
TABLES = ("bias_table", "rel_height", "rel_width")
RUN = ("model", "optimizer", "groups", "seed", "epochs", "imgsz")
MEASURED = ("val_mAP50-95", "gate_norm", "table_norm")


class SparingTrainer(ZooTrainer):
    """Puts gates and position tables into the group that Ultralytics keeps for norms, at the plain learning rate."""

    def build_optimizer(self, model: nn.Module, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        optimizer = super().build_optimizer(model, *args, **kwargs)
        spared = {id(p): p for name, p in model.grafts.named_parameters() if name.endswith(("gamma", *TABLES))}
        for group in optimizer.param_groups:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in spared]
        norms = [group for group in optimizer.param_groups if group["param_group"] == "bn"]
        min(norms, key=lambda group: group["lr"])["params"].extend(spared.values())
        return optimizer


TRAINERS = {"stock": ZooTrainer, "spared": SparingTrainer}


def norm(model: nn.Module, names: tuple[str, ...]) -> float:
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
    """Print spared minus stock, a model and optimiser each and over all, as the mean with its 95 % interval."""
    runs = {tuple(row[key] for key in ("groups", "model", "optimizer", "seed")): row for row in rows}
    pairs = [(row, runs[("stock", *which)]) for (groups, *which), row in runs.items() if groups == "spared"]
    settings = dict.fromkeys((row["model"], row["optimizer"]) for row in rows)
    for which in (*settings, None):
        chosen = [pair for pair in pairs if which in {None, (pair[0]["model"], pair[0]["optimizer"])}]
        for name in MEASURED:
            difference = Estimate.of([float(spared[name]) - float(stock[name]) for spared, stock in chosen])
            print(*(which or ("all",)), f"{name}: {difference}, {difference.count} pairs")


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
    settings = {
        **recipe.train,
        "data": str(prepare(recipe.dataset, None, options.cache)),
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
