"""Verbs over many runs: sweep, report."""

from __future__ import annotations

from pathlib import Path

from zoo.cli.arguments import Add


def add_verbs(add: Add) -> None:
    """Add this module's verbs to the command line."""
    add(sweep).add_argument("plan", type=Path, metavar="PLAN.yaml", help="models, seeds, data; see zoo/sweep.py")

    reporting = add(report)
    reporting.add_argument("paths", metavar="PATH", nargs="+", help="CSV files of results, folders of sweeps or runs")
    reporting.add_argument("--out", type=Path, default="report.html", help="the page (default: %(default)s)")
    reporting.add_argument("--metric", help="column to compare (default: mAP50-95 on test, else on val)")


def sweep(plan: Path) -> None:
    """Train models x data sets x seeds on Ray, as a plan says.

    The same command again goes on where it stopped. Ray starts on this machine, or RAY_ADDRESS names its cluster.
    """
    from zoo.engine.sweep import Plan, run

    print(run(Plan.read(plan)))


def report(paths: list[str], out: Path, metric: str | None) -> None:
    """Compare models over seeds on one HTML page."""
    from zoo.report.page import write

    print(write(paths, out, metric))
