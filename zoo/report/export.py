"""Comparisons for other programs: one row a model as CSV, everything as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from zoo.report.comparison import COSTS, SIZES, Comparison, Line
from zoo.report.statistics import Difference, Estimate


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One mapping a model, of numbers and texts; `None` where nothing is known."""
    return [_row(comparison, line) for line in comparison.lines]


def to_json(comparisons: Sequence[Comparison]) -> str:
    """Titles, notes, verdicts and `rows`."""
    found = [
        {
            "title": each.title,
            "data": each.data,
            "fingerprint": next((run.data.get("fingerprint") for run in each.runs), None),
            "metric": each.metric,
            "split": each.split,
            "notes": list(each.notes),
            "verdicts": each.verdicts,
            "models": rows(each),
        }
        for each in comparisons
    ]
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def to_csv(comparisons: Sequence[Comparison]) -> str:
    """`rows` of all comparisons, with the title and the metric of theirs."""
    written = io.StringIO()
    found = [
        {"title": each.title, "split": each.split, "metric": each.metric, **row}
        for each in comparisons
        for row in rows(each)
    ]
    writer = csv.DictWriter(written, list(found[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return written.getvalue()


def _row(comparison: Comparison, line: Line) -> dict[str, Any]:
    return {
        "model": line.label,
        "control": line.control,
        "seeds": " ".join(str(run.seed) for run in line.runs),
        "left_out": len(line.left_out),
        **_estimate("score", line.score),
        **_difference(line.verdict),
        **{size: line.sizes[size].mean if size in line.sizes else None for size in SIZES},
        **{cost: line.costs.get(cost) for cost in COSTS},
    }


def _estimate(name: str, found: Estimate | None) -> dict[str, float | None]:
    return {name: found.mean if found else None, f"{name}_half": found.half if found else None}


def _difference(found: Difference | None) -> dict[str, Any]:
    return {
        "against": found and found.control,
        **_estimate("difference", found.gain if found else None),
        "probability": found and found.probability,
        "verdict": found and found.verdict,
        "smallest": found and found.smallest,
        "more_seeds": found and found.more_seeds,
    }
