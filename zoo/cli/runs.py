"""Verbs over many runs: sweep, report."""

from __future__ import annotations

from pathlib import Path

from zoo.cli.arguments import Add
from zoo.files import write_text


def add_verbs(add: Add) -> None:
    """Add this module's verbs to the command line."""
    add(sweep).add_argument("plan", type=Path, metavar="PLAN.yaml", help="models, seeds, data; see docs/machines.md")

    reporting = add(report)
    reporting.add_argument("paths", metavar="PATH", nargs="+", help="CSV files of results, folders of sweeps or runs")
    reporting.add_argument("--out", type=Path, default="report.html", help="the page (default: %(default)s)")
    reporting.add_argument("--metric", help="column to compare (default: mAP50-95 on test, else on val)")
    reporting.add_argument("--control", help="compare all models to this one (default: each to its plain base)")
    reporting.add_argument("--images", action="store_true", help="show images on which control and best model differ")
    reporting.add_argument("--json", type=Path, dest="json_file", metavar="FILE", help="write everything as JSON")
    reporting.add_argument("--csv", type=Path, dest="csv_file", metavar="FILE", help="write one row a model as CSV")


def sweep(plan: Path) -> None:
    """Train models x data sets x seeds on Ray, as a plan says.

    The same command again goes on where it stopped. Ray starts on this machine, or RAY_ADDRESS names its cluster.
    """
    from zoo.engine.sweep import Plan, run

    print(run(Plan.read(plan)))


def report(
    paths: list[str],
    out: Path,
    metric: str | None,
    control: str | None,
    images: bool,
    json_file: Path | None,
    csv_file: Path | None,
) -> None:
    """Compare models over seeds on one HTML page, which is one file.

    Runs are compared that share data and settings, the models of each group over the seeds they share. With --images,
    the checkpoints of two runs look at the images again.
    """
    from zoo.report import export, page
    from zoo.report.comparison import compare
    from zoo.report.runs import read

    comparisons = compare(read(paths), metric, control=control)
    if images:
        from zoo.engine.differing import pictures

        write_text(out, page.render(comparisons, pictures))
    else:
        write_text(out, page.render(comparisons))
    for file, write in ((json_file, export.to_json), (csv_file, export.to_csv)):
        if file:
            write_text(file, write(comparisons))
    for each in comparisons:
        print(each.title)
        for said in (*each.verdicts, *each.notes):
            print(f"  {said}")
    print(out)
