"""`zoo sweep plan.yaml`: models x data sets x seeds, as jobs on Ray, one results row a job.

A plan names what to train on, either data YAMLs with the training settings they share, or recipes of `reproduce/`
with their arguments, which bring their own settings:

    models: [yolov8n, yolov8n_dattn, yolov8n_hat]
    seeds: [0, 1, 2]
    data: {shapes: data/shapes.yaml}
    train: {epochs: 50, imgsz: 320, base_weights: yolov8n.pt}
    recipes: {bccd: [--data, /data/bccd]}
    folder: runs/sweep
    gpus: 1

Each job has a folder of its own, with the log, the checkpoints and, once it ended well, `row.json`. The same command
again goes on: ended jobs are not repeated, unfinished ones resume from their last checkpoint. `<folder>/results.csv` is
what `zoo report` reads. A job that fails is a row with its error, and the rest run on.

Ray starts on this machine, or joins the cluster that `RAY_ADDRESS` names; there, every node needs this package, and
the data and the folder under the same path. Clusters ask for a token unless they were started otherwise: set
`RAY_AUTH_MODE=token`, and `RAY_AUTH_TOKEN` unless the token is in `~/.ray/auth_token`.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from zoo import assets, registry
from zoo.engine.settings import TRAIN_ONLY, check_settings
from zoo.errors import OptionError, SweepError
from zoo.files import write_text
from zoo.names import hint

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_FROM_PLAN = ("data", "seed", "device", "resume", "project", "name", "exist_ok", "save_dir")


@dataclass(frozen=True)
class Plan:
    """What a sweep runs.

    Attributes:
        models: Names that `zoo train` takes, without spaces or slashes.
        seeds: Each model is trained once a seed.
        data: Data YAMLs by the name to give them in the results.
        train: Settings of `zoo train` for the jobs on `data`; `base_weights` starts from official weights.
        recipes: Recipes of `reproduce/`, each with its arguments but `--model`, `--seed` and `--runs`.
        folder: Where everything is written.
        cpus: Processors that Ray sets aside for a job; all of a machine when omitted and no GPU is asked for.
        gpus: GPUs that Ray sets aside for a job.
    """

    models: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    data: Mapping[str, str] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    recipes: Mapping[str, list[str]] = field(default_factory=dict)
    folder: Path = Path("runs/sweep")
    cpus: int | None = None
    gpus: int = 0

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
            raise OptionError(f"the plan {file} cannot be read: {' '.join(str(error).split())}") from error
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
            ("recipes", dict, "a mapping of recipes to lists of arguments"),
            ("folder", str, "a path"),
            ("cpus", int, "a whole number"),
            ("gpus", int, "a whole number"),
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
            registry.get_config(model)
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
        for name, arguments in self.recipes.items():
            if not (assets.root() / "reproduce" / "recipes" / f"{name}.yaml").is_file():
                raise OptionError(
                    f"recipes: there is no reproduce/recipes/{name}.yaml; recipes need a checkout of the zoo."
                )
            if not isinstance(arguments, list):
                raise OptionError(f"recipes: the arguments of {name!r} must be a list, found {arguments!r}.")
        if chosen := [key for key in _FROM_PLAN if key in self.train]:
            raise OptionError(f"train: {', '.join(chosen)} cannot be set; the sweep does.")
        check_settings(self.train, also=TRAIN_ONLY | {"base_weights"})

    def jobs(self) -> list[Job]:
        """Every combination, seeds outermost, so that a sweep cut short has compared all models."""
        return [
            Job(model, name, seed, (self.folder / name / f"{model}-s{seed}").absolute(), self)
            for seed in self.seeds
            for name in (*self.data, *self.recipes)
            for model in self.models
        ]


@dataclass(frozen=True)
class Job:
    """One training of a sweep."""

    model: str
    data: str
    seed: int
    folder: Path
    plan: Plan

    @property
    def command(self) -> list[str]:
        """What runs it, or goes on with it."""
        if self.data in self.plan.recipes:
            words = [self.data, "--model", self.model, "--seed", str(self.seed), "--runs", str(self.folder / "runs")]
            words += ["--device", "0" if self.plan.gpus else "cpu"]
            return [sys.executable, "-m", "reproduce", *words, *map(str, self.plan.recipes[self.data])]
        last = self.folder / "run" / "weights" / "last.pt"
        if last.is_file():
            return [sys.executable, "-m", "zoo.engine.launch", str(last), "resume=True"]
        settings = dict(self.plan.train)
        if base := settings.pop("base_weights", None):
            settings["pretrained"] = base
        settings |= {"data": Path(self.plan.data[self.data]).absolute(), "seed": self.seed}
        settings |= {"device": 0 if self.plan.gpus else "cpu", "save_dir": self.folder / "run"}
        return [
            sys.executable,
            "-m",
            "zoo.engine.launch",
            self.model,
            *(f"{key}={value}" for key, value in settings.items()),
        ]

    def run(self) -> dict[str, Any]:
        """Run the command to its end, its output in `log.txt`, and return the results row."""
        record = self.folder / "row.json"
        if record.is_file():
            return json.loads(record.read_text())
        self.folder.mkdir(parents=True, exist_ok=True)
        row: dict[str, Any] = {"data": self.data, "model": self.model, "seed": self.seed}
        started = time.monotonic()
        trained = (self.folder / "run" / "weights" / "zoo" / "config.json").is_file()
        with (self.folder / "log.txt").open("a") as log:
            code = (
                0
                if trained
                else subprocess.run(self.command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
            )
        if code:
            said = (self.folder / "log.txt").read_text(errors="replace").strip().splitlines()
            return {**row, "status": "failed", "error": f"exit code {code}: {said[-1] if said else 'no output'}"}
        row |= {"status": "complete", "hours": round((time.monotonic() - started) / 3600, 4)}
        row |= self._results()
        write_text(record, json.dumps(row, indent=2))
        return row

    def _results(self) -> dict[str, Any]:
        if self.data in self.plan.recipes:
            [written] = self.folder.glob("runs/*/*/row.json")
            return json.loads(written.read_text())
        from zoo.report.runs import read_run

        return {**read_run(self.folder / "run"), "data": self.data, "model": self.model}


def run(plan: Plan) -> Path:
    """Run what a plan has left to do.

    Returns:
        `results.csv`, one row a job.

    Raises:
        SweepError: Jobs failed, or Ray is not installed. `results.csv` has the rows of the others.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise SweepError("sweeps need Ray; install it with: pip install 'yolo-attention-zoo[sweep]'") from error
    jobs = plan.jobs()
    rows: dict[Path, dict[str, Any]] = {}
    plan.folder.mkdir(parents=True, exist_ok=True)
    results = plan.folder / "results.csv"
    for job in jobs:
        if (job.folder / "row.json").is_file():
            rows[job.folder] = job.run()
    left = [job for job in jobs if job.folder not in rows]
    print(f"{len(jobs)} jobs, {len(rows)} of them ended before")
    if left:
        address = os.environ.get("RAY_ADDRESS")
        try:
            # Without "local", Ray joins what last was started on this machine, and waits for it if it is gone.
            ray.init(address or "local", include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
        except Exception as error:  # Ray raises plain exceptions
            what = f"was not reached at {address}" if address else "did not start on this machine"
            hint = " If the cluster asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN." if address else ""
            raise SweepError(f"Ray {what}: {str(error).rstrip('.')}.{hint}") from error
        try:
            cpus = plan.cpus or (1 if plan.gpus else max(int(node["Resources"].get("CPU", 1)) for node in ray.nodes()))
            # One process a job, so that nothing of Ultralytics' global state goes from one to the next.
            remote = ray.remote(num_cpus=cpus, num_gpus=plan.gpus, max_retries=0, max_calls=1)(Job.run)
            running = {remote.remote(job): job for job in left}
            while running:
                [ended], _ = ray.wait(list(running))
                job = running.pop(ended)
                try:
                    row = ray.get(ended)
                except ray.exceptions.RayError as error:
                    cause = str(error).strip().splitlines()[-1]
                    row = {"data": job.data, "model": job.model, "seed": job.seed, "status": "failed", "error": cause}
                rows[job.folder] = row
                print(f"{len(rows)}/{len(jobs)} {job.data} {job.model} seed {job.seed}: {row['status']}", flush=True)
                _write(results, [rows[job.folder] for job in jobs if job.folder in rows])
        finally:
            ray.shutdown()
    _write(results, [rows[job.folder] for job in jobs])
    failed = [job for job in jobs if rows[job.folder]["status"] == "failed"]
    if failed:
        reasons = "; ".join(f"{job.folder}: {rows[job.folder]['error']}" for job in failed[:3])
        raise SweepError(
            f"{len(failed)} of {len(jobs)} jobs failed; {results} has the rest, log.txt in each folder says more, and "
            f"the same command tries them again. {reasons}."
        )
    return results


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    """Rows under the union of their columns, in order of appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(file, text.getvalue())
