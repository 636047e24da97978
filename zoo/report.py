"""What runs say of attention: means over seeds, differences to controls paired by seed, one HTML page of both."""

from __future__ import annotations

import csv
import html
import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from zoo import assets, registry, scatter
from zoo.config import SCALES, ModelConfig
from zoo.errors import DataError, OptionError, UnknownModelError
from zoo.files import write_text

METRICS = ("val_mAP50-95", "test_mAP50-95", "mAP50-95")
COSTS = {"gflops": "GFLOPs at 640 px", "ms": "ms an image"}
_BEST = "metrics/mAP50-95(B)"

Row = Mapping[str, Any]


def read_run(folder: Path) -> dict[str, Any]:
    """Read the folder of one Ultralytics run.

    Returns:
        `data`, `model`, `seed`, `epochs`, `imgsz`, and mAP of the epoch with the best mAP50-95, by Ultralytics.

    Raises:
        DataError: The folder has no `args.yaml`, or no epoch ended.
    """
    try:
        settings = yaml.safe_load((folder / "args.yaml").read_text())
        with (folder / "results.csv").open(newline="") as file:
            epochs = [{key.strip(): float(value) for key, value in row.items()} for row in csv.DictReader(file)]
        best = max(epochs, key=lambda row: row[_BEST])
    except (OSError, ValueError, KeyError, AttributeError, TypeError, yaml.YAMLError) as error:
        raise DataError(f"{folder} is not the folder of a training that ended an epoch: {error}.") from error
    config = folder / "weights" / "zoo" / "config.json"
    name = json.loads(config.read_text())["name"] if config.is_file() else Path(str(settings["model"])).stem
    return {
        "data": Path(str(settings["data"])).stem,
        "model": name,
        "seed": settings["seed"],
        "epochs": len(epochs),
        "imgsz": settings["imgsz"],
        "val_mAP50-95": best[_BEST],
        "val_mAP50": best["metrics/mAP50(B)"],
    }


def read_rows(paths: Iterable[str | Path]) -> list[dict[str, Any]]:
    """Collect results rows.

    Args:
        paths: CSV files with the columns `model` and `seed` (CSV files without are passed over), folders of sweeps, and
            folders of runs, at any depth.

    Raises:
        DataError: There are none, or a folder has none.
    """
    places = [Path(path) for path in paths]
    rows: list[dict[str, Any]] = []
    for path in places:
        table = path / "results.csv" if path.is_dir() else path
        if not table.is_file() and not path.is_dir():
            raise DataError(f"there is no file or folder {path}.")
        found: list[dict[str, Any]] = []
        if table.is_file():
            with table.open(newline="") as file:
                found = [dict(row) for row in csv.DictReader(file)]
        if found and {"model", "seed"} <= found[0].keys():
            rows += [{"data": path.stem, **{key: value for key, value in row.items() if value}} for row in found]
        elif path.is_dir():
            runs = sorted(settings.parent for settings in path.rglob("args.yaml"))
            if not runs:
                raise DataError(f"{path} has neither rows with the columns model and seed, nor runs below it.")
            rows += [read_run(run) for run in runs]
    if not rows:
        raise DataError(f"no row with the columns model and seed is in {', '.join(map(str, places))}.")
    return rows


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and half of its 95 % interval, which one value alone does not have."""

    mean: float
    half: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Student's t interval of independent values."""
        if len(values) < 2:
            return cls(values[0], None, len(values))
        half = t_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
        return cls(statistics.mean(values), half, len(values))

    def __str__(self) -> str:
        return (
            f"{self.mean:.3f}, one seed"
            if self.half is None
            else f"{self.mean:.3f} \N{PLUS-MINUS SIGN} {self.half:.3f}"
        )


