"""What a reader must know before the numbers: what runs share, and what is missing among them."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from zoo.report.runs import Run

if TYPE_CHECKING:
    from zoo.report.comparison import Comparison, Line


def why_left_out(run: Run, metric: str, split: str) -> str:
    """Empty for a run that enters the means."""
    if run.status != "ended":
        return run.status
    score = run.score(metric, split)
    return "unscored" if score is None else "" if math.isfinite(score) else "diverged"


def title(group: Sequence[Run]) -> str:
    """The data, and the settings that readers ask for first."""
    run = group[0]
    done = {epochs for each in group if each.status == "ended" and (epochs := each.epochs.get("done"))}
    sources = {each.started_from for each in group if each.parent}
    trained = " to ".join(map(str, sorted({min(done), max(done)}))) + " epochs" if done else ""
    start = f"from {next(iter(sources))}" if len(sources) == 1 else "from weights" if sources else ""
    frozen = {True: "base frozen", "norm": "base frozen but for its norms"}.get(run.freeze_base, "")
    parts = [str(run.data.get("name", "")), run.imgsz and f"{run.imgsz} px", start, frozen, trained]
    return ", ".join(str(part) for part in parts if part)


def notes(lines: Sequence[Line], roles: Mapping[str, Mapping[str, str]], metric: str, split: str) -> Iterable[str]:
    """What went wrong, and what a reader would take for granted."""
    found = {line.label: line for line in lines}
    missing = {}
    controls = [chosen.items() for role, chosen in roles.items() if role in ("control", "base")]
    for label, control in itertools.chain.from_iterable(controls):
        own, other = found[label], found[control]
        if not other.runs:
            missing[control] = f"No run of the control {control} enters the means, so nothing can be compared to it."
        elif own.runs and not {run.seed for run in own.runs} & {run.seed for run in other.runs}:
            seeds = [", ".join(str(run.seed) for run in line.runs) for line in (own, other)]
            yield f"{label} (seeds {seeds[0]}) and {control} (seeds {seeds[1]}) share no seed: they are not compared."
    yield from missing.values()
    for line in lines:
        for run in line.left_out:
            why = why_left_out(run, metric, split)
            said = why
            if why == "diverged":
                said = f"its {metric} is not a number, which flatters the model"
            elif why == "unscored":
                said = f"it has no {metric} on {split}"
            error = f": {run.error}" if run.error else ""
            yield f"{line.label}, seed {run.seed}, is in no mean: {said}{error} ({run.place})."
    every = [run for line in lines for run in line.runs]
    folders = [run for run in every if not run.record and run.history]
    if folders:
        yield (
            f"{len(folders)} of {len(every)} runs have no run.json: theirs is Ultralytics' own mAP of the epoch that "
            "validation chose, and their data are told apart by the path of the YAML alone."
        )


def tell_apart(found: Sequence[Comparison]) -> list[Comparison]:
    """Add to titles that several comparisons share what those differ in."""
    titles = Counter(each.title for each in found)
    names: dict[str, set[str]] = {}
    for each in found:
        names.setdefault(each.data, set()).update(run.data_key for run in each.runs)
    told = []
    for each in found:
        alike = [other for other in found if other.title == each.title]
        run, notes = each.runs[0], each.notes
        parts = [each.title]
        if titles[each.title] > 1:
            if len({other.runs[0].data_key for other in alike}) > 1:
                parts.append(run.data_key[:12] if run.data.get("fingerprint") else run.data_key)
            others = [other.runs[0].shaping for other in alike]
            parts += [
                f"{key}={value}" for key, value in run.shaping.items() if any(o.get(key) != value for o in others)
            ]
        if len(names[each.data]) > 1:
            prints = ", ".join(sorted(key[:12] if len(key) == 64 else key for key in names[each.data]))
            notes = (f"Several data sets are called {each.data}: {prints}. They are kept apart.", *notes)
        told.append(replace(each, title=", ".join(parts), notes=notes))
    return told
