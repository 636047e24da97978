"""`zoo sweep plan.yaml`: models x data sets x seeds, one results row a job.

A plan names what to train on: data YAMLs with the training settings they share, or commands that bring their own:

    models: [yolov8n, yolov8n_dattn, "yolov8n+eca@p3,p4,p5"]
    seeds: [0, 1, 2]
    data: {shapes: data/shapes.yaml}
    train: {epochs: 50, imgsz: 320, base_weights: yolov8n.pt}
    recipes: {bccd: "python -m reproduce bccd --model {model} --seed {seed} --runs {folder}/runs --data /data/bccd"}
    folder: runs/sweep
    gpus: 1

`{model}`, `{seed}`, `{folder}` (of the job) and `{device}` are filled in. A command goes on by itself when it is given
again, and leaves a `row.json` or a `run.json` below its folder.

Each job has a folder of its own, with the log, the checkpoints and, once it ended well, `row.json`. The same command
again goes on: ended jobs are not repeated, unfinished ones resume from their last checkpoint. `<folder>/results.csv` is
what `zoo report` reads. A job that fails is a row with its error, and the rest run on. Jobs run on Ray, here or on a
cluster: `zoo.engine.jobs`.
"""

from __future__ import annotations

import csv
import io
import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from string import Formatter
from typing import Any

import yaml

from zoo import registry
from zoo.engine import jobs
from zoo.engine.jobs import Job, Row
from zoo.engine.lock import FolderLock
from zoo.engine.settings import TRAIN_ONLY, check_settings
from zoo.errors import OptionError, SweepError, one_line
from zoo.files import write_text
from zoo.names import hint, parse
from zoo.report.runs import folder_name

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_FROM_PLAN = ("data", "seed", "device", "resume", "project", "name", "exist_ok", "save_dir")