@dataclass(frozen=True)
class Difference:
    """How much more a model scores than a control, over the seeds that both have.

    Attributes:
        control: Label of the control.
        gain: The paired difference.
        p: Of the two-sided paired t test that the difference is zero.
    """

    control: str
    gain: Estimate
    p: float | None

    @property
    def verdict(self) -> str:
        """`better`, `worse`, `no difference shown` when the interval holds zero, or `one seed`."""
        if self.gain.half is None:
            return "one seed"
        if abs(self.gain.mean) <= self.gain.half:
            return "no difference shown"
        return "better" if self.gain.mean > 0 else "worse"

    def __str__(self) -> str:
        interval = "" if self.gain.half is None else f" \N{PLUS-MINUS SIGN} {self.gain.half:.3f}"
        mean = f"{self.gain.mean:+.3f}"
        return f"{mean if float(mean) else '0.000'}{interval}, {self.verdict}"


@dataclass(frozen=True)
class Line:
    """What is known of one model on one data set.

    Attributes:
        label: Its name, with the width where that is not the stock one.
        grafted: Whether it has attention.
        base: Label of the plain base; `None` for a plain model of stock width and for one that is not registered.
        score: The metric over the complete runs; `None` when there is none.
        map50: Likewise of mAP50 on the same split, where every complete run has it.
        shut: The metric of the trained models with every gate at zero, where every complete run has it.
        differences: To the plain `base`, to the widest `widened` base and to the plain model one scale `larger`, where
            a seed is shared; none for a plain model of stock width.
        left_out: Runs that are in no mean, by why: their status, or `unscored`.
        params: Parameters as trained; as registered, at 80 classes, where the rows do not say.
        gflops: At 640 px, likewise.
        latency: Milliseconds an image, from `results/benchmark_models.csv`.
        slowdown: Times the latency of the base in the same run of the benchmark.
        gates: Layer to the norm of its graft's gamma, mean over the complete runs.
        hours: Training time of a complete run, mean.
    """

    label: str
    grafted: bool
    base: str | None
    score: Estimate | None
    map50: Estimate | None
    shut: Estimate | None
    differences: Mapping[str, Difference]
    left_out: Mapping[str, int]
    params: int | None
    gflops: float | None
    latency: float | None
    slowdown: float | None
    gates: Mapping[str, float]
    hours: float | None

    def cells(self) -> dict[str, str]:
        """The texts of a table's row, by column; empty where nothing is known."""
        shown = {role: str(difference) for role, difference in self.differences.items()}
        for role, difference in self.differences.items():
            if self.score and difference.gain.count != self.score.count and difference.gain.half is not None:
                shown[role] += f" ({difference.gain.count} seeds)"
        p = self.differences["base"].p if "base" in self.differences else None
        return {
            "model": self.label,
            "seeds": ", ".join(
                [str(self.score.count if self.score else 0), *(f"{n} {why}" for why, n in self.left_out.items())]
            ),
            "score": str(self.score or ""),
            "map50": str(self.map50 or ""),
            "base": shown.get("base", ""),
            "p": "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}",
            "widened": shown.get("widened", ""),
            "larger": shown.get("larger", ""),
            "params": "" if self.params is None else f"{self.params / 1e6:.2f}",
            "gflops": "" if self.gflops is None else f"{self.gflops:.1f}",
            "ms": ("" if self.latency is None else f"{self.latency:.1f}")
            + ("" if self.slowdown is None else f" ({self.slowdown:.2f} x base)"),
            "shut": str(self.shut or ""),
            "gates": ", ".join(f"{layer}: {norm:.2f}" for layer, norm in self.gates.items()),
            "hours": "" if self.hours is None else f"{self.hours:.2f}",
        }


@dataclass(frozen=True)
class Comparison:
    """Models that were trained alike on one data set, the best first.

    Attributes:
        title: The data set and what the runs have in common.
        data: The data set.
        lines: One a model.
    """

    title: str
    data: str
    lines: tuple[Line, ...]


def label(row: Row) -> str:
    """The model of a row, as it is called in a comparison: `yolov8n`, or `yolov8n, width 0.29`."""
    return f"{row['model']}, width {row['width']}" if row.get("width") else str(row["model"])


