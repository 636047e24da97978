"""The one path from a recipe to recorded weights: prepare, train, convert, evaluate, record, ship."""

from __future__ import annotations

import argparse
import contextlib
import csv
import itertools
import json
import logging
import math
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml
from filelock import FileLock
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.nn.tasks import load_checkpoint

import zoo
from benchmarks.complexity import gflops
from reproduce.datasets.fetch import fetch
from reproduce.datasets.prepare import prepare
from reproduce.evaluate import COCO_METRICS, coco_metrics, predict, voc_metrics
from zoo import records, shipped
from zoo.engine.settings import parse_settings
from zoo.errors import DataError, OptionError, ZooError
from zoo.files import sha256, write_text
from zoo.weights import official, saved

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
SMOKE = {"epochs": 1, "batch": 4, "nbs": 4, "warmup_epochs": 0}
SMOKE_IMAGES = 16
TIMED_STEPS = 20
ORIGIN = "origin.json"
GAMMA = re.compile(r"grafts\.[^.]+\.gamma")
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
METRICS = (*COCO_METRICS, "mAP50_11point", "mAP50_all_points", "ultralytics_mAP50", "ultralytics_mAP50-95")
SHIPPED_METRICS = ("mAP50", "mAP50-95")
IDENTITY = ("model", "width", "seed", "epochs", "imgsz", "base_weights", "freeze_base", "set")
OVERRIDES = ("width", "epochs", "imgsz", "base_weights")
PACKAGES = ("torch", "torchvision", "ultralytics", "timm", "faster-coco-eval", "numpy")


@dataclass(frozen=True)
class Job:
    """One run, as asked for on the command line."""

    recipe: str
    model: str
    seed: int = 0
    data: Path | None = None
    cache: Path = Path("runs/datasets")
    runs: Path = Path("runs/reproduce")
    device: str = "cpu"
    threads: int = 0
    epochs: int | None = None
    imgsz: int | None = None
    base_weights: str | None = None
    width: float | None = None
    set: tuple[str, ...] = ()
    freeze_base: bool = False
    resume: bool = False
    finish: bool = False
    download: bool = False
    dry_run: bool = False
    smoke: bool = False
    unverified: bool = False
    ship: bool | None = None

    @property
    def follows_recipe(self) -> bool:
        """Nothing was overridden that changes the result."""
        altered = self.smoke, self.unverified, self.epochs, self.imgsz, self.base_weights, self.width, self.set
        return not (any(altered) or self.freeze_base)

    @property
    def directory(self) -> Path:
        """Where Ultralytics and this script leave everything of the run."""
        changed = [
            f"{key}{value}" for key, value in (("w", self.width), ("e", self.epochs), ("i", self.imgsz)) if value
        ]
        changed += ["pretrained"] if self.base_weights else []
        changed += ["frozen"] if self.freeze_base else []
        changed += list(self.set)
        changed += ["smoke"] if self.smoke else []
        return (self.runs / self.recipe / "-".join([self.model, f"s{self.seed}", *changed])).absolute()

    @property
    def command(self) -> str:
        """The command line that repeats the run."""
        extra = [f"--{key} {value}" for key in OVERRIDES if (value := getattr(self, key))]
        extra += ["--freeze-base"] if self.freeze_base else []
        extra += [f"--set {pair}" for pair in self.set]
        extra += ["--data PATH"] if self.data else []
        words = [f"python reproduce/{self.recipe}.py --model {self.model} --seed {self.seed}", *extra]
        return " ".join(words).replace("base_weights", "base-weights")


def load_recipe(name: str) -> dict[str, Any]:
    """Read ``recipes/<name>.yaml``: the data set and Ultralytics' training arguments. The name is the weights' tag."""
    return yaml.safe_load((Path(__file__).parent / "recipes" / f"{name}.yaml").read_text())


