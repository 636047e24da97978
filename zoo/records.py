"""The CSV files in `results/`: what a row says of the machine, and how rows are written."""

from __future__ import annotations

import csv
import datetime
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from zoo.files import replacing


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows of the same columns, all or nothing."""
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a file, none where it is absent."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def environment(device: str | torch.device = "cpu", packages: Iterable[str] = ("torch",)) -> dict[str, str]:
    """Machine, versions and date, for the last columns of a row."""
    return {
        "machine": machine(device),
        **{package: version(package) for package in packages},
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
    }


def machine(device: str | torch.device = "cpu") -> str:
    """The processor as the operating system names it, and the accelerator where `device` is one; no host name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    processor = f"{name}, {os.cpu_count()} processors"
    on_cpu = str(device) == "cpu" or not torch.cuda.is_available()
    return processor if on_cpu else f"{torch.cuda.get_device_name()}; {processor}"


def commit() -> str | None:
    """Of the zoo's checkout, marked where its code differs from it; `None` for an installed package."""
    git = ["git", "-C", str(Path(__file__).resolve().parents[1])]
    if not Path(__file__).resolve().parents[1].joinpath(".git").exists():
        return None
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "zoo", "reproduce"], check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("-modified" if changed else "")