def compare(rows: Sequence[Row], metric: str) -> list[Comparison]:
    """Group rows by data set and settings, then by model.

    Two rows are compared only if they share data set, `imgsz` and `base_weights`; their order does not matter.

    Args:
        rows: Each with `data`, `model` and `seed`, those of complete runs with the metric. Used where present:
            `status`, `width`, `imgsz`, `epochs`, `base_weights`, `params`, `gflops_640`, `gamma_norms`, `hours`, mAP50
            beside mAP50-95, and the metric with the suffix `_without_grafts`.
        metric: Name of a column.

    Raises:
        DataError: A number is not one, or two runs of a model under the same seed and settings differ in the metric.
    """
    groups: dict[tuple[str, str, str], dict[str, list[Row]]] = {}
    for row in rows:
        key = str(row["data"]), str(row.get("imgsz") or ""), str(row.get("base_weights") or "")
        groups.setdefault(key, {}).setdefault(label(row), []).append(row)
    timings = _timings()
    return [_compare(*key, models, metric, timings) for key, models in sorted(groups.items())]


def _compare(
    data: str,
    imgsz: str,
    weights: str,
    models: Mapping[str, Sequence[Row]],
    metric: str,
    timings: Mapping[str, tuple[float, float | None]],
) -> Comparison:
    complete = {name: _complete(name, runs, metric) for name, runs in models.items()}
    scores = {name: {seed: _number(run, metric) for seed, run in runs.items()} for name, runs in complete.items()}
    map50 = metric.removesuffix("-95")
    lines = []
    for name, every in models.items():
        model, width = str(every[0]["model"]), every[0].get("width")
        config = _config(model)
        info = registry.model_info(model) if config and not width else None
        runs = list(complete[name].values())
        params, gflops = _column(runs[:1], "params"), _column(runs[:1], "gflops_640")
        hours = _column(runs, "hours")
        latency, slowdown = timings.get(name, (None, None))
        lines.append(
            Line(
                label=name,
                grafted=bool(config and config.grafts),
                base=config.base_name if config and config.base_name != name else None,
                score=Estimate.of(list(scores[name].values())) if runs else None,
                map50=Estimate.of(values) if map50 != metric and (values := _column(runs, map50)) else None,
                shut=Estimate.of(values) if (values := _column(runs, f"{metric}_without_grafts")) else None,
                differences=_differences(name, config, scores),
                left_out=Counter(sorted(why for run in every if (why := _why_left_out(run, metric)))),
                params=int(params[0]) if params else info.params if info else None,
                gflops=gflops[0] if gflops else info.gflops if info else None,
                latency=latency,
                slowdown=slowdown,
                gates=_gates(runs),
                hours=statistics.mean(hours) if hours else None,
            )
        )
    lines.sort(key=lambda line: (-line.score.mean if line.score else math.inf, line.label))
    epochs = sorted(
        {int(_number(run, "epochs")) for runs in complete.values() for run in runs.values() if "epochs" in run}
    )
    title = [data, f"{imgsz} px" if imgsz else "", f"from {weights}" if weights else ""]
    if epochs:
        title.append(f"{epochs[0]} epochs" if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]} epochs")
    return Comparison(", ".join(filter(None, title)), data, tuple(lines))


def _complete(name: str, runs: Sequence[Row], metric: str) -> dict[str, Row]:
    """Seed to run, of the runs that enter the means, by seed."""
    found: dict[str, Row] = {}
    for run in runs:
        if _why_left_out(run, metric):
            continue
        other = found.setdefault(str(run["seed"]), run)
        if _number(other, metric) != _number(run, metric):
            raise DataError(f"{run['data']} has two runs of {name} under seed {run['seed']}; give only one of them.")
    return dict(sorted(found.items()))


def _why_left_out(run: Row, metric: str) -> str:
    """Empty for a run that enters the means."""
    status = str(run.get("status") or "complete")
    return status if status != "complete" else "" if run.get(metric) not in (None, "") else "unscored"


