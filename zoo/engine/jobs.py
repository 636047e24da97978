"""Trainings as jobs on Ray: each a command in a folder of its own, of which the same call goes on.

Ray starts on this machine, or joins the cluster that `RAY_ADDRESS` names; there, every node needs this package, and
the data and the folders under the same path. Clusters ask for a token unless they were started otherwise: set
`RAY_AUTH_MODE=token`, and `RAY_AUTH_TOKEN` unless the token is in `~/.ray/auth_token`.
"""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import DataError, OptionError, SweepError
from zoo.files import read_json, write_text
from zoo.report import runs
from zoo.report.runs import RECORD, Run

ROW = "row.json"
TICK = 1.0

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        model: As `zoo train` takes it.
        data: What the results call the data set.
        seed: Of the training.
        folder: Of the job, with its log and, once it ended well, its `row.json`.
        command: What starts it.
        run: Folder of the run; one that has a checkpoint is resumed from it. `None` for a command that finds its own
            place in `folder`, goes on by itself and leaves a `row.json` or a `run.json` there.
        threads: `OMP_NUM_THREADS` of the process.
    """

    model: str
    data: str
    seed: int
    folder: Path
    command: tuple[str, ...]
    run: Path | None = None
    threads: int = 1

    @property
    def words(self) -> list[str]:
        """The command, or the one that goes on where it stopped."""
        last = self.run and self.run / "weights" / "last.pt"
        resume = [sys.executable, "-m", "zoo", "train", str(last), "resume=True"]
        return resume if last and last.is_file() else list(self.command)

    def finished(self) -> Row | None:
        """The row of a job that ended well."""
        return read_json(self.folder / ROW, SweepError) if (self.folder / ROW).is_file() else None

    def record(self) -> Run | None:
        """What the `run.json` below the folder says, once there is one."""
        places = [self.run] if self.run else [file.parent for file in self.folder.rglob(RECORD)]
        for place in places:
            if (place / RECORD).is_file():
                try:
                    return runs.load(place)
                except DataError:  # being replaced by one of another version
                    return None
        return None

    def execute(self) -> Row:
        """Run the command to its end, its output in `log.txt`, and return the results row."""
        if found := self.finished():
            return found
        self.folder.mkdir(parents=True, exist_ok=True)
        row: Row = {"data": self.data, "model": self.model, "seed": self.seed}
        started = time.monotonic()
        # A run that was killed between its last epoch and its row has nothing left to train.
        trained = self.run is not None and (self.run / "weights" / "zoo" / "config.json").is_file()
        if not trained:
            with (self.folder / "log.txt").open("ab") as log:
                before = log.tell()
                code = subprocess.run(
                    [sys.executable, "-m", "zoo.engine.leash", *self.words],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    check=False,
                    env=os.environ | {"OMP_NUM_THREADS": str(self.threads)},
                ).returncode
            if code:
                said = (self.folder / "log.txt").read_bytes()[before:].decode(errors="replace")
                return {**row, "status": "failed", "error": f"exit code {code}: {_reason(said)}"}
        self._close()
        row |= {"status": "complete", "hours": round((time.monotonic() - started) / 3600, 4)}
        try:
            row |= self._results()
        except DataError as error:
            return {**row, "status": "failed", "error": str(error)}
        write_text(self.folder / ROW, json.dumps(row, indent=2))
        return row

    def _close(self) -> None:
        """Call a run ended that was killed when nothing but this word was missing."""
        run = self.record()
        if run and run.status == "running":
            file = run.source / RECORD
            write_text(file, json.dumps(read_json(file, DataError) | {"status": "ended"}, indent=1))

    def _results(self) -> Row:
        written = [file for file in sorted(self.folder.rglob(ROW)) if file.parent != self.folder]
        if self.run is None and written:
            return read_json(written[0], DataError)
        run = runs.load(self.run) if self.run else self.record()
        if run is None:
            raise DataError(f"the command ended and left neither {ROW} nor {RECORD} below {self.folder}.")
        return row_of(run) | {"data": self.data, "model": self.model}


def _reason(said: str) -> str:
    """Why a command failed: the last line that calls itself an error, or else the last one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines or ["no output"])[-1].removeprefix("error: ")