@dataclass(frozen=True)
class Plan:
    """What a sweep runs.

    Attributes:
        models: Names that `zoo train` takes, free-form ones too.
        seeds: Each model is trained once a seed.
        data: Data YAMLs by the name to give them in the results.
        train: Settings of `zoo train` for the jobs on `data`; `base_weights` is a file of the base to start from, or
            `True` for the official one of each model's base.
        recipes: Commands by the name to give them in the results.
        folder: Where everything is written.
        cpus: Processors of a job, and its threads.
        gpus: GPUs of a job, or a share of one.
    """

    models: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    data: Mapping[str, str] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    recipes: Mapping[str, str] = field(default_factory=dict)
    folder: Path = Path("runs/sweep")
    cpus: int = 1
    gpus: float = 0

    @classmethod
    def read(cls, file: str | Path) -> Plan:
        """Read and check a plan.

        Raises:
            OptionError: The file is missing or malformed, a key is unknown, or a value is not of its kind.
            UnknownModelError: A model does not exist.
        """
        try:
            found = yaml.safe_load(Path(file).read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise OptionError(f"the plan {file} cannot be read: {one_line(error)}") from error
        if not isinstance(found, dict):
            raise OptionError(f"the plan {file} must be a mapping with 'models' and 'data' or 'recipes'.")
        known = [item.name for item in fields(cls)]
        for key in found:
            if key not in known:
                raise OptionError(f"the plan {file} has an unknown key {key!r}. {hint(key, known)}")
        for key, kind, what in (
            ("models", list, "a list of names"),
            ("seeds", list, "a list of whole numbers"),
            ("data", dict, "a mapping of names to data YAMLs"),
            ("train", dict, "a mapping of settings"),
            ("recipes", dict, "a mapping of names to commands"),
            ("folder", str, "a path"),
            ("cpus", int, "a whole number"),
            ("gpus", (int, float), "a number"),
        ):
            if key in found and not isinstance(found[key], kind):
                raise OptionError(f"the plan {file}: {key} must be {what}, found {found[key]!r}.")
        plan = cls(
            **{
                **found,
                "models": tuple(found.get("models", ())),
                "seeds": tuple(found.get("seeds", (0,))),
                "folder": Path(found.get("folder", cls.folder)),
            }
        )
        plan.check()
        return plan

    def check(self) -> None:
        """Raise what `read` raises, for the values."""
        if not self.models or not (self.data or self.recipes):
            raise OptionError("a plan needs at least one of 'models', and one of 'data' or 'recipes'.")
        for model in self.models:
            if parse(str(model)).kind == "model":
                registry.get_config(str(model))
        if not all(type(seed) is int for seed in self.seeds) or not self.seeds:
            raise OptionError(f"seeds must be a list of whole numbers, found {list(self.seeds)}.")
        for name in (*self.data, *self.recipes):
            if not _NAME.fullmatch(str(name)):
                raise OptionError(f"{name!r} cannot be the name of a folder; use letters, digits, '_', '-' and '.'.")
        if both := set(self.data) & set(self.recipes):
            raise OptionError(f"{', '.join(sorted(both))} names both a data YAML and a recipe; rename one.")
        for name, file in self.data.items():
            if not Path(str(file)).is_file():
                raise OptionError(f"data: there is no file {file} for {name!r}.")
        for name, command in self.recipes.items():
            _check_command(name, command)
        if chosen := [key for key in _FROM_PLAN if key in self.train]:
            raise OptionError(f"train: {', '.join(chosen)} cannot be set; the sweep does.")
        check_settings(self.train, also=TRAIN_ONLY | {"base_weights"})
        jobs.check_share(self.cpus, self.gpus)
        self._check_base_weights(self.train.get("base_weights"))

    def _check_base_weights(self, base: Any) -> None:
        if base is not None and not isinstance(base, str | bool):
            raise OptionError(f"train: base_weights must be a file or true, found {base!r}.")
        own = [model for model in self.models if parse(str(model)).kind != "model"]
        if base is True and own:
            raise OptionError(f"train: base_weights: true is for models by name, and {own[0]} is a file or a folder.")

    def jobs(self) -> list[Job]:
        """Every combination, seeds outermost, so that a sweep cut short has compared all models."""
        return [
            self._job(str(model), name, seed)
            for seed in self.seeds
            for name in (*self.data, *self.recipes)
            for model in self.models
        ]

    def _job(self, model: str, data: str, seed: int) -> Job:
        folder = (self.folder / data / folder_name(model, seed)).absolute()
        device = 0 if self.gpus else "cpu"
        if data in self.recipes:
            known = {"model": model, "seed": seed, "folder": folder, "device": device}
            words = [word.format(**known) for word in shlex.split(self.recipes[data])]
            words[0] = sys.executable if words[0] == "python" else words[0]
            return Job(model, data, seed, folder, tuple(words), None, self.cpus)
        settings = {**self.train, "data": Path(self.data[data]).absolute(), "seed": seed, "device": device}
        if base := settings.pop("base_weights", None):
            settings["pretrained"] = f"{registry.get_config(model).base_name}.pt" if base is True else base
        return training(model, data, folder, settings, self.cpus)


def training(model: str, data: str, folder: Path, settings: Mapping[str, Any], threads: int) -> Job:
    """The job of `zoo train MODEL SETTINGS`, whose run lies in `<folder>/run`.

    Args:
        model: Its name.
        data: What the results call the data set.
        folder: Of the job.
        settings: As `zoo train` takes them, with `seed`.
        threads: Of the process.
    """
    run = folder / "run"
    words = [f"{key}={value}" for key, value in {**settings, "save_dir": run}.items()]
    command = (sys.executable, "-m", "zoo", "train", model, *words)
    return Job(model, data, int(settings["seed"]), folder, command, run, threads)


def run(plan: Plan) -> Path:
    """Run what a plan has left to do.

    Returns:
        `results.csv`, one row a job.

    Raises:
        OptionError: Another process runs these jobs, or this machine has too few GPUs and no cluster is named.
        SweepError: Jobs failed, or Ray is not installed. `results.csv` has the rows of the others.
    """
    jobs.check_share(plan.cpus, plan.gpus, here="RAY_ADDRESS" not in os.environ)
    every = plan.jobs()
    results = plan.folder / "results.csv"
    plan.folder.mkdir(parents=True, exist_ok=True)
    rows = {job.folder: row for job in every if (row := job.finished())}
    print(f"{len(every)} jobs, {len(rows)} of them ended before")

    def ended(job: Job, row: Row) -> None:
        rows[job.folder] = row
        print(f"{len(rows)}/{len(every)} {job.data} {job.model} seed {job.seed}: {row['status']}", flush=True)
        _write(results, [rows[job.folder] for job in every if job.folder in rows])

    with FolderLock(plan.folder, "runs its jobs"):
        rows = jobs.execute(every, cpus=plan.cpus, gpus=plan.gpus, ended=ended) | rows
    _write(results, [rows[job.folder] for job in every])
    if failed := jobs.failures(every, rows):
        raise SweepError(
            f"{failed}. {results} has the rest, log.txt in each folder says more; the same command tries them again."
        )
    return results


def _check_command(name: str, command: Any) -> None:
    example = f'"python -m reproduce {name} --model {{model}} --seed {{seed}} --runs {{folder}}/runs"'
    if not isinstance(command, str) or not command.strip():
        raise OptionError(f"recipes: {name!r} must be a command, such as {example}, found {command!r}.")
    try:
        found = {key for _, key, _, _ in Formatter().parse(command) if key is not None}
        shlex.split(command)
    except ValueError as error:
        raise OptionError(f"recipes: the command of {name!r} cannot be read: {error}.") from error
    if not {"model", "seed", "folder"} <= found <= {"model", "seed", "folder", "device"}:
        raise OptionError(
            f"recipes: the command of {name!r} must hold {{model}}, {{seed}} and {{folder}}, may hold {{device}}, and "
            f"holds {', '.join(f'{{{key}}}' for key in sorted(found)) or 'none'}. Such as {example}."
        )


def _write(file: Path, rows: list[Row]) -> None:
    """Rows under the union of their columns, in order of appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(file, text.getvalue())
