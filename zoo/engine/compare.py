"""`zoo compare`: models trained alike over seeds, and whether the first of them was beaten.

Early stopping would choose an epoch by the validation images that then judge it, so it is off, and what is compared are
the averaged weights after the last epoch; with a `test` split in the data YAML the verdict is on that.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zoo.detector import build
from zoo.engine import data, entrants, estimate, fingerprint, jobs
from zoo.engine.differing import pictures
from zoo.engine.entrants import Entrant
from zoo.engine.jobs import Job
from zoo.engine.lock import FolderLock
from zoo.engine.progress import Progress, duration
from zoo.engine.settings import TRAIN_ONLY, check_settings
from zoo.engine.sweep import training
from zoo.errors import DataError, OptionError, SweepError
from zoo.files import write_text
from zoo.report import comparison, page
from zoo.report.comparison import Comparison
from zoo.report.runs import data_name, folder_name

FROM_COMPARISON = ("seed", "resume", "name", "exist_ok", "save_dir", "patience", "pretrained", "model", "device")


@dataclass(frozen=True)
class Plan:
    """What a comparison will run, and what that costs.

    Attributes:
        entrants: The control first.
        seeds: Each model is trained once a seed.
        images: By split.
        jobs: One a model and seed, seeds outermost.
        folder: Of the jobs; the same for the same data and settings, whatever the models and seeds.
        settings: Of every training.
        at_once: Jobs that run at the same time.
        cpus: Processors of a job, and its threads.
        gpus: GPUs of a job, or a share of one.
        hours: Estimated from a few timed steps, without the loading of images.
        bytes: Of disk, at most.
        notes: What the reader of the plan should know.
    """

    entrants: tuple[Entrant, ...]
    seeds: tuple[int, ...]
    images: Mapping[str, int]
    jobs: tuple[Job, ...]
    folder: Path
    settings: Mapping[str, Any]
    at_once: int
    cpus: int
    gpus: float
    hours: float
    bytes: int
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """One sentence."""
        images = ", ".join(f"{count} {split}" for split, count in self.images.items())
        return (
            f"{len(self.jobs)} jobs ({len(self.entrants)} models, seeds {', '.join(map(str, self.seeds))}) of "
            f"{self.settings['epochs']} epochs at {self.settings['imgsz']} px on {images} images: about "
            f"{duration(3600 * self.hours)} with {self.at_once} at a time, and {self.bytes / 1e9:.1f} GB of disk, in "
            f"{self.folder}"
        )


@dataclass(frozen=True)
class Verdict:
    """What a comparison found.

    Attributes:
        plan: What was run.
        comparison: Scores, costs and differences, model by model; `None` after a dry run.
        page: The HTML page; `None` after a dry run.
        failed: Why jobs failed, empty if none did.
    """

    plan: Plan
    comparison: Comparison | None = None
    page: Path | None = None
    failed: str = ""


def compare(
    models: Sequence[str],
    data: str | Path,
    *,
    seeds: int | Sequence[int] = 3,
    size_control: bool = False,
    base_weights: str | Path | bool | None = None,
    project: str | Path = "runs/compare",
    cpus: int = 1,
    gpus: float | None = None,
    images: bool = True,
    dry_run: bool = False,
    **settings: Any,
) -> Verdict:
    """Train models alike over seeds, and compare them with the first.

    The same call again goes on where the last one stopped; more models or seeds add jobs to those that ended.

    Args:
        models: Names as `zoo train` takes them, without tags; the first is the control.
        data: YAML in Ultralytics' format.
        seeds: How many, from 0 on, or which.
        size_control: Also train, for each grafted model, its base with `conv` grafts of as many parameters at the same
            places, and the base's next scale.
        base_weights: Official weights to start from: `True` for each base's own, a folder that holds them, or a file
            where all models share the base. Random weights when omitted.
        project: Where the comparison's folder is made.
        cpus: Processors of a job, and its threads.
        gpus: GPUs of a job or a share of one; one where there are any when omitted.
        images: Whether the page may show images of the data set.
        dry_run: Say what would run and what it costs, and run nothing.
        **settings: Of every training: Ultralytics', and `freeze_base`.

    Raises:
        ZooError: A name, the data, a setting or weights cannot be used, or there is no room on the disk.
        SweepError: No job of the control ended, or no Ray.
        KeyboardInterrupt: Ctrl-C; the message says how to go on.
    """
    plan = make_plan(models, data, seeds, size_control, base_weights, Path(project), cpus, gpus, settings)
    return Verdict(plan) if dry_run else run(plan, images=images)


def make_plan(
    models: Sequence[str],
    file: str | Path,
    seeds: int | Sequence[int],
    size_control: bool,
    base_weights: str | Path | bool | None,
    project: Path,
    cpus: int,
    gpus: float | None,
    settings: Mapping[str, Any],
) -> Plan:
    """See `compare`."""
    chosen = _seeds(seeds)
    if taken := [key for key in FROM_COMPARISON if key in settings]:
        hints = " Start from weights with base_weights." if "pretrained" in taken else ""
        hints += " Choose between processors and GPUs with cpus and gpus." if "device" in taken else ""
        raise OptionError(f"{', '.join(taken)} cannot be set: every model is trained alike to the last epoch.{hints}")
    check_settings(settings, also=TRAIN_ONLY)
    if type(imgsz := settings.get("imgsz", 640)) is not int:
        raise OptionError(f"imgsz={imgsz} must be one whole number: trainings take square images.")
    if base_weights is not None and not isinstance(base_weights, str | Path | bool):
        raise OptionError(f"base_weights={base_weights!r} must be a file, a folder or True.")
    gpus = (1 if torch.cuda.is_available() else 0) if gpus is None else gpus
    jobs.check_share(cpus, gpus, here=True)
    found = data.read(file)
    digest, images = fingerprint.of(found)
    for split in ("train", "val"):
        if not images.get(split):
            raise DataError(f"data={file}: there is no image in {found[split]}, the place of {split!r}.")
    names = tuple(str(found["names"][index]) for index in sorted(found["names"]))
    device = torch.device("cuda" if gpus else "cpu")
    full = {"epochs": 50, "imgsz": 640, "plots": False, **settings, "patience": 0, "device": 0 if gpus else "cpu"}
    notes: list[str] = []
    entering = []
    for config in entrants.configs(models, size_control, notes):
        weights = entrants.weights(config, base_weights, models, notes)
        if weights is not None or not base_weights:
            model = build(entrants.with_classes(config, weights, names))
            parameters = entrants.size(model)
            seconds = estimate.seconds_per_image(model, int(full["imgsz"]), device, cpus)
            entering.append(Entrant(config.name, model.config, weights, parameters, seconds))
    name = data_name(Path(file).absolute())
    label = "".join(letter if letter.isalnum() or letter in "._" else "_" for letter in name)
    shared = json.dumps({**full, "base_weights": str(base_weights or ""), "device": ""}, sort_keys=True, default=str)
    folder = (project / f"{label}-{digest[:8]}-{hashlib.sha256(shared.encode()).hexdigest()[:6]}").absolute()
    others = [other.name for other in project.glob(f"{label}-*") if not other.name.startswith(f"{label}-{digest[:8]}")]
    if others:
        notes.append(
            f"{label} was compared before with other images, labels or class names ({', '.join(sorted(others))}, now "
            f"{digest[:8]}): those runs stay where they are and are not mixed with these."
        )
    if len(chosen) == 1:
        notes.append("One seed has no interval: its difference may be chance.")
    every = tuple(
        training(
            each.name,
            label,
            folder / folder_name(each.name, seed),
            {**full, "seed": seed, "data": Path(file).absolute()}
            | ({"pretrained": each.base_weights} if each.base_weights else {}),
            cpus,
        )
        for seed in chosen
        for each in entering
    )
    at_once = min(jobs.at_once(cpus, gpus), len(every))
    epochs = full["epochs"]
    seconds_all = sum(images["train"] * each.seconds[0] + images["val"] * each.seconds[1] for each in entering)
    left = sum(job.finished() is None for job in every) / len(every)
    sizes = [each.parameters for each in entering]
    disk = estimate.BYTES_KEPT * sum(sizes) * len(chosen)
    disk += (estimate.BYTES_TRAINING - estimate.BYTES_KEPT) * max(sizes) * at_once
    hours = seconds_all * epochs * len(chosen) * left / at_once / 3600
    return Plan(tuple(entering), chosen, images, every, folder, full, at_once, cpus, gpus, hours, disk, tuple(notes))


def run(plan: Plan, *, images: bool = True) -> Verdict:
    """Run what a plan has left to do, and judge.

    Args:
        plan: Of `make_plan`.
        images: Whether the page may show images of the data set.

    Raises:
        OptionError: There is no room on the disk, or another process runs these jobs.
        SweepError: No job of the control ended, or no Ray.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(plan.folder).free) < plan.bytes:
        raise OptionError(
            f"the jobs need {plan.bytes / 1e9:.1f} GB and {plan.folder} has {free / 1e9:.1f} GB left; choose another "
            "place with project=PATH."
        )
    rows = {job.folder: row for job in plan.jobs if (row := job.finished())}
    with FolderLock(plan.folder, "runs its jobs"), Progress(plan.jobs, rows, plan.settings["epochs"]) as progress:

        def ended(job: Job, row: jobs.Row) -> None:
            rows[job.folder] = row
            progress.ended(job, row)

        rows |= jobs.execute(plan.jobs, cpus=plan.cpus, gpus=plan.gpus, ended=ended, tick=progress.tick)
    return judge(plan, jobs.failures(plan.jobs, rows), images=images)


