"""What runs say of attention: means over seeds, and differences to controls paired by seed."""

from __future__ import annotations

import csv
import json
import math
import statistics
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zoo import assets, registry
from zoo.config import SCALES
from zoo.errors import DataError, UnknownModelError
from zoo.registry import ModelInfo
from zoo.report.runs import Row

COSTS = {"gflops": "GFLOPs at 640 px", "ms": "ms an image"}

_Runs = Mapping[str, Mapping[str, Row]]
_Timing = tuple[float, float | None]


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
        return f"{self.mean:.3f}{self.interval or ', one seed'}"

    @property
    def interval(self) -> str:
        """What follows the mean."""
        return "" if self.half is None else f" \N{PLUS-MINUS SIGN} {self.half:.3f}"


@dataclass(frozen=True)
class Difference:
    """How much more a model scores than a control, over the seeds that both have.

    Attributes:
        control: Label of the control.
        gain: The paired difference.
    """

    control: str
    gain: Estimate

    @property
    def verdict(self) -> str:
        """`better`, `worse`, `no difference shown` when the interval holds zero, or `one seed`."""
        if self.gain.half is None:
            return "one seed"
        if abs(self.gain.mean) <= self.gain.half:
            return "no difference shown"
        return "better" if self.gain.mean > 0 else "worse"

    def __str__(self) -> str:
        mean = f"{self.gain.mean:+.3f}"
        return f"{mean if float(mean) else '0.000'}{self.gain.interval}, {self.verdict}"


@dataclass(frozen=True)
class Line:
    """What is known of one model on one data set.

    Attributes:
        label: Its name, with the width where that is not the stock one.
        plain: Whether it is a registered model without attention.
        score: The metric over the complete runs; `None` when there is none.
        shut: The metric of the trained models with every gate at zero, where every complete run has it.
        differences: To the plain `base`, to the widest `widened` base and to the plain model one scale `larger`, where
            a seed is shared; none for a plain model of stock width.
        costs: `params`, and those of `COSTS`, where known.
        cells: The texts of a table's row, by column of `COLUMNS`; empty where nothing is known.
    """

    label: str
    plain: bool
    score: Estimate | None
    shut: Estimate | None
    differences: Mapping[str, Difference]
    costs: Mapping[str, float]
    cells: Mapping[str, str]


@dataclass(frozen=True)
class Comparison:
    """Models that were trained alike on one data set, the best first; the title says what their runs share."""

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
    found = []
    for (data, imgsz, weights), models in sorted(groups.items()):
        complete = {name: _complete(name, runs, metric) for name, runs in models.items()}
        lines = [_line(name, runs, complete, metric, timings.get(name)) for name, runs in models.items()]
        lines.sort(key=lambda line: (-line.score.mean if line.score else math.inf, line.label))
        epochs = {int(_number(run, "epochs")) for runs in complete.values() for run in runs.values() if "epochs" in run}
        trained = " to ".join(map(str, sorted({min(epochs), max(epochs)}))) + " epochs" if epochs else ""
        title = [data, imgsz and f"{imgsz} px", weights and f"from {weights}", trained]
        found.append(Comparison(", ".join(filter(None, title)), data, tuple(lines)))
    return found


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


def _info(model: str) -> ModelInfo | None:
    try:
        return registry.model_info(model)
    except UnknownModelError:
        return None