def run(job: Job) -> dict[str, Any]:
    """Do what a job asks and return its results row; a run that is already recorded is not repeated.

    Raises:
        ZooError: The data, the model, the options or the weights are not what the run needs.
    """
    recipe = load_recipe(job.recipe)
    if job.ship and not (recipe["ship"] and job.follows_recipe):
        raise OptionError(
            f"--ship is for unaltered runs of data sets whose licence permits it: {recipe['dataset']['license']}."
        )
    if job.download:
        if job.data is None or "archives" not in recipe["dataset"]:
            raise OptionError("--download is for coco and voc, and needs --data, the folder to fetch into.")
        fetch(recipe["dataset"]["archives"], job.data)
    data = prepare(
        recipe["dataset"], job.data, job.cache, SMOKE_IMAGES if job.smoke else None, verify=not job.unverified
    )
    arguments = {
        **recipe["train"],
        **(SMOKE if job.smoke else {}),
        **{key: value for key in ("epochs", "imgsz") if (value := getattr(job, key)) is not None},
        **parse_settings(job.set),
    }
    if job.dry_run:
        return plan(job, data, arguments)
    record = job.directory / "row.json"
    if record.is_file() and not job.finish:
        logger.info("%s is recorded already; delete the folder to repeat it.", job.directory)
        row = json.loads(record.read_text())
    else:
        note_origin(job)
        train(job, data, arguments)
        row = measure(job, data, arguments)
        write_text(record, json.dumps(row, indent=2))
        comparable = not (job.smoke or job.unverified)
        scanned = bool(job.set or job.freeze_base)
        folder = ROOT / "results" / ("scans" if scanned else "") if comparable else job.directory
        append_row(folder / f"{job.recipe}.csv", row)
    if job.ship or (job.ship is None and job.seed == 0 and recipe["ship"] and job.follows_recipe):
        if row["status"] != "complete":
            raise OptionError(f"{job.directory} was cut at epoch {row['epochs']}; it is recorded and not shipped.")
        shipped.ship(
            job.directory / "weights" / "zoo",
            f"{job.model}.{job.recipe}",
            dataset=recipe["dataset"]["name"],
            dataset_license=recipe["dataset"]["license"],
            dataset_source=recipe["dataset"]["source"],
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
    return row


def train(job: Job, data: Path, arguments: dict[str, Any]) -> None:
    """Train with the zoo's engine into the job's folder, or go on from its last checkpoint.

    SIGTERM and SIGINT end the training at the next step; the best checkpoint so far is then evaluated and recorded.
    """
    last = job.directory / "weights" / "last.pt"
    if job.finish:
        if (job.directory / "weights" / "zoo").is_dir():
            return
        model, _ = load_checkpoint(job.directory / "weights" / "best.pt")
        model.yaml["imgsz"] = arguments["imgsz"]
        saved.save(model, job.directory / "weights" / "zoo")
        return
    if job.resume:
        engine = zoo.YOLO(last)
        options: dict[str, Any] = {"resume": True, "device": job.device}
    elif last.is_file():
        raise OptionError(f"{job.directory} holds an unfinished run. Pass --resume or --finish, or delete the folder.")
    else:
        torch.manual_seed(job.seed)
        engine = zoo.YOLO(job.model, base_weights=job.base_weights, width=job.width)
        options = {
            **arguments,
            "freeze_base": job.freeze_base,
            "data": str(data),
            "seed": job.seed,
            "device": job.device,
            "project": str(job.directory.parent),
            "name": job.directory.name,
            "exist_ok": True,
        }
    asked_to_stop: list[int] = []
    previous = {number: signal.signal(number, lambda n, _: asked_to_stop.append(n)) for number in STOP_SIGNALS}

    def stop_if_asked(trainer: BaseTrainer) -> None:
        trainer.stop |= bool(asked_to_stop)

    engine.add_callback("on_train_batch_end", stop_if_asked)
    if job.threads:
        engine.add_callback("on_train_start", lambda trainer: torch.set_num_threads(job.threads))
    try:
        engine.train(**options)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def measure(job: Job, data: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """Evaluate the fp16 weights that the run left, as a user would load them, and describe the run.

    Returns:
        One flat row: what was run, its size, metrics of each evaluated split, the norm of each gate and what is left
        of mAP50-95 with the gates of the trained model shut, and where it was run.
    """
    model = zoo.create(f"local-dir:{job.directory / 'weights' / 'zoo'}")
    with (job.directory / "results.csv").open(newline="") as file:
        history = list(csv.DictReader(file, skipinitialspace=True))
    epochs = max(int(line["epoch"]) for line in history)
    row: dict[str, Any] = {
        "model": job.model,
        "width": job.width or "",
        "seed": job.seed,
        "status": "complete" if epochs == load_recipe(job.recipe)["train"]["epochs"] else "cut",
        "epochs": epochs,
        "imgsz": arguments["imgsz"],
        "base_weights": base_name(job.base_weights),
        **({"freeze_base": job.freeze_base, "set": " ".join(job.set)} if job.set or job.freeze_base else {}),
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "gflops_640": round(gflops(model, 640), 3),
    }
    for split in ("val", "test"):
        annotations = data.parent / "annotations" / f"{split}.json"
        scores = dict.fromkeys(METRICS, float("nan"))
        if annotations.is_file():
            predictions, stock = predict(model, data, split, arguments["imgsz"], job.device)
            scores = coco_metrics(annotations, predictions) | voc_metrics(annotations, predictions)
            scores |= {f"ultralytics_{name}": value for name, value in stock.items()}
        row |= {f"{split}_{name}": "" if math.isnan(scores[name]) else round(scores[name], 5) for name in METRICS}
    gammas = {key.split(".")[1]: p.detach() for key, p in model.named_parameters() if GAMMA.fullmatch(key)}
    norms = {position: round(float(gamma.norm()), 4) for position, gamma in gammas.items()}
    without: float | str = ""
    if gammas:
        for gamma in gammas.values():
            gamma.zero_()
        predictions, _ = predict(model, data, "val", arguments["imgsz"], job.device)
        without = round(coco_metrics(data.parent / "annotations" / "val.json", predictions)["mAP50-95"], 5)
    return row | {
        "gamma_norms": json.dumps(norms),
        "val_mAP50-95_without_grafts": without,
        "hours": round(training_seconds([float(line["time"]) for line in history]) / 3600, 3),
        **json.loads((job.directory / ORIGIN).read_text()),
    }


def base_name(base_weights: str | None) -> str:
    """Name and digest of base weights, without the folder they were in."""
    if base_weights is None:
        return ""
    file = official.find(base_weights)
    return f"{file.name} sha256 {sha256(file)}"


def training_seconds(clock: list[float]) -> float:
    """Wall time of a training, from Ultralytics' clock after each epoch, which starts anew when a run is resumed."""
    return sum(now - before if now > before else now for before, now in itertools.pairwise([0.0, *clock]))


def note_origin(job: Job) -> None:
    """Write down what the run starts from, because the checkout may move on while it trains."""
    path = job.directory / ORIGIN
    if not path.is_file():
        origin = {
            "date": datetime.now(timezone.utc).date().isoformat(),
            "commit": commit(),
            "versions": json.dumps({name: metadata.version(name) for name in PACKAGES}),
            "machine": records.machine(job.device),
        }
        write_text(path, json.dumps(origin, indent=2))


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Append to a CSV file whose header the first row makes; a row of the same run is replaced.

    Safe against other runs that end at the same time.

    Raises:
        DataError: The file has other columns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        rows: list[dict[str, Any]] = []
        if path.is_file():
            with path.open(newline="") as file:
                reader = csv.DictReader(file)
                if reader.fieldnames != list(row):
                    raise DataError(f"{path} has other columns than this version writes; move it away.")
                rows = [other for other in reader if any(other[key] != str(row[key]) for key in IDENTITY if key in row)]
        records.write(path, [*rows, row])


def plan(job: Job, data: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """What a run would do and cost, from the timing of 20 training steps."""
    images = {
        path.stem: len(json.loads(path.read_text())["images"]) for path in (data.parent / "annotations").glob("*.json")
    }
    steps = math.ceil(images["train"] / arguments["batch"])
    ticks: list[float] = []

    def tick(trainer: BaseTrainer) -> None:
        ticks.append(time.perf_counter())
        trainer.stop = len(ticks) > TIMED_STEPS

    with tempfile.TemporaryDirectory() as folder:
        engine = zoo.YOLO(job.model, width=job.width)
        engine.add_callback("on_train_batch_end", tick)
        timed = {"epochs": TIMED_STEPS + 1, "val": False, "save": False, "plots": False}
        with contextlib.suppress(FileNotFoundError):
            engine.train(**arguments | timed, data=str(data), device=job.device, project=folder, name="timing")
    seconds = statistics.median(later - earlier for earlier, later in itertools.pairwise(ticks))
    return {
        "command": job.command,
        "data": str(data),
        "images": images,
        "epochs": arguments["epochs"],
        "steps": steps * arguments["epochs"],
        "seconds_per_step": round(seconds, 3),
        "hours_of_training_steps": round(steps * arguments["epochs"] * seconds / 3600, 2),
        "arguments": arguments,
    }


def commit() -> str:
    """The checkout's commit, marked when code differs from it."""
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "zoo", "reproduce"], check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("-modified" if changed else "")


def parse(recipe: str, argv: list[str] | None = None) -> Job:
    """Turn a command line into a job."""
    parser = argparse.ArgumentParser(
        prog=f"python reproduce/{recipe}.py", description="Prepare, train, convert to safetensors, evaluate, record."
    )
    parser.add_argument("--model", required=True, help="a registered name, see 'zoo list'")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="folder of the original data set; nothing is written into it")
    parser.add_argument("--download", action="store_true", help="fetch the published archives into --data first")
    parser.add_argument("--cache", type=Path, default=Job.cache, help="where prepared data sets are kept")
    parser.add_argument("--runs", type=Path, default=Job.runs, help="where Ultralytics' run folders are kept")
    parser.add_argument("--device", default=Job.device, help="as Ultralytics takes it: cpu, 0, 0,1")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; default all")
    parser.add_argument("--epochs", type=int, help="other than the recipe's")
    parser.add_argument("--imgsz", type=int, help="other than the recipe's")
    parser.add_argument("--base-weights", help="official weights to start from instead of random ones")
    parser.add_argument("--width", type=float, help="another width than the scale's, for a plain control")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a training setting other than the recipe's"
    )
    parser.add_argument("--freeze-base", action="store_true", help="train the grafts and the head alone")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--finish", action="store_true", help="evaluate and record a run as it is, interrupted or not")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and its cost")
    parser.add_argument(
        "--smoke", action="store_true", help="the whole path on a few images; recorded in the run folder"
    )
    parser.add_argument("--unverified", action="store_true", help="accept a data set that differs from the recipe's")
    parser.add_argument(
        "--ship", action=argparse.BooleanOptionalAction, help="put the weights into weights/; default for seed 0"
    )
    return Job(recipe, **vars(parser.parse_args(argv)))


def main(recipe: str) -> None:
    """Command line of every script in this folder."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        row = run(parse(recipe))
    except ZooError as error:
        sys.exit(f"error: {error}")
    print(json.dumps(row, indent=2))
