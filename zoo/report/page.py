"""One HTML page of comparisons: a file that fetches nothing, with the verdict first."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jinja2

from zoo.report import charts
from zoo.report.charts import Curve, Look, Panel, Point
from zoo.report.comparison import METRIC, SIZES, Comparison, Line
from zoo.report.pictures import Picture
from zoo.report.runs import Run
from zoo.report.statistics import Estimate

Pictures = Callable[[Comparison], Sequence[Picture]]
_Gains = Mapping[str, Mapping[str, Estimate]]

_MOST_CURVES = 9
_MOST_CLASSES = 20
_READING = (
    "Scores are means over seeds with 95 % intervals (Student's t); one seed has no interval. Differences are paired "
    "by seed. Better or worse is said where the interval of a difference does not hold zero; these intervals are as "
    "wide as Holm's correction over the models that share a control asks for. What is compared are the averaged "
    "weights of the last epoch, not those of the epoch that validation liked best. Seeds vary the training alone: what "
    "another choice of images would change, no interval here can tell. In charts, bars are the intervals of the "
    "scores, bands span the lowest and the highest seed, the dotted line is the Pareto front, and models without "
    "attention are grey."
)


def render(comparisons: Sequence[Comparison], pictures: Pictures | None = None) -> str:
    """The page, the same text for the same runs in whatever order.

    Args:
        comparisons: Of `zoo.report.comparison.compare`.
        pictures: Gives images on which the models of a comparison differ; none are shown without it.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("zoo.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["tie"] = _tie
    sections = [_section(each, pictures(each) if pictures else ()) for each in comparisons]
    return environment.get_template("page.html").render(heading="Models compared", sections=sections, reading=_READING)


def _tie(text: str) -> str:
    """No interval is torn from its mean."""
    return text.replace(" \N{PLUS-MINUS SIGN} ", "\N{NO-BREAK SPACE}\N{PLUS-MINUS SIGN}\N{NO-BREAK SPACE}")


def plot(comparisons: Sequence[Comparison], costs: Iterable[str]) -> str:
    """Scores against some `COSTS` as one SVG, a panel for every comparison and cost; empty when none is known."""
    panels = [panel for each in comparisons for cost in costs if (panel := _panel(each, cost))]
    return charts.overview(panels, f"{comparisons[0].split} {comparisons[0].metric}") if panels else ""


def _section(comparison: Comparison, pictures: Sequence[Picture]) -> dict[str, Any]:
    lines = comparison.lines
    drawn = charts.looks({line.label: line.plain for line in lines})
    gains = _by_class(comparison)
    shown = [column for column in comparison.heads if any(line.cells[column] for line in lines)]
    return {
        "title": comparison.title,
        "verdicts": [
            {
                "word": line.verdict.verdict,
                "headline": line.verdict.headline(line.label),
                "details": line.verdict.details,
            }
            for line in lines
            if line.verdict
        ],
        "notes": comparison.notes,
        "heads": [comparison.heads[column] for column in shown],
        "rows": [{"control": line.control, "cells": [line.cells[column] for column in shown]} for line in lines],
        "legend": [{"label": label, "look": look, "marker": charts.marker(look)} for label, look in drawn.items()],
        "charts": [chart for chart in _charts(comparison, drawn, gains) if chart],
        "tables": [table for table in (_sizes(comparison), _classes(comparison, gains)) if table],
        "pictures": pictures,
        "facts": list(_facts(comparison)),
        "run_heads": ["model", "seed", "status", comparison.metric, "epochs", "images a second", "folder"],
        "runs": [_row(run, comparison) for run in sorted(comparison.runs, key=lambda run: (run.label, run.seed))],
    }


def _charts(comparison: Comparison, drawn: Mapping[str, Look], gains: _Gains) -> Iterable[dict[str, Any] | None]:
    score = f"{comparison.metric} on {comparison.split}"
    for cost in ("ms", "params", "gflops"):
        if panel := _panel(comparison, cost):
            yield {
                "title": f"{score} against {comparison.heads[cost]}",
                "text": "Logarithmic; to the top left is better.",
                "svg": charts.scatter(panel, score, drawn),
            }
    yield _learning(comparison, drawn)
    yield _class_chart(comparison, drawn, gains)
    yield _gates(comparison, drawn)


def _panel(comparison: Comparison, cost: str) -> Panel | None:
    points = [
        Point(line.label, line.costs[cost], line.score.mean, line.score.half, line.plain)
        for line in comparison.lines
        if line.score and cost in line.costs
    ]
    return Panel(comparison.title, comparison.heads[cost], points) if points else None


def _leading(comparison: Comparison) -> list[Line]:
    """As many lines as curves can be told apart: the controls, then the best."""
    ranked = sorted((line for line in comparison.lines if line.runs), key=lambda line: not line.control)
    return ranked[:_MOST_CURVES]


def _few(comparison: Comparison) -> str:
    left = sum(bool(line.runs) for line in comparison.lines) - _MOST_CURVES
    return f" The {left} models with the lowest scores are left out." if left > 0 else ""


def _learning(comparison: Comparison, drawn: Mapping[str, Look]) -> dict[str, Any] | None:
    metric = comparison.metric if comparison.metric in ("mAP50", METRIC) else METRIC
    series = [
        curve
        for line in _leading(comparison)
        if (curve := _curve(line.label, [{e["epoch"]: e.get(metric) for e in run.history} for run in line.runs]))
    ]
    if not series:
        return None
    text = f"{metric} on val by epoch, mean and band over seeds.{_few(comparison)}"
    return {"title": "Learning curves", "text": text, "svg": charts.curves(series, drawn, f"{metric} on val")}


def _gates(comparison: Comparison, drawn: Mapping[str, Look]) -> dict[str, Any] | None:
    series, own = [], {}
    for line in _leading(comparison):
        grafts = line.runs[0].grafts
        for index, graft in enumerate(grafts):
            key = str(graft["position"])
            by_epoch = [{e["epoch"]: (e.get("gates") or {}).get(key) for e in run.history} for run in line.runs]
            place = graft.get("place") or f"layer {key}"
            label = f"{line.label}, {place}" if len(grafts) > 1 else line.label
            if curve := _curve(label, by_epoch):
                series.append(curve)
                own[label] = Look(drawn[line.label].colour, "o", charts.DASHES[index % len(charts.DASHES)])
    if not series:
        return None
    return {
        "title": "Gates",
        "text": f"Mean |gamma| by epoch; at zero, a graft does nothing.{_few(comparison)}",
        "svg": charts.curves(series, own, "mean |gamma|", zero=True),
        "legend": [
            {"label": label, "look": look, "dashes": charts.DASH_ARRAYS[look.dash]} for label, look in own.items()
        ],
    }


def _curve(label: str, by_epoch: Sequence[Mapping[int, float | None]]) -> Curve | None:
    """Over the epochs that have a number in some run."""
    values: dict[int, list[float]] = {}
    for found in by_epoch:
        for epoch, value in found.items():
            if value is not None:
                values.setdefault(epoch, []).append(value)
    if not values:
        return None
    epochs = sorted(values)
    mean, low, high = ([reduce(values[epoch]) for epoch in epochs] for reduce in (statistics.fmean, min, max))
    return Curve(label, epochs, mean, low, high)


def _sizes(comparison: Comparison) -> dict[str, Any] | None:
    shown = [size for size in SIZES if any(size in line.sizes for line in comparison.lines)]
    if not shown:
        return None
    rows = [[line.label, *(str(line.sizes.get(size, "")) for size in shown)] for line in comparison.lines if line.sizes]
    return {
        "title": "Small, medium and large objects",
        "text": f"mAP50-95 on {comparison.split} by COCO's sizes: an area below 32 x 32 pixels is small, one above "
        "96 x 96 is large.",
        "heads": ["model", *shown],
        "rows": rows,
        "open": True,
    }


def _by_class(comparison: Comparison) -> dict[str, dict[str, Estimate]]:
    """Model to class to the difference to its control, paired by seed."""
    of = {line.label: {run.seed: run for run in line.runs} for line in comparison.lines}
    found: dict[str, dict[str, Estimate]] = {}
    for line in comparison.lines:
        if not line.verdict:
            continue
        pairs = [(run, of[line.verdict.control][run.seed]) for run in line.runs if run.seed in of[line.verdict.control]]
        for name in _class_scores(line.runs[0], comparison):
            gains = [_gain(own, other, name, comparison) for own, other in pairs]
            if known := [gain for gain in gains if gain is not None]:
                found.setdefault(line.label, {})[name] = Estimate.of(known)
    return found


def _class_scores(run: Run, comparison: Comparison) -> Mapping[str, Mapping[str, float | None]]:
    return run.metrics.get(comparison.split, {}).get("per_class") or {}


def _gain(own: Run, other: Run, name: str, comparison: Comparison) -> float | None:
    values = [_class_scores(run, comparison).get(name, {}).get(METRIC) for run in (own, other)]
    return None if values[0] is None or values[1] is None else values[0] - values[1]


def _class_chart(comparison: Comparison, drawn: Mapping[str, Look], gains: _Gains) -> dict[str, Any] | None:
    leading = {line.label for line in _leading(comparison)}
    found = {label: each for label, each in gains.items() if label in leading}
    names: dict[str, float] = {}
    for name, gain in itertools.chain.from_iterable(each.items() for each in found.values()):
        names[name] = max(abs(gain.mean), names.get(name, 0.0))
    if not names:
        return None
    chosen = sorted(names, key=lambda name: (-names[name], name))[:_MOST_CLASSES]
    rows = {label: {name: (each[name].mean, each[name].half) for name in each} for label, each in found.items()}
    some = f" The {len(chosen)} of {len(names)} classes that differ most." if len(chosen) < len(names) else ""
    return {
        "title": "By class",
        "text": f"mAP50-95 on {comparison.split} less that of the control, with 95 % intervals that are not corrected "
        f"for the number of classes.{some}",
        "svg": charts.by_class(chosen, rows, drawn),
    }


def _classes(comparison: Comparison, found: _Gains) -> dict[str, Any] | None:
    names = [name for name in next(iter(found.values()), {}) if all(name in each for each in found.values())]
    if not names:
        return None
    labels = list(found)
    return {
        "title": f"All {len(names)} classes",
        "text": f"mAP50-95 on {comparison.split} less that of the control, paired by seed.",
        "heads": ["class", *labels],
        "rows": [
            [name, *(f"{found[label][name].mean:+.3f}{found[label][name].interval}" for label in labels)]
            for name in names
        ],
        "open": False,
    }


def _facts(comparison: Comparison) -> Iterable[tuple[str, str]]:
    """What the runs share or vary in, by name."""
    runs = comparison.runs
    data = runs[0].data
    counts = ", ".join(f"{count} {split}" for split, count in data.get("images", {}).items())
    classes = data.get("class_names") or ()
    more = ", ..." if len(classes) > 12 else ""
    named = f"; {len(classes)} classes: {', '.join(classes[:12])}{more}" if classes else ""
    print_ = f", fingerprint {data['fingerprint'][:12]}" if data.get("fingerprint") else ""
    yield "Data", f"{data.get('name', '')}{f' ({counts} images)' if counts else ''}{named}{print_}"
    yield "Runs", f"{len(runs)}, seeds {_joined(run.seed for run in runs)}, at {_joined(run.imgsz for run in runs)} px"
    yield "Started from", _joined(run.started_from or "scratch" for run in runs)
    if settings := runs[0].shaping:
        kept = ("optimizer", "lr0", "batch", "weight_decay", "mosaic", "mixup", "fliplr", "amp")
        yield "Settings", ", ".join(f"{key}={settings[key]}" for key in kept if key in settings)
    if comparison.control:
        yield "Control", comparison.control
    seconds = [run.seconds for run in runs if run.seconds]
    if seconds:
        yield "Training time", f"{sum(seconds) / 3600:.2f} hours in all, {sum(seconds) / 3600 / len(seconds):.2f} a run"
    for name, values in (
        ("Machines", (run.machine for run in runs)),
        ("Versions", (", ".join(f"{k} {v}" for k, v in run.versions.items()) for run in runs)),
        ("Commits", ((run.commit or "")[:10] for run in runs)),
        ("Dates", ((run.started or "")[:10] for run in runs)),
    ):
        if text := _joined(values):
            yield name, text


def _joined(values: Iterable[Any]) -> str:
    found = sorted({value for value in values if value not in (None, "")}, key=lambda value: (str(type(value)), value))
    return ", ".join(map(str, found[:8])) + (f" and {len(found) - 8} more" if len(found) > 8 else "")


def _row(run: Run, comparison: Comparison) -> list[str]:
    score = run.score(comparison.metric, comparison.split)
    done, planned = run.epochs.get("done"), run.epochs.get("planned")
    return [
        run.label,
        str(run.seed),
        run.status,
        "" if score is None else f"{score:.4f}",
        f"{done} of {planned}" if planned and done != planned else str(done or ""),
        f"{run.images_per_second:.1f}" if run.images_per_second else "",
        run.place,
    ]
