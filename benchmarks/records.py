"""The CSV files that benchmarks leave in `results/`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.files import replacing


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows of the same columns, all or nothing."""
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
