"""`run.json`: written whole when a training starts, after each epoch and when it ends, however it ends."""

from __future__ import annotations

import csv
import io
import json
import math
import platform
import time
from contextlib import suppress
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import unwrap_model

from zoo import places, records
from zoo.detector import Grafted
from zoo.engine import fingerprint, quirks
from zoo.errors import DataError
from zoo.files import read_json, write_text
from zoo.report.runs import RECORD, data_name
from zoo.report.schema import SCHEMA, check

PACKAGES = ("yolo-attention-zoo", "torch", "torchvision", "ultralytics", "timm", "numpy", "faster-coco-eval")


class Recorder:
    """Keeps the `run.json` of one training.

    Args:
        trainer: Set up and, where it resumes, at its checkpoint's epoch.
    """

    def __init__(self, trainer: BaseTrainer) -> None:
        self._file = Path(trainer.save_dir) / RECORD
        self._clock = time.perf_counter()
        self._images, self._training, self._batches = 0, 0.0, 0
        self._record = _described(trainer)
        earlier = self._earlier() if trainer.resume else None
        if earlier:
            kept = [entry for entry in earlier["history"] if entry["epoch"] <= trainer.start_epoch]
            self._record |= {key: earlier[key] for key in ("parent", "started", "images_per_second")}
            self._record |= {"history": kept, "resumed": earlier["resumed"] + 1}
            self._record["settings"]["model"] = earlier["settings"].get("model")  # now it is the checkpoint
            if (best := earlier["epochs"].get("best", trainer.start_epoch + 1)) <= trainer.start_epoch:
                self._record["epochs"]["best"] = best
        elif trainer.resume:
            self._record["resumed"] = 1
        self._record["epochs"]["done"] = trainer.start_epoch
        self._record["seconds"] = sum(entry["seconds"] for entry in self._record["history"])
        self._write()

    def epoch_started(self) -> None:
        """Note when an epoch's training starts."""
        self._batches, self._since = 0, time.perf_counter()

    def batch_ended(self) -> None:
        """Count a batch."""
        self._batches += 1

    def training_ended(self, trainer: BaseTrainer) -> None:
        """Note when an epoch's training ends and its validation starts."""
        if self._batches == len(trainer.train_loader):
            self._training += time.perf_counter() - self._since
            self._images += len(trainer.train_loader.dataset)
            self._record["images_per_second"] = round(self._images / self._training, 2)

    def epoch_ended(self, trainer: BaseTrainer, validated: bool) -> None:
        """Add an epoch, which counts as done if no batch of it was left out."""
        gates = gates_of(trainer.ema.ema)
        now = time.perf_counter()
        scores = {name: trainer.metrics.get(f"metrics/{name}(B)") if validated else None for name in _SHOWN}
        entry = {
            "epoch": trainer.epoch + 1,
            **{name: _finite(value) for name, value in scores.items()},
            "loss": _finite(sum(float(part) for part in trainer.tloss.values())),
            "gates": gates,
            "seconds": round(now - self._clock, 3),
        }
        self._clock = now
        self._record["history"].append(entry)
        self._record["gates"] = gates
        self._record["seconds"] = round(self._record["seconds"] + entry["seconds"], 3)
        self._record["epochs"]["planned"] = max(trainer.epochs, trainer.epoch + 1)
        if self._batches == len(trainer.train_loader):
            self._record["epochs"]["done"] = trainer.epoch + 1
        if trainer.fitness == trainer.best_fitness:  # by which Ultralytics decides to write best.pt
            self._record["epochs"]["best"] = trainer.epoch + 1
        self._write()
        if gates:
            opened = ", ".join(f"layer {position} {value}" for position, value in gates.items())
            LOGGER.info(f"gates open by {opened} (mean |gamma|)")

    def scored(self, split: str, scores: dict[str, Any]) -> None:
        """Add the metrics of the last epoch's averaged weights on a split, as of `zoo.engine.scores.coco`."""
        self._record["metrics"][split] = scores
        self._write()

    def ended(self, status: str, error: str | None = None) -> None:
        """Close the record.

        Args:
            status: `ended`, `cut` or `failed`.
            error: Of a failed run.
        """
        self._record |= {"status": status, "error": error, "ended": _now()}
        self._record["seconds"] = round(self._record["seconds"] + time.perf_counter() - self._clock, 3)
        self._write()

    def _earlier(self) -> dict[str, Any] | None:
        with suppress(DataError):
            found = read_json(self._file, DataError)
            check(found, self._file)
            return found
        return None

    def _write(self) -> None:
        try:
            write_text(self._file, json.dumps(self._record, indent=1, allow_nan=False) + "\n")
        except OSError as error:  # a full disk ends the training at its next checkpoint, with the reason
            LOGGER.warning(f"{self._file} could not be written: {error.strerror or error}")


