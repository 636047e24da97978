"""The verb compare: does attention help on my data?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.cli import table
from zoo.cli.arguments import Add
from zoo.engine.settings import TRAIN_ONLY, check_has_data, parse_settings
from zoo.errors import SweepError
from zoo.files import write_text

if TYPE_CHECKING:
    from zoo.engine.compare import Plan, Verdict

OWN = ("seeds", "size_control", "base_weights", "cpus", "gpus", "images", "dry_run", "project")
_SETTING = re.compile(r"[A-Za-z_]\w*=")


def add_verbs(add: Add) -> None:
    """Add this module's verb to the command line."""
    comparing = add(compare)
    comparing.add_argument(
        "words",
        metavar="NAME or KEY=VALUE",
        nargs="+",
        help=f"models, the control first; data=FILE.yaml; {', '.join(f'{key}=' for key in OWN)}; "
        "Ultralytics' own settings, e.g. epochs=50",
    )
    comparing.add_argument("--json", type=Path, dest="json_file", metavar="FILE", help="write the verdict as JSON")
    comparing.add_argument("--csv", type=Path, dest="csv_file", metavar="FILE", help="write the table as CSV")


def compare(words: list[str], json_file: Path | None, csv_file: Path | None) -> None:
    """Train models alike over seeds, and say whether the first was beaten.

    zoo compare yolov8n yolov8n_dattn yolov8n+cbam@neck_p4 data=my.yaml seeds=3 epochs=50 pretrained=True

    The first name is the control. size_control=True adds its rivals by size: plain convolutions of the same parameters
    at the same places, and the next scale. pretrained=True starts every model from the official weights of its base,
    pretrained=FILE or FOLDER from those; base_weights is the same. dry_run=True says what it would cost. The same
    command again goes on.
    """
    pairs = [word for word in words if _SETTING.match(word)]
    settings: dict[str, Any] = parse_settings(pairs, also={*TRAIN_ONLY, *OWN})
    check_has_data(settings)
    names = [word for word in words if word not in pairs]

    from zoo.engine import compare as engine
    from zoo.report import export

    options = {key: settings.pop(key) for key in OWN if key in settings}
    options.setdefault("base_weights", settings.pop("pretrained", None))  # as `zoo train` calls it
    images, dry_run = options.pop("images", True), options.pop("dry_run", False)
    planned = engine.make_plan(
        names,
        settings.pop("data"),
        options.get("seeds", 3),
        bool(options.get("size_control", False)),
        options.get("base_weights"),
        Path(str(options.get("project", "runs/compare"))),
        options.get("cpus", 1),
        options.get("gpus"),
        settings,
    )
    _show_plan(planned)
    if dry_run:
        return
    verdict = engine.run(planned, images=bool(images))
    _show(verdict)
    for file, write in ((json_file, export.to_json), (csv_file, export.to_csv)):
        if file and verdict.comparison:
            write_text(file, write([verdict.comparison]))
    if verdict.failed:
        raise SweepError(f"{verdict.failed}; the rest is compared, and the same command tries again.")


def _show_plan(plan: Plan) -> None:
    rows = [
        [each.name, f"{each.parameters / 1e6:.2f}", str(each.base_weights or "random weights")]
        for each in plan.entrants
    ]
    rows[0][0] += " (control)"
    table.show(["model", "parameters, M", "starts from"], rows)
    print(plan.text)
    for note in plan.notes:
        print(note)


def _show(verdict: Verdict) -> None:
    found = verdict.comparison
    assert found
    shown = ("model", "seeds", "score", "control", "params", "gflops", "ms", "hours")
    heads = [found.heads[column] for column in shown]
    table.show(heads, [[line.cells[column] for column in shown] for line in found.lines])
    for sentence in (*found.verdicts, *found.notes):
        print(sentence)
    print(f"Compared are the averaged weights after the last epoch, on {found.split}.")
    print(verdict.page)
