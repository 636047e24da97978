"""The jobs of a comparison as a table that keeps up with them, read from their `run.json`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from zoo.engine.jobs import Job, Row

REFRESH = 2.0


class Progress:
    """A live table of jobs on a terminal, a line for each that ends elsewhere.

    Args:
        jobs: All of them.
        rows: Of those that have ended, by folder; kept up to date by the caller.
        epochs: Of each.
    """

    def __init__(self, jobs: Sequence[Job], rows: Mapping[Path, Row], epochs: int) -> None:
        self._jobs, self._rows, self._epochs = jobs, rows, epochs
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._drawn = 0.0

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def tick(self) -> None:
        """Draw the table, if the last drawing is old enough."""
        if self._console.is_terminal and time.monotonic() - self._drawn > REFRESH:
            self._live.update(self.table(), refresh=True)
            self._drawn = time.monotonic()

    def ended(self, job: Job, row: Row) -> None:
        """Say that a job ended."""
        said = f": {row['error']}" if row["status"] == "failed" else ""
        count = f"{len(self._rows)}/{len(self._jobs)}"
        self._console.print(
            f"{count} {job.model} seed {job.seed}: {row['status']}{said}", highlight=False, markup=False
        )

    def table(self) -> Table:
        """Every job: how far it is, how well it does, how long it has to go."""
        table = Table(box=None, pad_edge=False)
        for title in ("model", "seed", "epoch", "mAP50-95", "left"):
            table.add_column(title, justify="left" if title == "model" else "right")
        for job in self._jobs:
            table.add_row(job.model, str(job.seed), *self._cells(job))
        return table

    def _cells(self, job: Job) -> tuple[str, str, str]:
        row, run = self._rows.get(job.folder), job.record()
        if row and row["status"] == "failed":
            return "failed", "", ""
        if run is None:
            return ("ended", "", "") if row else ("waits", "", "")
        done, history = run.epochs["done"] or 0, run.history
        scores = [entry["mAP50-95"] for entry in history if entry["mAP50-95"] is not None]
        each = sum(entry["seconds"] for entry in history) / len(history) if history else None
        left = "" if each is None or row else duration(each * (self._epochs - done))
        return f"{done}/{self._epochs}", f"{scores[-1]:.3f}" if scores else "", "ended" if row else left


def duration(seconds: float) -> str:
    """A time in words."""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{max(minutes, 1)} min"