def _differences(
    name: str, config: ModelConfig | None, scores: Mapping[str, Mapping[str, float]]
) -> dict[str, Difference]:
    if config is None or name == config.base_name:
        return {}
    base = config.base_name
    widened = [label for label in scores if label.startswith(f"{base}, width ")]
    larger = SCALES[SCALES.index(config.scale) + 1 :][:1]
    controls = {
        "base": base,
        "widened": max(widened, default=None),
        "larger": f"{config.base}{larger[0]}" if larger else None,
    }
    found = {}
    for role, control in controls.items():
        if control is None or control == name or control not in scores:
            continue
        shared = sorted(scores[name].keys() & scores[control].keys())
        gains = [scores[name][seed] - scores[control][seed] for seed in shared]
        if gains:
            found[role] = Difference(control, Estimate.of(gains), paired_p(gains))
    return found


def write(paths: Sequence[str | Path], page: Path, metric: str | None = None) -> Path:
    """Write the page.

    Args:
        paths: As of `read_rows`.
        page: Replaced when present.
        metric: Column to compare; the first of `METRICS` that every row has when omitted.

    Raises:
        DataError: There is nothing to compare.
        OptionError: No row has the metric.
    """
    write_text(page, render(read_rows(paths), metric))
    return page


def render(rows: Sequence[Row], metric: str | None = None) -> str:
    """The page, the same text for the same rows in whatever order; as of `write`."""
    ended = [row for row in rows if row.get("status", "complete") == "complete"]
    if not ended:
        raise DataError(f"none of {len(rows)} runs is complete.")
    if metric is None:
        metric = next((name for name in METRICS if all(row.get(name) for row in ended)), METRICS[0])
    scored = sum(row.get(metric) not in (None, "") for row in ended)
    if not scored:
        columns = sorted({key for row in ended for key in row if "mAP" in key})
        raise OptionError(f"no run has {metric!r}; there are {', '.join(columns)}.")
    return _page(compare(rows, metric), metric, len(rows), len(rows) - scored)


