"""One HTML page of a comparison."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from zoo.files import write_text
from zoo.report import scatter
from zoo.report.comparison import COSTS, Comparison, Timing, compare
from zoo.report.runs import read

_HOW_TO_READ = """Mean and 95 % interval over seeds (Student's t); one seed has no interval. Differences are paired by
seed; better or worse is said where the interval does not hold zero, corrected for the number of models
that share a control (Holm).
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


def write(
    paths: Sequence[str | Path],
    page: Path,
    metric: str | None = None,
    *,
    control: str | None = None,
    latency: Mapping[str, Timing] | None = None,
) -> Path:
    """Write the page of the runs under some paths; see `zoo.report.runs.read` and `zoo.report.comparison.compare`."""
    write_text(page, render(compare(read(paths), metric, control=control, latency=latency)))
    return page


def render(comparisons: Sequence[Comparison]) -> str:
    """The page, the same text for the same runs in whatever order."""
    count = sum(len(each.runs) for each in comparisons)
    out = sum(len(line.left_out) for each in comparisons for line in each.lines)
    missing = f" {out} of them did not end or lack the metric; they are in no mean." if out else ""
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Models compared</title>'
        f"<style>{_STYLE}</style></head><body><h1>Models compared</h1>\n"
        f'<p class="note">{count} runs.{missing} {_HOW_TO_READ}</p>\n'
        f"{''.join(_section(comparison) for comparison in comparisons)}"
        f"{plot(comparisons, COSTS)}</body></html>\n"
    )


def _section(comparison: Comparison) -> str:
    shown = [column for column in comparison.heads if any(line.cells[column] for line in comparison.lines)]
    table = "".join(f"<th>{html.escape(comparison.heads[column])}</th>" for column in shown)
    for line in comparison.lines:
        table += "</tr>\n<tr>" + "".join(f"<td>{html.escape(line.cells[column])}</td>" for column in shown)
    # No interval is torn from its mean.
    table = table.replace(" \N{PLUS-MINUS SIGN} ", "&nbsp;&plusmn;&nbsp;")
    return f"<section><h2>{html.escape(comparison.title)}</h2>\n<table><tr>{table}</tr></table></section>\n"


def plot(comparisons: Sequence[Comparison], costs: Iterable[str]) -> str:
    """Scores against each of some `COSTS` as SVG, a panel for every comparison and cost; empty when none is known."""
    panels = []
    for comparison, cost in itertools.product(comparisons, costs):
        points = [
            scatter.Point(line.label, line.costs[cost], line.score.mean, line.score.half, line.plain)
            for line in comparison.lines
            if line.score and cost in line.costs
        ]
        if points:
            panels.append(scatter.Panel(comparison.title, comparison.heads[cost], points))
    return scatter.draw(panels, f"{comparisons[0].split} {comparisons[0].metric}") if panels else ""
