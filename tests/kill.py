"""`python -m tests.kill [ROUNDS]`: kill -9 at random moments; what was whole before is whole after, and goes on.

Each round starts one of the tasks in a process of its own, kills it after a random part of the time it takes, checks
what it left, and runs the same once more to the end. Each round is a row of `results/kill.csv`, whose rounds are not
played again: it may be stopped, and the same command goes on.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

import zoo
from tests.engine.conftest import write_data
from tests.weights.hub.server import Hub
from zoo import records
from zoo.errors import ZooError
from zoo.report import runs

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "kill.csv"
QUICK = ["imgsz=64", "batch=4", "nbs=4", "warmup_epochs=0", "plots=False", "device=cpu", "optimizer=SGD", "lr0=0.01"]


@dataclass
class Task:
    """Something that may be killed.

    Attributes:
        name: In the table.
        command: Arguments of Python; the same again goes on.
        check: Raises if what is on disk is neither absent nor whole.
        done: Raises unless the task has reached its end.
        environment: Beside this process's.
    """

    name: str
    command: Callable[[], list[str]]
    check: Callable[[], None]
    done: Callable[[], None]
    environment: dict[str, str] = field(default_factory=dict)

    def start(self) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "YOLO_OFFLINE": "1", **self.environment}
        command = [sys.executable, *self.command()]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=environment, cwd=ROOT, start_new_session=True, **quiet)  # type: ignore

    def finish(self) -> None:
        process = self.start()
        _, errors = process.communicate()
        if process.returncode:
            raise AssertionError(f"{self.name} does not go on: {errors[-600:]}")
        self.done()


def training(folder: Path) -> Task:
    """A run of three epochs that resumes where it has a checkpoint."""
    data, weights = write_data(folder / "data"), folder / "run" / "weights"

    def command() -> list[str]:
        if (weights / "last.pt").is_file() and runs.load(folder / "run").status != "ended":
            return ["-m", "zoo", "train", str(weights / "last.pt"), "resume=True", "device=cpu"]
        where = [f"data={data}", f"project={folder}", "name=run", "exist_ok=True"]
        return ["-m", "zoo", "train", "yolov8n_dattn", *where, "epochs=3", *QUICK]

    def check() -> None:
        for file in ("last.pt", "best.pt"):
            if (weights / file).exists():
                zoo.YOLO(str(weights / file))
        _absent_or_whole(weights / "zoo")

    def done() -> None:
        zoo.create(f"local-dir:{weights / 'zoo'}")

    return Task("train", command, check, done)


def saving(folder: Path) -> Task:
    """Saves one of two models over the other, again and again."""
    target = folder / "saved"
    code = (
        "import sys, torch, zoo\n"
        "for seed in range(12):\n"
        "    torch.manual_seed(seed)\n"
        "    zoo.save(zoo.create('yolov8n' if seed % 2 else 'yolov8n_a2', num_classes=2), sys.argv[1])\n"
    )
    return Task("save", lambda: ["-c", code, str(target)], lambda: _absent_or_whole(target), lambda: _whole(target))


def pushing(folder: Path, hub: Hub) -> Task:
    """Pushes a saved model; a commit on the Hub has all of its files or does not exist."""
    saved = zoo.save(zoo.create("yolov8n_a2", num_classes=2), folder / "model")
    wanted = {"model.safetensors", "config.json", "README.md"}

    def check() -> None:
        for _, tree in hub.commits.get("org/mine", []):
            assert not tree or set(tree) == wanted, f"a commit of {sorted(tree)}"
        _whole(saved)

    def done() -> None:
        assert set(hub.commits["org/mine"][-1][1]) == wanted

    return Task(
        "push", lambda: ["-m", "zoo", "push", f"local-dir:{saved}", "org/mine"], check, done, _client(folder, hub)
    )


def downloading(folder: Path, hub: Hub) -> Task:
    """Downloads a model into an empty cache and saves it."""
    source = zoo.save(zoo.create("yolov8n_a2", num_classes=2), folder / "source")
    hub.commit("org/there", {file.name: file.read_bytes() for file in source.iterdir()})
    target = folder / "downloaded"
    code = "import sys, zoo; zoo.save(zoo.create('hf-hub:org/there'), sys.argv[1])"
    environment = _client(folder, hub)
    return Task(
        "download",
        lambda: ["-c", code, str(target)],
        lambda: _absent_or_whole(target),
        lambda: _whole(target),
        environment,
    )


def comparing(folder: Path) -> Task:
    """Two models over one seed; the same command goes on with what has not ended."""
    data, out = write_data(folder / "shapes"), folder / "compared"
    where = [f"data={data}", f"project={out}", "seeds=1", "epochs=1", "images=False"]

    def check() -> None:
        for record in out.rglob(runs.RECORD):
            runs.load(record.parent)

    def done() -> None:
        ended = [record for record in out.rglob(runs.RECORD) if runs.load(record.parent).status == "ended"]
        assert len(ended) == 2, f"{len(ended)} runs have ended"

    return Task("compare", lambda: ["-m", "zoo", "compare", "yolov8n", "yolov8n_dattn", *where, *QUICK], check, done)


def _client(folder: Path, hub: Hub) -> dict[str, str]:
    return {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}


def _whole(folder: Path) -> None:
    zoo.create(f"local-dir:{folder}")


def _absent_or_whole(folder: Path) -> None:
    """A folder without weights holds no model; one with weights must load."""
    if (folder / "model.safetensors").exists():
        _whole(folder)


def measure(maker: Callable[[Path], Task]) -> float:
    """How many seconds a task takes when nobody kills it."""
    with tempfile.TemporaryDirectory() as folder:
        task = maker(Path(folder))
        start = time.monotonic()
        task.finish()
        return time.monotonic() - start


def kill(task: Task, seconds: float) -> dict[str, str]:
    """Kill it after some seconds, and let it go on; returns what came of it."""
    process = task.start()
    time.sleep(seconds)
    ended = process.poll() is not None
    if not ended:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    row = {"task": task.name, "seconds": f"{seconds:.2f}", "killed": "no" if ended else "yes"}
    row |= {"left": "whole", "went_on": "yes"}
    try:
        task.check()
    except (ZooError, AssertionError) as error:
        row["left"] = f"broken: {error}"[:200]
    try:
        task.finish()
    except (ZooError, AssertionError) as error:
        row["went_on"] = f"no: {error}"[:200]
    return row


def main(rounds: int) -> int:
    """Play the rounds that the table lacks, fewest of what takes longest; returns how many went wrong."""
    chance = random.Random(0)
    hub = Hub()
    parts = {training: 9, saving: 10, partial(pushing, hub=hub): 10, partial(downloading, hub=hub): 9, comparing: 2}
    lengths: dict[Callable[[Path], Task], float] = {}
    rows = records.read(RESULTS)
    for number in range(rounds):
        [maker] = chance.choices(list(parts), list(parts.values()))
        moment = chance.random()
        if any(row["round"] == str(number) for row in rows):
            continue
        if maker not in lengths:
            lengths[maker] = measure(maker)
        hub.commits.clear()
        with tempfile.TemporaryDirectory() as folder:
            found = kill(maker(Path(folder)), moment * lengths[maker])
        rows.append({"round": str(number), "moment": f"{moment:.3f}", **found, **records.environment()})
        records.write(RESULTS, rows)
        print(found, flush=True)
    return sum(row["left"] != "whole" or row["went_on"] != "yes" for row in rows)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(min(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200), 1))
