"""One HTML page of a comparison."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from zoo.errors import DataError, OptionError
from zoo.files import write_text
from zoo.report import scatter
from zoo.report.runs import Row, read_rows
from zoo.report.statistics import COLUMNS, COSTS, Comparison, _why_left_out, compare

METRICS = ("val_mAP50-95", "test_mAP50-95", "mAP50-95")

_HOW_TO_READ = """Mean and 95 % interval over seeds (Student's t); one seed has no interval. Differences are paired by
seed; better or worse is said where the interval does not hold zero, not corrected for the number of models.
Milliseconds are those of the fused model at 640 x 640 pixels, batch 1, and in brackets the ratio to its base, timed in
turns with it. With the gates shut: the trained models, every gamma set to zero."""
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem; }
section { overflow-x: auto; }
svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 13px; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #8888; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; white-space: nowrap; }
.note { opacity: .8; font-size: 13px; max-width: 60rem; }
"""


def write(paths: Sequence[str | Path], page: Path, metric: str | None = None) -> Path:
    """Write the page of the rows that `read_rows` finds; as `render`."""
    write_text(page, render(read_rows(paths), metric))
    return page


def render(rows: Sequence[Row], metric: str | None = None) -> str:
    """The page, the same text for the same rows in whatever order.

    Args:
        rows: As of `compare`.
        metric: Column to compare; the first of `METRICS` that every complete run has when omitted.

    Raises:
        DataError: There is nothing to compare.
        OptionError: No complete run has the metric.
    """
    ended = [row for row in rows if row.get("status", "complete") == "complete"]
    if not ended:
        raise DataError(f"none of {len(rows)} runs is complete.")
    metric = metric or next((name for name in METRICS if all(row.get(name) for row in ended)), METRICS[0])
    scored = sum(not _why_left_out(row, metric) for row in ended)
    if not scored:
        columns = sorted({key for row in ended for key in row if "mAP" in key})
        raise OptionError(f"no run has {metric!r}; there are {', '.join(columns)}.")
    comparisons = compare(rows, metric)
    out = len(rows) - scored
    missing = f" {out} of them did not end or lack the metric; they are in no mean." if out else ""
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Models compared</title>'
        f"<style>{_STYLE}</style></head><body><h1>Models compared</h1>\n"
        f'<p class="note">{html.escape(metric)} of {len(rows)} runs.{missing} {_HOW_TO_READ}</p>\n'
        f"{''.join(_section(comparison, metric) for comparison in comparisons)}"
        f"{plot(comparisons, COSTS, metric)}</body></html>\n"
    )


def _section(comparison: Comparison, metric: str) -> str:
    shown = [column for column in COLUMNS if any(line.cells[column] for line in comparison.lines)]
    table = "".join(f"<th>{html.escape(COLUMNS[column] or metric)}</th>" for column in shown)
    for line in comparison.lines:
        table += "</tr>\n<tr>" + "".join(f"<td>{html.escape(line.cells[column])}</td>" for column in shown)
    # No interval is torn from its mean.
    table = table.replace(" \N{PLUS-MINUS SIGN} ", "&nbsp;&plusmn;&nbsp;")
    return f"<section><h2>{html.escape(comparison.title)}</h2>\n<table><tr>{table}</tr></table></section>\n"


def plot(comparisons: Sequence[Comparison], costs: Iterable[str], metric: str) -> str:
    """Scores against each of some `COSTS` as SVG, a panel for every comparison and cost; empty when none is known."""
    panels = []
    for comparison, cost in itertools.product(comparisons, costs):
        points = [
            scatter.Point(line.label, line.costs[cost], line.score.mean, line.score.half, line.plain)
            for line in comparison.lines
            if line.score and cost in line.costs
        ]
        if points:
            panels.append(scatter.Panel(comparison.title, COSTS[cost], points))
    return scatter.draw(panels, metric.replace("_", " ")) if panels else ""