def _line(name: str, every: Sequence[Row], complete: _Runs, metric: str, timing: _Timing | None) -> Line:
    model = str(every[0]["model"])
    info = _info(model)
    counted = info if info and not every[0].get("width") else None
    runs = list(complete[name].values())
    score, shut, hours = _mean(runs, metric), _mean(runs, f"{metric}_without_grafts"), _mean(runs, "hours")
    map50 = _mean(runs, metric.removesuffix("-95")) if metric.endswith("-95") else None
    params, gflops = _mean(runs, "params"), _mean(runs, "gflops_640")
    costs = {
        "params": params.mean if params else counted and counted.params,
        "gflops": gflops.mean if gflops else counted and counted.gflops,
        "ms": timing and timing[0],
    }
    known = {cost: value for cost, value in costs.items() if value}
    ratio = f" ({timing[1]:.2f} x base)" if timing and timing[1] else ""
    differences = _differences(name, info, complete, metric) if info else {}
    shown = {
        role: f"{each}" if each.gain.count in {1, len(runs)} else f"{each} ({each.gain.count} seeds)"
        for role, each in differences.items()
    }
    left_out = Counter(sorted(why for run in every if (why := _why_left_out(run, metric))))
    cells = dict.fromkeys(COLUMNS, "") | shown
    cells |= {
        "model": name,
        "seeds": ", ".join([str(len(runs)), *(f"{count} {why}" for why, count in left_out.items())]),
        "score": str(score or ""),
        "map50": str(map50 or ""),
        "params": f"{known['params'] / 1e6:.2f}" if "params" in known else "",
        "gflops": f"{known['gflops']:.1f}" if "gflops" in known else "",
        "ms": f"{known['ms']:.1f}{ratio}" if "ms" in known else "",
        "shut": str(shut or ""),
        "gates": _gates(runs),
        "hours": f"{hours.mean:.2f}" if hours else "",
    }
    return Line(name, bool(info and not info.grafts), score, shut, differences, known, cells)


def _differences(name: str, info: ModelInfo, complete: _Runs, metric: str) -> dict[str, Difference]:
    larger = SCALES[SCALES.index(info.scale) + 1 :][:1]
    controls = {
        "base": info.base,
        "widened": max((other for other in complete if other.startswith(f"{info.base}, width ")), default=name),
        "larger": f"{info.base.removesuffix(info.scale)}{larger[0]}" if larger else name,
    }
    found = {}
    for role, control in controls.items():
        own, other = complete[name], complete.get(control, {})
        gains = [_number(own[seed], metric) - _number(other[seed], metric) for seed in own if seed in other]
        if gains and name not in (control, info.base):
            found[role] = Difference(control, Estimate.of(gains))
    return found


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


def t_quantile(freedom: int) -> float:
    """The t with P(|T| <= t) = 0.95, to seven decimals; it is at most 12.71, that of one degree of freedom."""
    return bisect_left(range(13 * 10**7), 0.95, key=lambda steps: t_probability(steps / 1e7, freedom)) / 1e7


def _number(row: Row, column: str) -> float:
    try:
        value = float(row[column])
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{column} of {label(row)}, seed {row['seed']}, is {row[column]!r}, not a number.")
    return value


def _mean(rows: Sequence[Row], column: str) -> Estimate | None:
    """Of a column that every row has."""
    whole = rows and all(row.get(column) not in (None, "") for row in rows)
    return Estimate.of([_number(row, column) for row in rows]) if whole else None


def _gates(rows: Sequence[Row]) -> str:
    """Mean over the runs of the norms of gamma, by layer, from `gamma_norms`."""
    norms: dict[str, list[float]] = {}
    for row in rows:
        for layer, norm in json.loads(row.get("gamma_norms") or "{}").items():
            norms.setdefault(layer, []).append(norm)
    return ", ".join(f"{layer}: {statistics.mean(values):.2f}" for layer, values in norms.items())


def _timings() -> dict[str, _Timing]:
    """Label to milliseconds of one 640 x 640 image, and to the ratio to the base; of a base the median of its runs."""
    file = assets.root() / "results" / "benchmark_models.csv"
    if not file.is_file():
        return {}
    with file.open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if (row["batch"], row["imgsz"]) == ("1", "640")]
    bases: dict[str, list[float]] = {}
    for row in rows:
        bases.setdefault(row["base"], []).append(float(row["base_ms"]))
    plain: dict[str, _Timing] = {name: (statistics.median(ms), None) for name, ms in bases.items()}
    return plain | {label(row): (float(row["ms"]), float(row["ratio"])) for row in rows}


COLUMNS = {
    "model": "model",
    "seeds": "seeds",
    "score": "",
    "map50": "mAP50",
    "base": "against the plain base",
    "widened": "against the widened base",
    "larger": "against the next scale",
    "params": "parameters, M",
    "gflops": COSTS["gflops"],
    "ms": COSTS["ms"],
    "shut": "with the gates shut",
    "gates": "norm of gamma by layer",
    "hours": "hours a run",
}
