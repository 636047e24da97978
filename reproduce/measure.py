"""What a run came to: one flat row, and the table that keeps it."""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock

import zoo
from reproduce.evaluate import COCO_METRICS, coco_metrics, predict, voc_metrics
from reproduce.job import Job
from reproduce.plan import learning
from zoo import records
from zoo.errors import DataError, OptionError
from zoo.files import sha256, write_text
from zoo.info import gflops
from zoo.report.runs import RECORD
from zoo.weights import checkpoint

METRICS = (*COCO_METRICS, "mAP50_11point", "mAP50_all_points", "ultralytics_mAP50", "ultralytics_mAP50-95")
IDENTITY = ("model", "width", "seed", "planned_epochs", "imgsz", "base_weights", "freeze_base", "settings")
PACKAGES = ("torch", "torchvision", "ultralytics", "timm", "faster-coco-eval", "numpy")
GAMMA = re.compile(r"grafts\.[^.]+\.gamma")


def measure(job: Job, data: Path) -> dict[str, Any]:
    """Evaluate the fp16 weights that the run left, as a user would load them, and describe the run.

    Returns:
        What was run, its size, metrics of each evaluated split, the norm of each gate and what is left of mAP50-95
        with the gates of the trained model shut, and where it was run.
    """
    model = zoo.create(f"local-dir:{job.directory / 'weights' / 'zoo'}")
    settings = job.training()
    with (job.directory / "results.csv").open(newline="") as file:
        history = list(csv.DictReader(file, skipinitialspace=True))
    epochs = max(int(line["epoch"]) for line in history)
    origin = json.loads((job.directory / "origin.json").read_text())
    row: dict[str, Any] = {
        "model": job.model,
        "width": job.width or "",
        "seed": job.seed,
        "status": "complete" if epochs == settings["epochs"] else "cut",
        "planned_epochs": settings["epochs"],
        "epochs": epochs,
        "imgsz": settings["imgsz"],
        "base_weights": origin.pop("base_weights", ""),
        "freeze_base": job.freeze_base or "",
        "settings": " ".join(job.settings),
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "params_trained": sum(
            parameter.numel() for parameter in learning(model, job.freeze_base, settings.get("freeze", 0))
        ),
        "gflops_640": round(gflops(model, 640), 3),
    }
    for split in ("val", "test"):
        annotations = data.parent / "annotations" / f"{split}.json"
        scores = dict.fromkeys(METRICS, float("nan"))
        if annotations.is_file():
            predictions, stock = predict(model, data, split, settings["imgsz"], job.device)
            scores = coco_metrics(annotations, predictions) | voc_metrics(annotations, predictions)
            scores |= {f"ultralytics_{name}": value for name, value in stock.items()}
        row |= {f"{split}_{name}": "" if math.isnan(scores[name]) else round(scores[name], 5) for name in METRICS}
    gammas = {key.split(".")[1]: p.detach() for key, p in model.named_parameters() if GAMMA.fullmatch(key)}
    norms = {position: round(float(gamma.norm()), 4) for position, gamma in gammas.items()}
    without: float | str = ""
    if gammas:
        for gamma in gammas.values():
            gamma.zero_()
        predictions, _ = predict(model, data, "val", settings["imgsz"], job.device)
        without = round(coco_metrics(data.parent / "annotations" / "val.json", predictions)["mAP50-95"], 5)
    return row | {
        "gamma_norms": json.dumps(norms),
        "val_mAP50-95_without_grafts": without,
        "hours": round(training_seconds([float(line["time"]) for line in history]) / 3600, 3),
        **origin,
    }


def training_seconds(clock: list[float]) -> float:
    """Wall time of a training, from Ultralytics' clock after each epoch, which starts anew when a run is resumed."""
    return sum(now - before if now > before else now for before, now in itertools.pairwise([0.0, *clock]))


def note_origin(job: Job) -> None:
    """Write down what the run starts from, because the checkout may move on while it trains.

    Raises:
        OptionError: The folder holds a run that started from other weights.
    """
    path = job.directory / "origin.json"
    given = base(job)
    if path.is_file():
        if (noted := json.loads(path.read_text()).get("base_weights", given)) != given:
            raise OptionError(f"{job.directory} started from {noted}, not from {given}; choose other --runs.")
        return
    origin = {
        "base_weights": given,
        "command": job.command,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "commit": records.commit(),
        "versions": json.dumps({name: metadata.version(name) for name in PACKAGES}),
        "machine": records.machine(job.device),
    }
    write_text(path, json.dumps(origin, indent=2))


def keep_row(path: Path, row: Mapping[str, Any]) -> None:
    """Put a row into a CSV file whose header the first row makes; a row of the same run is replaced.

    Safe against other runs that end at the same time.

    Raises:
        DataError: The file has other columns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        rows: list[Mapping[str, Any]] = []
        for other in records.read(path):
            if list(other) != list(row):
                raise DataError(f"{path} has other columns than this version writes; move it away.")
            if any(other[key] != str(row[key]) for key in IDENTITY):
                rows.append(other)
        records.write(path, [*rows, row])


def keep_record(folder: Path, results: Path) -> None:
    """Copy a run's `run.json` to where it is kept; of files of this machine it then says the name."""

    def named(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: named(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [named(inner) for inner in value]
        return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value

    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    write_text(results / f"{folder.name}.json", json.dumps(named(record), indent=1) + "\n")


def rows_of(job: Job) -> list[dict[str, str]]:
    """The recorded rows of a job that ended, at every seed."""
    wanted = {
        "model": job.model,
        "planned_epochs": job.training()["epochs"],
        "imgsz": job.training()["imgsz"],
        "base_weights": base(job),
        "freeze_base": job.freeze_base or "",
        "width": job.width or "",
        "settings": " ".join(job.settings),
        "status": "complete",
    }
    rows = records.read(job.results / f"{job.recipe}.csv")
    return [row for row in rows if all(row[key] == str(value) for key, value in wanted.items())]


def base(job: Job) -> str:
    """Name and digest of the base weights, empty where a run starts from random ones."""
    if not job.base_weights:
        return ""
    file = checkpoint.find(job.base_weights)
    return f"{file.name} sha256 {sha256(file)}"
