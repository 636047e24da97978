"""`zoo report`: one self-contained HTML page that compares models over seeds, with their plain bases as controls."""

from __future__ import annotations

import csv
import html
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from zoo import registry
from zoo.errors import DataError, OptionError, UnknownModelError
from zoo.files import write_text

METRICS = ("test_mAP50-95", "val_mAP50-95", "mAP50-95")
COSTS = {"latency_ms": "latency, ms an image", "gflops": "GFLOPs at 640 px"}
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
        paths: CSV files with the columns `model` and `seed`, folders of sweeps, and folders of runs, at any depth.

    Raises:
        DataError: There are none.
    """
    rows: list[dict[str, Any]] = []
    for path in map(Path, paths):
        table = path / "results.csv" if path.is_dir() else path
        if not table.is_file() and not path.is_dir():
            raise DataError(f"there is no file or folder {path}.")
        found: list[dict[str, Any]] = []
        if table.is_file():
            with table.open(newline="") as file:
                found = [dict(row) for row in csv.DictReader(file)]
        if found and {"model", "seed"} <= found[0].keys():
            rows += [{"data": path.stem, **{key: value for key, value in row.items() if value}} for row in found]
            continue
        runs = sorted(settings.parent for settings in path.rglob("args.yaml")) if path.is_dir() else []
        if not runs:
            raise DataError(f"{path} has neither rows with the columns model and seed, nor runs below it.")
        rows += [read_run(run) for run in runs]
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


@dataclass(frozen=True)
class Line:
    """What the page says of one model on one data set.

    Attributes:
        model: Its name.
        score: The metric.
        difference: To the plain base, paired by seed; `None` for a plain model and where no seed is shared.
        p: Of the two-sided paired t test that the difference is zero.
        costs: By the keys of `COSTS`, those that are known.
    """

    model: str
    score: Estimate
    difference: Estimate | None
    p: float | None
    costs: Mapping[str, float]


def compare(rows: Sequence[Row], metric: str) -> dict[str, list[Line]]:
    """Group rows by data set and settings, then by model.

    Two rows are compared only if they share data set, `imgsz` and `base_weights`.

    Args:
        rows: Each with `data`, `model`, `seed` and the metric.
        metric: Name of a column.

    Returns:
        Title of each group to its models, the best first.
    """
    groups: dict[str, dict[str, dict[str, Row]]] = {}
    for row in rows:
        title = str(row["data"])
        title += f", {row['imgsz']} px" if row.get("imgsz") else ""
        title += f", from {row['base_weights']}" if row.get("base_weights") else ""
        groups.setdefault(title, {}).setdefault(str(row["model"]), {})[str(row["seed"])] = row
    compared = {}
    for title, models in groups.items():
        scores = {
            model: {seed: float(row[metric]) for seed, row in by_seed.items()} for model, by_seed in models.items()
        }
        lines = []
        for model, values in scores.items():
            base = _base(model)
            control = scores.get(base, {}) if base and base != model else {}
            paired = [values[seed] - control[seed] for seed in sorted(values.keys() & control.keys())]
            lines.append(
                Line(
                    model=model,
                    score=Estimate.of(list(values.values())),
                    difference=Estimate.of(paired) if paired else None,
                    p=paired_p(paired),
                    costs=_costs(model, list(models[model].values())),
                )
            )
        compared[title] = sorted(lines, key=lambda line: -line.score.mean)
    return compared


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
    rows = read_rows(paths)
    ended = [row for row in rows if row.get("status", "complete") == "complete"]
    if not ended:
        raise DataError(f"none of {len(rows)} runs is complete.")
    if metric is None:
        metric = next((name for name in METRICS if all(row.get(name) for row in ended)), METRICS[1])
    scored = [row for row in ended if row.get(metric) not in (None, "")]
    if not scored:
        columns = sorted({key for row in ended for key in row if "mAP" in key})
        raise OptionError(f"no run has {metric!r}; there are {', '.join(columns)}.")
    write_text(page, _page(compare(scored, metric), metric, len(rows), len(rows) - len(scored)))
    return page


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


def _base(model: str) -> str | None:
    try:
        return registry.get_config(registry.split_tag(model)[0]).base_name
    except UnknownModelError:
        return None


def _costs(model: str, rows: Sequence[Row]) -> dict[str, float]:
    """Latency where every row has it; GFLOPs as registered."""
    costs = {}
    if all(row.get("latency_ms") for row in rows):
        costs["latency_ms"] = statistics.mean(float(row["latency_ms"]) for row in rows)
    if _base(model):
        costs["gflops"] = registry.model_info(model).gflops
    return costs


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .75rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
.note { color: #666; font-size: 13px; }
svg text { font: 12px system-ui, sans-serif; fill: #333; }
"""


def _page(compared: Mapping[str, list[Line]], metric: str, total: int, left_out: int) -> str:
    parts = [_section(title, lines, metric) for title, lines in compared.items()]
    missing = f" {left_out} of them did not end or lack the metric and are left out." if left_out else ""
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Models compared</title>'
        f"<style>{_STYLE}</style></head><body><h1>Models compared</h1>"
        f'<p class="note">{html.escape(metric)} of {total} runs.{missing} Mean and 95 % interval over seeds '
        "(Student's t); one seed has no interval. The difference is to the plain base under the same seed, with the "
        "interval and the two-sided p of the paired t test, not corrected for the number of models.</p>"
        f"{''.join(parts)}</body></html>\n"
    )