_SHOWN = ("mAP50-95", "mAP50")


def gates_of(model: Any) -> dict[str, float | None]:
    """How far each graft's gate is open: the mean absolute value of its gamma, by layer."""
    grafts = getattr(model, "grafts", {})
    return {position: _finite(graft.gamma.detach().abs().mean()) for position, graft in grafts.items()}


def describe_grafts(model: Grafted) -> str:
    """One line for the log: the grafts that a model was built with, and their parameters."""
    config = model.config
    table = places.layers(places.read(config))
    parts = []
    for graft in config.grafts:
        size = _size(model.grafts[str(graft.position)])
        parts.append(f"{graft.block} at {places.named(graft.position, table)}, {size:,} parameters")
    return f"{config.name}: {'; '.join(parts) or 'no graft'}"


def _grafts(model: Grafted) -> list[dict[str, Any]]:
    table = places.layers(places.read(model.config))
    found = []
    for graft in model.config.grafts:
        place = places.shortest(graft.position, table)
        parameters = _size(model.grafts[str(graft.position)])
        found.append({**graft.to_dict(), "place": place if isinstance(place, str) else None, "parameters": parameters})
    return found


def _described(trainer: BaseTrainer) -> dict[str, Any]:
    model = unwrap_model(trainer.model)
    plan, ours = model.yaml, isinstance(model, Grafted)
    digest, images = fingerprint.of(trainer.data | {"val": trainer.data[trainer.args.split]})
    file = str(trainer.args.data)
    frozen = quirks.frozen_base(trainer.args.freeze, model.model)
    return {
        "schema": SCHEMA,
        "status": "running",
        "error": None,
        "model": str(plan.get("name") or Path(str(trainer.args.model)).stem),
        "base": model.config.base_name if ours else None,
        "task": trainer.args.task,
        "grafts": _grafts(model) if ours else [],
        "parameters": _size(model),
        "parameters_trained": sum(part.numel() for part in model.parameters() if part.requires_grad),
        "gflops": _gflops(trainer),
        "parent": plan.get("parent"),
        "data": {
            "name": data_name(Path(file).absolute()),
            "yaml": file,
            "fingerprint": digest,
            "images": images,
            "class_names": [str(trainer.data["names"][index]) for index in sorted(trainer.data["names"])],
        },
        "settings": json.loads(json.dumps(vars(trainer.args), default=str)),
        "freeze_base": frozen,
        "seed": trainer.args.seed,
        "imgsz": trainer.args.imgsz,
        "width": plan.get("width"),
        "epochs": {"planned": trainer.epochs, "done": 0},
        "resumed": 0,
        "metrics": {},
        "history": [],
        "gates": gates_of(model),
        "images_per_second": None,
        "seconds": 0.0,
        "machine": records.machine(trainer.device),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}},
        "commit": records.commit(),
        "started": _now(),
        "ended": None,
    }


def _gflops(trainer: BaseTrainer) -> float | None:
    """Of the averaged model, whose copy of the attention's caches training does not use."""
    image = torch.zeros(1, trainer.data["channels"], trainer.args.imgsz, trainer.args.imgsz, device=trainer.device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        trainer.ema.ema(image)
    return round(counter.get_total_flops() / 1e9, 4)


def _size(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def _finite(value: Any) -> float | None:
    number = math.nan if value is None else float(value)
    return round(number, 6) if math.isfinite(number) else None


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def keep_epochs(table: Path, epochs: int) -> None:
    """Drop the rows of `results.csv` beyond the checkpoint that a run resumes from: their epochs are trained again."""
    if not table.is_file():
        return
    with table.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    kept = {int(float(row[0])): row for row in rows if row and float(row[0]) <= epochs}
    if not kept:
        table.unlink()
        return
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *kept.values()])
    write_text(table, text.getvalue())


# Functions of a module, because Ultralytics pickles a trainer's callbacks for the processes it starts.
def _epoch_started(trainer: BaseTrainer) -> None:
    if trainer.recorder:
        trainer.recorder.epoch_started()


def _batch_ended(trainer: BaseTrainer) -> None:
    if trainer.recorder:
        trainer.recorder.batch_ended()


def _training_ended(trainer: BaseTrainer) -> None:
    if trainer.recorder:
        trainer.recorder.training_ended(trainer)


NOTES = {
    "on_train_epoch_start": _epoch_started,
    "on_train_batch_end": _batch_ended,
    "on_train_epoch_end": _training_ended,
}
