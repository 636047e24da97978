"""Rows of results, from CSV files and from the folders of runs and sweeps."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from zoo.errors import DataError

_BEST = "metrics/mAP50-95(B)"

Row = Mapping[str, Any]


def read_run(folder: Path) -> dict[str, Any]:
    """Read the folder of one Ultralytics run.

    Returns:
        `data`, `model`, `seed`, `epochs`, `imgsz`, and mAP of the epoch with the best mAP50-95, by Ultralytics.

    Raises:
        DataError: The folder has no `args.yaml`, or no epoch ended.
    """
    try:
        settings = yaml.safe_load((folder / "args.yaml").read_text())
        with (folder / "results.csv").open(newline="") as file:
            epochs = [{key.strip(): float(value) for key, value in row.items()} for row in csv.DictReader(file)]
        best = max(epochs, key=lambda row: row[_BEST])
    except (OSError, ValueError, KeyError, AttributeError, TypeError, yaml.YAMLError) as error:
        raise DataError(f"{folder} is not the folder of a training that ended an epoch: {error}.") from error
    config = folder / "weights" / "zoo" / "config.json"
    name = json.loads(config.read_text())["name"] if config.is_file() else Path(str(settings["model"])).stem
    return {
        "data": Path(str(settings["data"])).stem,
        "model": name,
        "seed": settings["seed"],
        "epochs": len(epochs),
        "imgsz": settings["imgsz"],
        "val_mAP50-95": best[_BEST],
        "val_mAP50": best["metrics/mAP50(B)"],
    }


def read_rows(paths: Iterable[str | Path]) -> list[dict[str, Any]]:
    """Collect results rows.

    Args:
        paths: CSV files with the columns `model` and `seed` (CSV files without are passed over), folders of sweeps, and
            folders of runs, at any depth.

    Raises:
        DataError: There are none.
    """
    places = [Path(path) for path in paths]
    rows: list[dict[str, Any]] = []
    for path in places:
        table = path / "results.csv" if path.is_dir() else path
        found: list[dict[str, Any]] = []
        if table.is_file():
            with table.open(newline="") as file:
                found = [dict(row) for row in csv.DictReader(file)]
        elif not path.is_dir():
            raise DataError(f"there is no file or folder {path}.")
        if found and {"model", "seed"} <= found[0].keys():
            rows += [{"data": path.stem, **{key: value for key, value in row.items() if value}} for row in found]
        elif path.is_dir():
            rows += [read_run(settings.parent) for settings in sorted(path.rglob("args.yaml"))]
    if not rows:
        raise DataError(f"neither rows with the columns model and seed nor runs are in {', '.join(map(str, places))}.")
    return rows
