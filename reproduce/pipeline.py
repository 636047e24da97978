"""The one path from a recipe to recorded weights: prepare, train, convert, evaluate, record, ship."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from ultralytics.nn.tasks import load_checkpoint

import zoo
from reproduce import measure, plan
from reproduce.datasets.fetch import fetch
from reproduce.datasets.prepare import prepare
from reproduce.job import Job, Recipe, load_recipe
from zoo.errors import OptionError
from zoo.files import CONFIG_FILE, write_text
from zoo.publish import repository
from zoo.report.runs import RECORD
from zoo.weights import saved

logger = logging.getLogger(__name__)

SMOKE_IMAGES = 16
REBUILT = {
    "9dab4629c1c7ef9777a55a7a8828ed5afb16db257aa060a5eed05562d77365c6",
    "424d3baf8b21f1740f981c258946ac16c4056ce2f67bf9304727cd17070f6387",
}
"""sha256 of the YOLOv8n and YOLO11n weights that stand in for the official files where these could not be had."""
OFFICIAL = "the same command with --base-weights and the official .pt starts from those"
SHIPPED_METRICS = ("mAP50", "mAP50-95")


def run(job: Job) -> dict[str, Any]:
    """Do what a job asks, from where it was left, and return its results row, or its plan for a dry run.

    Raises:
        ZooError: The data, the model, the options or the weights are not what the run needs.
    """
    recipe = load_recipe(job.recipe)
    check(job, recipe)
    if job.dry_run:
        return plan.estimate(job)
    if job.ship:
        return ship(job, recipe)
    if job.download:
        fetch(recipe.dataset["archives"], job.data)
    data = prepare(recipe.dataset, job.data, job.cache, SMOKE_IMAGES if job.smoke else None, verify=not job.unverified)
    record = job.directory / "row.json"
    if record.is_file():
        logger.info("%s is recorded already; delete the folder to repeat it.", job.directory)
        row = json.loads(record.read_text())
    else:
        measure.note_origin(job)
        train(job, data)
        row = measure.measure(job, data)
        write_text(record, json.dumps(row, indent=2))
    comparable = not (job.smoke or job.unverified)
    results = job.results if comparable else job.directory
    measure.keep_row(results / f"{job.recipe}.csv", row)
    if comparable and (job.directory / RECORD).is_file():
        measure.keep_record(job.directory, job.results / "runs" / job.recipe)
    return row


def check(job: Job, recipe: Recipe) -> None:
    """Refuse what cannot be asked together.

    Raises:
        OptionError: As said.
    """
    if job.ship and not (recipe.ship and job.follows_recipe):
        licence = recipe.dataset["license"]
        raise OptionError(f"--ship is for unaltered runs of data sets whose licence permits it: {licence}.")
    if job.freeze_base and not job.base_weights:
        raise OptionError("--freeze-base needs --base-weights: a frozen base of random weights learns nothing.")
    if job.download and (job.data is None or "archives" not in recipe.dataset):
        raise OptionError("--download is for coco and voc, and needs --data, the folder to fetch into.")


def train(job: Job, data: Path) -> None:
    """Train with the zoo's engine into the job's folder, or do what is left of it."""
    weights = job.directory / "weights"
    last = weights / "last.pt"
    if (weights / "zoo" / CONFIG_FILE).is_file():
        return
    if last.is_file():
        engine = zoo.YOLO(last)
        if not job.finish and engine.ckpt["epoch"] >= 0:
            engine.train(resume=True, device=job.device)
            return
        model, _ = load_checkpoint(last)
        model.yaml["imgsz"] = job.training()["imgsz"]
        saved.save(model, weights / "zoo")
        return
    if job.finish:
        raise OptionError(f"{job.directory} holds no checkpoint to record; run without --finish.")
    torch.manual_seed(job.seed)
    zoo.YOLO(job.model, base_weights=job.base_weights, width=job.width).train(
        **job.training(),
        **({"freeze_base": job.freeze_base} if job.freeze_base else {}),
        data=str(data),
        seed=job.seed,
        device=job.device,
        project=str(job.directory.parent),
        name=job.directory.name,
        exist_ok=True,
    )


def ship(job: Job, recipe: Recipe) -> dict[str, Any]:
    """Take the weights of the median seed on val, of all that ended, into the repository; return its row.

    Over a frozen base they are an adapter, whose tag says so.

    Raises:
        OptionError: No seed of the job is recorded, or the run's folder is not here.
    """
    rows = sorted(measure.rows_of(job), key=lambda row: float(row["val_mAP50-95"]))
    if not rows:
        raise OptionError(f"no run of {job.command} is recorded in {job.results}; run seeds without --ship first.")
    row = rows[(len(rows) - 1) // 2]
    chosen = replace(job, seed=int(row["seed"]))
    folder = chosen.directory / "weights" / ("adapter" if job.freeze_base else "zoo")
    if not folder.is_dir():
        raise OptionError(f"seed {chosen.seed} is the median of {len(rows)}, and its run is not here: no {folder}.")
    facts = repository.Facts(
        dataset=recipe.dataset["name"],
        dataset_license=recipe.dataset["license"],
        dataset_source=recipe.dataset["source"],
        imgsz=int(row["imgsz"]),
        metrics={
            split: {metric: float(row[f"{split}_{metric}"]) for metric in SHIPPED_METRICS}
            for split in ("val", "test")
            if row[f"{split}_mAP50"] != ""
        },
        recipe=chosen.command,
        commit=row["commit"],
        versions=json.loads(row["versions"]),
        started_from=started_from(row["base_weights"]),
    )
    if job.freeze_base:
        repository.add(folder, f"{job.model}.{recipe.tag}-adapter", facts, base_weights=job.base_weights)
    else:
        repository.add(folder, f"{job.model}.{recipe.tag}", facts)
    return row


def started_from(base_weights: str) -> str:
    """Say what weights a run started from; the rebuilt ones are known by digest and never passed off as official."""
    name, _, digest = base_weights.partition(" sha256 ")
    if digest in REBUILT:
        return f"Ultralytics' COCO weights as rebuilt from public int8 exports ({name}, sha256 {digest}); {OFFICIAL}"
    return base_weights