def t_probability(t: float, freedom: int) -> float:
    """P(|T| <= |t|) of Student's t distribution with a whole number of degrees of freedom.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    angle = math.atan(abs(t) / math.sqrt(freedom))
    odd = freedom % 2 == 1
    term, total = (math.cos(angle) if odd else 1.0), 0.0
    for k in range(2 + odd, freedom + 1, 2):
        total += term
        term *= (k - 1) / k * math.cos(angle) ** 2
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total


def t_quantile(freedom: int, probability: float = 0.95) -> float:
    """The t with P(|T| <= t) = probability."""
    low, high = 0.0, 1.0
    while t_probability(high, freedom) < probability:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_probability(middle, freedom) < probability else (low, middle)
    return high


def paired_p(differences: Sequence[float]) -> float | None:
    """Two-sided p of the paired t test; `None` for fewer than two pairs or when all differ by the same."""
    if len(differences) < 2 or (spread := statistics.stdev(differences)) == 0:
        return None
    t = statistics.mean(differences) / spread * math.sqrt(len(differences))
    return 1 - t_probability(t, len(differences) - 1)


def _config(model: str) -> ModelConfig | None:
    try:
        return registry.get_config(registry.split_tag(model)[0])
    except UnknownModelError:
        return None


def _number(row: Row, column: str) -> float:
    try:
        value = float(row[column])
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{column} of {label(row)}, seed {row['seed']}, is {row[column]!r}, not a number.")
    return value


def _column(rows: Sequence[Row], column: str) -> list[float]:
    """The numbers of a column, none if any row lacks it."""
    return [_number(row, column) for row in rows] if all(row.get(column) not in (None, "") for row in rows) else []


def _gates(rows: Sequence[Row]) -> dict[str, float]:
    """Mean over the runs of the norms of gamma, by layer, from `gamma_norms`."""
    norms: dict[str, list[float]] = {}
    for row in rows:
        for layer, norm in json.loads(row.get("gamma_norms") or "{}").items():
            norms.setdefault(layer, []).append(norm)
    return {layer: statistics.mean(values) for layer, values in norms.items()}


def _timings() -> dict[str, tuple[float, float | None]]:
    """Label to milliseconds of one 640 x 640 image, and to the ratio to the base; of a base the median of its runs."""
    file = assets.root() / "results" / "benchmark_models.csv"
    if not file.is_file():
        return {}
    with file.open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if (row["batch"], row["imgsz"]) == ("1", "640")]
    bases: dict[str, list[float]] = {}
    for row in rows:
        bases.setdefault(row["base"], []).append(float(row["base_ms"]))
    plain: dict[str, tuple[float, float | None]] = {name: (statistics.median(ms), None) for name, ms in bases.items()}
    return plain | {label(row): (float(row["ms"]), float(row["ratio"])) for row in rows}


COLUMNS = {
    "model": "model",
    "seeds": "seeds",
    "score": "",
    "map50": "mAP50",
    "base": "against the plain base",
    "p": "p",
    "widened": "against the widened base",
    "larger": "against the next scale",
    "params": "parameters, M",
    "gflops": COSTS["gflops"],
    "ms": COSTS["ms"],
    "shut": "with the gates shut",
    "gates": "norm of gamma by layer",
    "hours": "hours a run",
}
_HOW_TO_READ = """Mean and 95 % interval over seeds (Student's t); one seed has no interval. Differences are paired by
seed; better or worse is said where the interval does not hold zero, not corrected for the number of models. p is of the
two-sided paired t test against the plain base. Milliseconds are those of the fused model at 640 x 640 pixels, batch 1,
and in brackets the ratio to its base, timed in turns with it. With the gates shut: the trained models, every gamma set
to zero."""
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem; }
section { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 13px; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #8888; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; white-space: nowrap; }
.note { opacity: .8; font-size: 13px; max-width: 60rem; }
"""


def _page(comparisons: Sequence[Comparison], metric: str, total: int, left_out: int) -> str:
    missing = f" {left_out} of them did not end or lack the metric; they are in no mean." if left_out else ""
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Models compared</title>'
        f"<style>{_STYLE}</style></head><body><h1>Models compared</h1>\n"
        f'<p class="note">{html.escape(metric)} of {total} runs.{missing} {_HOW_TO_READ}</p>\n'
        f"{''.join(_section(comparison, metric) for comparison in comparisons)}</body></html>\n"
    )


def _section(comparison: Comparison, metric: str) -> str:
    rows = [line.cells() for line in comparison.lines]
    shown = [column for column in COLUMNS if any(row[column] for row in rows)]
    header = "".join(f"<th>{html.escape(COLUMNS[column] or metric)}</th>" for column in shown)
    body = "".join(f"<tr>{''.join(f'<td>{_unbroken(row[key])}</td>' for key in shown)}</tr>\n" for row in rows)
    plots = [plot([comparison], cost, metric) for cost in COSTS]
    return (
        f"<section><h2>{html.escape(comparison.title)}</h2>\n<table><thead><tr>{header}</tr></thead>\n"
        f"<tbody>{body}</tbody></table>\n{''.join(plots)}</section>\n"
    )


def _unbroken(text: str) -> str:
    """HTML of a text in which no interval is torn from its mean."""
    return html.escape(text).replace(" \N{PLUS-MINUS SIGN} ", "&nbsp;&plusmn;&nbsp;")


def plot(comparisons: Sequence[Comparison], cost: str, metric: str) -> str:
    """Scores against a cost of `COSTS` as SVG, one panel a comparison; empty when no cost is known."""
    panels = {}
    for comparison in comparisons:
        points = [
            scatter.Point(line.label, value, line.score.mean, line.score.half, line.base, line.grafted)
            for line in comparison.lines
            if line.score and (value := line.gflops if cost == "gflops" else line.latency)
        ]
        if points:
            panels[comparison.title] = points
    return scatter.draw(panels, COSTS[cost], metric.replace("_", " ")) if panels else ""