def judge(plan: Plan, failed: str = "", *, images: bool = True) -> Verdict:
    """Compare what has ended, and write the page.

    Raises:
        SweepError: No job of the control ended.
    """
    found = [record for job in plan.jobs if (record := job.record())]
    control = plan.entrants[0].name
    if not any(record.model == control and record.status == "ended" for record in found):
        raise SweepError(
            f"no training of the control {control} ended, so nothing can be compared to it. {failed or 'Go on with it'}"
            "; the same command tries again."
        )
    device = torch.device("cuda" if plan.gpus else "cpu")
    built = {each.name: build(each.config) for each in plan.entrants}
    timed = estimate.milliseconds(built, int(plan.settings["imgsz"]), device)
    latency = {name: (ms, ms / timed[control]) for name, ms in timed.items()}
    judged = comparison.compare(found, control=control, latency=latency)
    written = plan.folder / "report.html"
    write_text(written, page.render(judged, pictures if images else None))
    return Verdict(plan, judged[0], written, failed)


def _seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    chosen = tuple(range(seeds)) if isinstance(seeds, int) and not isinstance(seeds, bool) else seeds
    if not isinstance(chosen, list | tuple) or not chosen or not all(type(seed) is int for seed in chosen):
        raise OptionError(f"seeds={seeds!r} must be how many (at least 1), or a list of whole numbers.")
    return tuple(dict.fromkeys(chosen))