def row_of(run: Run) -> Row:
    """A flat row of a results table; what is not known is left out."""
    row = {
        "seed": run.seed,
        "epochs": run.epochs.get("done"),
        "imgsz": run.imgsz,
        "width": run.width,
        "base_weights": run.started_from or None,
        "freeze_base": run.freeze_base or None,
        "params": run.parameters,
        "images_per_second": run.images_per_second,
        "hours": run.seconds and round(run.seconds / 3600, 4),
        "machine": run.machine or None,
        "commit": run.commit,
    }
    for split, scores in run.metrics.items():
        row |= {f"{split}_{name}": value for name, value in scores.items() if name.startswith("mAP")}
    return {key: value for key, value in row.items() if value is not None}


def execute(
    jobs: Sequence[Job],
    *,
    cpus: int = 1,
    gpus: float = 0,
    ended: Callable[[Job, Row], None] = lambda *_: None,
    tick: Callable[[], None] = lambda: None,
) -> dict[Path, Row]:
    """Run what is left of some jobs; one that fails stops no other.

    Args:
        jobs: In the order in which they start.
        cpus: Processors that Ray sets aside for a job.
        gpus: GPUs that Ray sets aside for a job, or a share of one.
        ended: Called with each job that ends now, and its row.
        tick: Called about once a second.

    Returns:
        A row for each job, by its folder.

    Raises:
        SweepError: Ray is not installed, or did not start.
        KeyboardInterrupt: Ctrl-C; the jobs end, and the same call goes on with them.
    """
    rows = {job.folder: row for job in jobs if (row := job.finished())}
    left = [job for job in jobs if job.folder not in rows]
    if not left:
        return rows
    with _ray() as ray:
        # One process a job, so that nothing of Ultralytics' global state goes from one to the next.
        remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0, max_calls=1)(Job.execute)
        running = {remote.remote(job): job for job in left}
        while running:
            done, _ = ray.wait(list(running), timeout=TICK)
            for each in done:
                job = running.pop(each)
                try:
                    row = ray.get(each)
                except ray.exceptions.RayError as error:
                    cause = str(error).strip().splitlines()[-1]
                    row = {"data": job.data, "model": job.model, "seed": job.seed, "status": "failed", "error": cause}
                rows[job.folder] = row
                ended(job, row)
            tick()
    return rows


@contextmanager
def _ray() -> Iterator[Any]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise SweepError("jobs run on Ray, which is not installed: pip install 'yolo-attention-zoo[sweep]'") from error
    try:
        _start(ray, os.environ.get("RAY_ADDRESS"))
        yield ray
    except KeyboardInterrupt:
        raise KeyboardInterrupt("The jobs are stopped; the same command goes on with them.") from None
    finally:
        ray.shutdown()


def _start(ray: Any, address: str | None) -> None:
    try:
        # Without "local", Ray joins what last was started on this machine, and waits for it if it is gone.
        ray.init(address or "local", include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    except Exception as error:  # Ray raises plain exceptions
        what = f"was not reached at {address}" if address else "did not start on this machine"
        hint = " If the cluster asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN." if address else ""
        raise SweepError(f"Ray {what}: {str(error).rstrip('.')}.{hint}") from error


def failures(jobs: Sequence[Job], rows: Mapping[Path, Row]) -> str:
    """The first reasons why jobs failed, in one sentence; empty when none did."""
    failed = [job for job in jobs if rows[job.folder]["status"] == "failed"]
    if not failed:
        return ""
    reasons = "; ".join(f"{job.folder}: {rows[job.folder]['error']}" for job in failed[:3])
    return f"{len(failed)} of {len(jobs)} jobs failed: {reasons}"


def check_share(cpus: Any, gpus: Any, *, here: bool = False) -> None:
    """Refuse what cannot be set aside for a job.

    Args:
        cpus: Processors.
        gpus: GPUs, or a share of one.
        here: Whether this machine has to have the GPUs.

    Raises:
        OptionError: One is no such number, or there are fewer GPUs.
    """
    if type(cpus) is not int or cpus < 1:
        raise OptionError(f"cpus={cpus!r} must be a whole number of at least 1.")
    if type(gpus) not in (int, float) or not 0 <= gpus < math.inf or (gpus > 1 and gpus % 1):
        raise OptionError(f"gpus={gpus!r} must be a whole number, or a share of one GPU between 0 and 1.")
    if here and gpus:
        import torch

        if (found := torch.cuda.device_count()) < gpus:
            raise OptionError(f"gpus={gpus}: PyTorch sees {found} CUDA devices on this machine; gpus=0 needs none.")


def at_once(cpus: int, gpus: float) -> int:
    """How many jobs this machine runs at the same time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not gpus:
        return max(1, cores // cpus)
    import torch

    return max(1, math.floor(torch.cuda.device_count() / gpus))
