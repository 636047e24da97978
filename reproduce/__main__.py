"""`python -m reproduce RECIPE --model NAME`: prepare the data, train, evaluate the stored weights, record a row.

The same command again goes on where it was: a training that was interrupted resumes from its last checkpoint, and a run
that is recorded is not repeated.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from reproduce.job import Job, recipes
from zoo.errors import ZooError


def parse(argv: list[str] | None = None) -> tuple[Job, bool]:
    """Turn a command line into a job, and whether standard output is to hold JSON alone."""
    parser = argparse.ArgumentParser(prog="python -m reproduce", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("recipe", choices=recipes(), help="data set and training, in reproduce/recipes/")
    add("--model", required=True, help="any name of a model, see 'zoo list'")
    add("--seed", type=int, default=Job.seed)
    add("--data", type=Path, help="folder of the original data set; nothing is written into it")
    add("--download", action="store_true", help="fetch the published archives of coco or voc into --data first")
    add("--base-weights", help="start from these weights of the plain base, e.g. yolov8n.pt, not from random ones")
    add("--freeze-base", nargs="?", const=True, default=False, choices=("norm",), help="train grafts and head alone; "
        "'norm': also the base's BatchNorm")  # fmt: skip
    add("--width", type=float, help="another width than the scale's, for a plain control")
    add("--epochs", type=int, help="other than the recipe's")
    add("--imgsz", type=int, help="other than the recipe's")
    add("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="another training setting")
    add("--device", default=Job.device, help="as Ultralytics takes it: cpu, 0, 0,1")
    add("--cache", type=Path, default=Job.cache, help="where prepared data sets are kept")
    add("--runs", type=Path, default=Job.runs, help="where the folders of runs are kept")
    add("--results", type=Path, default=Job.results, help="where rows and run.json are kept")
    add("--finish", action="store_true", help="record an interrupted run as it is")
    add("--dry-run", action="store_true", help="say what the run would do and cost; needs no data")
    add("--smoke", action="store_true", help="the whole path on a few images; recorded in the run folder")
    add("--unverified", action="store_true", help="accept data that differs from the recipe's")
    add("--ship", action="store_true", help="take the weights of the median recorded seed into weights/")
    add("--json", action="store_true", help="nothing but the result's JSON on standard output")
    options = vars(parser.parse_args(argv))
    alone = options.pop("json")
    return Job(**options | {"settings": tuple(options["settings"])}), alone


def main() -> None:
    """Do what the command line says; what the user did wrong is one line and exit code 1."""
    job, alone = parse()
    output = sys.stdout
    if alone:
        sys.stdout = sys.stderr  # before Ultralytics is imported, whose log goes to what this is then
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from reproduce.pipeline import run

    try:
        result = run(job)
    except ZooError as error:
        sys.exit(f"error: {error}")
    print(json.dumps(result, indent=2), file=output)


if __name__ == "__main__":
    main()