def _section(title: str, lines: Sequence[Line], metric: str) -> str:
    shown = [key for key in COSTS if any(key in line.costs for line in lines)]
    header = ["model", "seeds", metric, "difference to base", "p", *(COSTS[key] for key in shown)]
    body = [
        [
            html.escape(line.model),
            str(line.score.count),
            _number(line.score),
            _number(line.difference, signed=True) if line.difference else "",
            "" if line.p is None else "&lt; 0.001" if line.p < 0.001 else f"{line.p:.3f}",
            *(f"{line.costs[key]:.1f}" if key in line.costs else "" for key in shown),
        ]
        for line in lines
    ]
    table = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in body)
    plots = [_scatter([line for line in lines if key in line.costs], key, metric) for key in shown]
    return (
        f"<h2>{html.escape(title)}</h2><table><thead><tr>{''.join(f'<th>{html.escape(cell)}</th>' for cell in header)}"
        f"</tr></thead><tbody>{table}</tbody></table>{''.join(plots)}"
    )


def _number(estimate: Estimate, signed: bool = False) -> str:
    text = f"{estimate.mean:+.4f}" if signed else f"{estimate.mean:.4f}"
    return text if estimate.half is None else f"{text} &plusmn; {estimate.half:.4f}"


def _scatter(lines: Sequence[Line], cost: str, metric: str) -> str:
    """Score against cost as inline SVG: bars are intervals, and lines lead from a plain base to its grafts."""
    width, height, left, right, top, bottom = 760, 380, 70, 130, 16, 44
    highs = [line.score.mean + (line.score.half or 0) for line in lines]
    lows = [line.score.mean - (line.score.half or 0) for line in lines]
    x_ticks = _ticks(min(line.costs[cost] for line in lines), max(line.costs[cost] for line in lines))
    y_ticks = _ticks(min(lows), max(highs))

    def x(value: float) -> float:
        return left + (value - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (width - left - right)

    def y(value: float) -> float:
        return height - bottom - (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (height - top - bottom)

    def segment(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
        return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'

    drawn = [segment(left, y(tick), width - right, y(tick), "#e5e5e5") for tick in y_ticks]
    drawn += [f'<text x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.4g}</text>' for tick in y_ticks]
    drawn += [
        f'<text x="{x(tick):.1f}" y="{height - bottom + 18}" text-anchor="middle">{tick:.4g}</text>' for tick in x_ticks
    ]
    drawn.append(f'<text x="{(left + width - right) / 2}" y="{height - 6}" text-anchor="middle">{COSTS[cost]}</text>')
    plain = {line.model: line for line in lines if _base(line.model) == line.model}
    for line in lines:
        base = plain.get(_base(line.model) or "")
        if base is not None and base is not line:
            drawn.append(
                segment(x(base.costs[cost]), y(base.score.mean), x(line.costs[cost]), y(line.score.mean), "#bbb")
            )
    for line in lines:
        colour = "#555" if line.model in plain else "#c2410c"
        px, py = x(line.costs[cost]), y(line.score.mean)
        if line.score.half is not None:
            low, high = line.score.mean - line.score.half, line.score.mean + line.score.half
            drawn.append(segment(px, y(low), px, y(high), colour))
        drawn.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4.5" fill="{colour}"/>')
    drawn += _labels([(x(line.costs[cost]), y(line.score.mean), line.model) for line in lines])
    label = html.escape(f"{metric} against {COSTS[cost]}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'aria-label="{label}"><title>{label}</title>{"".join(drawn)}</svg>'
    )


def _labels(points: Sequence[tuple[float, float, str]]) -> list[str]:
    """A name beside each point, on the first side where it is near no other point and covers no name before it."""
    drawn: list[tuple[float, float, float]] = []
    texts = []
    sides = [(dx, dy) for dy in (-6, 14, -20, 28) for dx in (8, -8)]
    for px, py, name in points:
        wide = 7.0 * len(name)

        def box(dx: float, dy: float, px: float = px, py: float = py, wide: float = wide) -> tuple[float, float, float]:
            return (px + dx if dx > 0 else px + dx - wide), py + dy, wide

        def free(candidate: tuple[float, float, float], own: tuple[float, float] = (px, py)) -> bool:
            left, bottom, wide = candidate
            return (
                left > 0
                and all(
                    left + wide < other or other + width < left or abs(bottom - height) > 12
                    for other, height, width in drawn
                )
                and not any(
                    left - 6 < qx < left + wide + 6 and bottom - 14 < qy < bottom + 8
                    for qx, qy, _ in points
                    if (qx, qy) != own
                )
            )

        dx, dy = next((side for side in sides if free(box(*side))), sides[0])
        drawn.append(box(dx, dy))
        anchor = "start" if dx > 0 else "end"
        texts.append(f'<text x="{px + dx:.1f}" y="{py + dy:.1f}" text-anchor="{anchor}">{html.escape(name)}</text>')
    return texts


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers that enclose a range."""
    magnitude = max(abs(low), abs(high), 1e-9)
    span = high - low if high - low > 1e-9 * magnitude else magnitude
    rough = span / 4
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    first = math.floor(low / step)
    last = max(math.ceil(high / step), first + 1)
    return [index * step for index in range(first, last + 1)]
