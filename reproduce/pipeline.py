"""The one path from a recipe to recorded weights: prepare, train, convert, evaluate, record, ship."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from ultralytics.nn.tasks import load_checkpoint

import zoo
from reproduce import measure, plan
from reproduce.datasets.fetch import fetch
from reproduce.datasets.prepare import prepare
from reproduce.job import Job, Recipe, load_recipe
from zoo import shipped
from zoo.errors import OptionError
from zoo.files import CONFIG_FILE, write_text
from zoo.weights import saved

logger = logging.getLogger(__name__)

SMOKE_IMAGES = 16
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
    if comparable and (described := job.directory / "run.json").is_file():
        kept = job.results / "runs" / job.recipe / f"{job.directory.name}.json"
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(described, kept)
    if job.ship:
        ship(job, recipe, row)
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


def ship(job: Job, recipe: Recipe, row: dict[str, Any]) -> None:
    """Take the run's weights into the repository.

    Raises:
        OptionError: The run was cut short.
    """
    if row["status"] != "complete":
        raise OptionError(f"{job.directory} was cut at epoch {row['epochs']}; it is recorded and not shipped.")
    shipped.ship(
        job.directory / "weights" / "zoo",
        f"{job.model}.{job.recipe}",
        dataset=recipe.dataset["name"],
        dataset_license=recipe.dataset["license"],
        dataset_source=recipe.dataset["source"],
        imgsz=row["imgsz"],
        metrics={
            split: {metric: row[f"{split}_{metric}"] for metric in SHIPPED_METRICS}
            for split in ("val", "test")
            if row[f"{split}_mAP50"] != ""
        },
        recipe=job.command,
        commit=row["commit"],
        versions=json.loads(row["versions"]),
    )
