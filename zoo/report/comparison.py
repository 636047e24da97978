"""Runs that were trained alike, model by model: scores, costs, and differences to controls."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from zoo.config import SCALES
from zoo.errors import DataError, OptionError
from zoo.names import parse
from zoo.report.remarks import notes, tell_apart, title, why_left_out
from zoo.report.runs import Run
from zoo.report.statistics import Difference, Estimate, paired

METRIC = "mAP50-95"
SIZES = ("small", "medium", "large")
COLUMNS = {
    "model": "model",
    "seeds": "seeds",
    "score": "",
    "map50": "mAP50",
    "control": "against the control",
    "base": "against the plain base",
    "widened": "against the widened base",
    "larger": "against the next scale",
    "params": "parameters, M",
    "gflops": "GFLOPs",
    "ms": "ms an image",
    "shut": "with the gates shut",
    "gates": "gates by layer",
    "hours": "hours a run",
}
COSTS = {"params": "parameters, M", "gflops": "GFLOPs", "ms": "ms an image"}

# Blocks that spend parameters without attending: controls of size.
_NO_ATTENTION = {"conv"}

Timing = tuple[float, float | None]
_Members = Mapping[str, Sequence[Run]]


@dataclass(frozen=True)
class Line:
    """What is known of one model on one data set.

    Attributes:
        label: Its name, with the width where that is not the stock one.
        plain: Whether it has no attention.
        control: Whether others are compared to it.
        runs: Those in the means, by seed.
        left_out: The others.
        score: The metric over `runs`; `None` when there are none.
        shut: The metric of the trained models with every gate at zero, where every run has it.
        sizes: The metric of small, medium and large objects, where every run has it.
        differences: By role, where a seed is shared: to the `control`, or to the plain `base`, to the widest `widened`
            base and to the plain model one scale `larger`.
        costs: Those of `COSTS` that are known, parameters in millions.
        cells: The texts of a table's row, by column of `COLUMNS`; empty where nothing is known.
    """

    label: str
    plain: bool
    control: bool
    runs: Sequence[Run]
    left_out: Sequence[Run]
    score: Estimate | None
    shut: Estimate | None
    sizes: Mapping[str, Estimate]
    differences: Mapping[str, Difference]
    costs: Mapping[str, float]
    cells: Mapping[str, str]

    @property
    def verdict(self) -> Difference | None:
        """The difference that a page leads with: to the control, or to the plain base."""
        return self.differences.get("control") or self.differences.get("base")


@dataclass(frozen=True)
class Comparison:
    """Models that were trained alike on one data set, the best first.

    Attributes:
        title: What their runs share.
        data: Name of the data set.
        metric: What is compared.
        split: What it was measured on, `val` or `test`.
        control: Label of the model that all were to be compared to, `None` where each has its plain base.
        lines: One a model.
        notes: What a reader must know before the numbers.
        heads: Of the columns.
    """

    title: str
    data: str
    metric: str
    split: str
    control: str | None
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    heads: Mapping[str, str]

    @property
    def runs(self) -> list[Run]:
        """All, whether in the means or not."""
        return [run for line in self.lines for run in (*line.runs, *line.left_out)]

    @property
    def verdicts(self) -> list[str]:
        """One sentence a model that has a control."""
        return [line.verdict.explain(line.label) for line in self.lines if line.verdict]


def compare(
    runs: Sequence[Run],
    metric: str | None = None,
    *,
    control: str | None = None,
    latency: Mapping[str, Timing] | None = None,
) -> list[Comparison]:
    """Group runs by data and settings, then by model; their order does not matter.

    Args:
        runs: Of `zoo.report.runs.read`.
        metric: E.g. `mAP50`, on the test split if all runs have it and else on validation; or `val_mAP50`.
        control: Label of the model to compare all others to. Without it each has its plain base as control, and models
            that started from weights are kept apart from those that did not.
        latency: Label of a model to milliseconds an image, and to the ratio to its base if that is known.

    Raises:
        DataError: No run ended, or two that did are one: same model, data, settings and seed.
        OptionError: No run has the metric, or none is of the control.
    """
    _check(runs, metric)
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        kind = None if control else (run.parent or {}).get("kind")
        groups.setdefault((run.conditions, kind), []).append(run)
    labels = {label for group in groups.values() for label in _labels(group)}
    if control and control not in labels:
        raise OptionError(f"no run is of the control {control!r}; there are {'; '.join(sorted(labels))}.")
    found = [_compare(group, metric, control, latency or {}) for group in groups.values()]
    return tell_apart(sorted(found, key=lambda each: (each.title, str([run.data_key for run in each.runs]))))


def _check(runs: Sequence[Run], metric: str | None) -> None:
    ended = [run for run in runs if run.status == "ended"]
    if not ended:
        raise DataError(f"none of {len(runs)} runs has ended.")
    known = sorted({f"{split}_{name}" for run in ended for split, scores in run.metrics.items() for name in scores})
    if metric and not {metric, f"val_{metric}"} & set(known):
        raise OptionError(f"no run has {metric!r}; there are {', '.join(known)}.")
    seen: dict[tuple[Any, ...], Run] = {}
    for run in ended:
        other = seen.setdefault(run.identity, run)
        if other is not run and other != run:
            raise DataError(
                f"{other.source} and {run.source} are one run twice: {run.label}, seed {run.seed}, on the same data "
                f"under the same settings. Give only one of them."
            )


def _compare(
    group: Sequence[Run], metric: str | None, control: str | None, latency: Mapping[str, Timing]
) -> Comparison:
    split, name = _measure(group, metric)
    members: dict[str, list[Run]] = {}
    for label, run in zip(_labels(group), group, strict=True):
        members.setdefault(label, []).append(run)
    scored = {label: _scored(runs, name, split) for label, runs in members.items()}
    absent = [f"No run here is of the control {control}, so nothing is compared to it."]
    if not control or control in members:
        absent = []
    roles = {} if absent else _roles(members, control)
    differences = _differences(scored, roles, name, split)
    controls = {chosen for role in ("control", "base") for chosen in roles.get(role, {}).values()}
    lines = [
        _line(label, runs, scored[label], (name, split), differences[label], label in controls, latency.get(label))
        for label, runs in members.items()
    ]
    # What run.json holds of a gate does not depend on its channels; older rows have the norm.
    gates = "mean |gamma|" if all(run.record for run in group) else "norm of gamma"
    lines.sort(key=lambda line: (-line.score.mean if line.score else math.inf, line.label))
    return Comparison(
        title=title(group),
        data=str(group[0].data.get("name", "")),
        metric=name,
        split=split,
        control=None if absent else control,
        lines=tuple(lines),
        notes=(*absent, *notes(lines, roles, name, split)),
        heads=COLUMNS | {"score": name, "gflops": f"GFLOPs at {_flops_imgsz(group)} px", "gates": f"{gates} by layer"},
    )


def _measure(group: Sequence[Run], metric: str | None) -> tuple[str, str]:
    """Split and name of the metric."""
    named = metric or METRIC
    split, name = named.split("_", 1) if named.startswith(("val_", "test_")) else ("", named)
    ended = [run for run in group if run.status == "ended"]
    tested = bool(ended) and all(run.score(name, "test") is not None for run in ended)
    return split or ("test" if tested else "val"), name


def _labels(group: Sequence[Run]) -> list[str]:
    """Of every run; those of one name that started from different weights are told apart."""
    starts: dict[str, dict[str, str]] = {}
    for run in group:
        starts.setdefault(run.label, {})[run.start] = run.started_from or "scratch"

    def told(run: Run) -> str:
        own = starts[run.label]
        if len(own) == 1:
            return run.label
        name = own[run.start]
        alike = list(own.values()).count(name) > 1  # files of one name
        return f"{run.label}, from {name}{f' ({run.start[:8]})' if alike else ''}"

    return [told(run) for run in group]


def _scored(runs: Iterable[Run], metric: str, split: str) -> dict[int, Run]:
    """Seed to run, of the runs that enter the means, by seed."""
    return {run.seed: run for run in sorted(runs, key=lambda run: run.seed) if not why_left_out(run, metric, split)}


def _roles(members: _Members, control: str | None) -> dict[str, dict[str, str]]:
    """Role to model to the label of its control."""
    if control:
        return {"control": {label: control for label in members if label != control}}
    found: dict[str, dict[str, str]] = {"base": {}, "widened": {}, "larger": {}}
    of = {label: runs[0] for label, runs in members.items()}
    plain: dict[str, dict[str, str]] = {}  # base to start to label
    for label, run in of.items():
        if run.base and not run.grafts and not run.width:
            plain.setdefault(run.base, {})[run.start] = label
    wide: dict[str, str] = {}
    for label, run in sorted(of.items(), key=lambda item: item[1].width or 0):
        if run.width and not run.grafts:
            wide[run.base] = label
    for label, run in of.items():
        if not run.base or label in plain.get(run.base, {}).values():
            continue
        chosen = {
            "base": _of_start(plain.get(run.base, {}), run.start),
            "widened": wide.get(run.base),
            "larger": _of_start(plain.get(_larger(run.base), {}), run.start),
        }
        for role, other in chosen.items():
            if other and other != label:
                found[role][label] = other
    return found


def _of_start(labels: Mapping[str, str], start: str) -> str | None:
    """The label of what started from the same weights, or the only one there is."""
    return labels.get(start) or (next(iter(labels.values())) if len(labels) == 1 else None)


def _larger(base: str) -> str:
    """A base at its next scale, empty where there is none."""
    name = parse(base)
    larger = SCALES[SCALES.index(name.scale) + 1 :][:1] if name.scale else ()
    return replace(name, scale=larger[0]).plain if larger else ""


def _differences(
    scored: Mapping[str, Mapping[int, Run]], roles: Mapping[str, Mapping[str, str]], metric: str, split: str
) -> dict[str, dict[str, Difference]]:
    """Model to role to difference."""
    found: dict[str, dict[str, Difference]] = {label: {} for label in scored}
    for role, controls in roles.items():
        gains = {}
        for label, control in controls.items():
            own, other = scored[label], scored[control]
            if shared := [seed for seed in own if seed in other]:
                gains[label] = [_number(own[s], metric, split) - _number(other[s], metric, split) for s in shared]
        for control in sorted({controls[label] for label in gains}):
            family = {label: gains[label] for label in gains if controls[label] == control}
            for label, difference in paired(family, control).items():
                found[label][role] = difference
    return found


def _line(
    label: str,
    every: Sequence[Run],
    scored: Mapping[int, Run],
    measure: tuple[str, str],
    differences: Mapping[str, Difference],
    control: bool,
    timing: Timing | None,
) -> Line:
    metric, split = measure
    runs = list(scored.values())
    left_out = [run for run in every if why_left_out(run, metric, split)]

    def mean(name: str) -> Estimate | None:
        values = [run.score(name, split) for run in runs]
        return Estimate.of(values) if values and all(map(_finite, values)) else None  # type: ignore[arg-type]

    score, shut = mean(metric), mean(f"{metric}_without_grafts")
    hours = [run.seconds / 3600 for run in runs if run.seconds]
    costs = {
        "params": _known([run.parameters and run.parameters / 1e6 for run in every]),
        "gflops": _known([run.gflops for run in every]),
        "ms": timing and timing[0],
    }
    known = {cost: value for cost, value in costs.items() if value}
    sizes = {size: found for size in SIZES if (found := mean(size))}
    plain = bool(every[0].base and all(graft["block"] in _NO_ATTENTION for graft in every[0].grafts))
    reasons = Counter(sorted(why_left_out(run, metric, split) for run in left_out))
    cells = dict.fromkeys(COLUMNS, "") | {
        role: f"{each}" if each.gain.count in {1, len(runs)} else f"{each} ({each.gain.count} seeds)"
        for role, each in differences.items()
    }
    cells |= {
        "model": label,
        "seeds": ", ".join([str(len(runs)), *(f"{count} {why}" for why, count in reasons.items())]),
        "score": str(score or ""),
        "map50": str(mean("mAP50") or "") if metric == METRIC else "",
        "params": f"{known['params']:.2f}" if "params" in known else "",
        "gflops": f"{known['gflops']:.1f}" if "gflops" in known else "",
        "ms": f"{known['ms']:.1f}" + (f" ({timing[1]:.2f} x base)" if timing and timing[1] else "") if timing else "",
        "shut": str(shut or ""),
        "gates": _gates(runs),
        "hours": f"{statistics.mean(hours):.2f}" if hours else "",
    }
    return Line(label, plain, control, runs, left_out, score, shut, sizes, differences, known, cells)


def _flops_imgsz(group: Sequence[Run]) -> str:
    return " and ".join(sorted({str(run.gflops_imgsz) for run in group if run.gflops_imgsz})) or "?"


def _gates(runs: Sequence[Run]) -> str:
    """Mean over the runs of how far the gates are open, by layer."""
    found: dict[str, list[float]] = {}
    for run in runs:
        for layer, gate in run.gates.items():
            if gate is not None:
                found.setdefault(layer, []).append(gate)
    return ", ".join(f"{layer}: {statistics.mean(values):.2g}" for layer, values in found.items())


def _number(run: Run, metric: str, split: str) -> float:
    value = run.score(metric, split)
    assert value is not None, "a scored run"
    return value


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _known(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value]
    return statistics.mean(found) if found else None
