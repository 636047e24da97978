"""Write what is generated: blocks of Markdown files, the drawing and the page of `docs/`.

Run: `python -m benchmarks.tables`, or `make tables`. A block stands between `<!-- NAME: generated -->` and
`<!-- end -->`, within a line or around lines. The names, some with arguments:

- `families`, `models`, `weights`: tables from the registry, `results/` and the manifest
- `comparison`: one table a data set from the rows of `results/`, runs from scratch alone
- `comparison DATA COLUMN...`: one data set, with other columns of `zoo.report.comparison.COLUMNS`
- `differences ROLE`: models by data sets, to the `base`, the `widened` base or the next scale, `larger`
- `number DATA MODEL COLUMN`: one cell, for use within a sentence
- `pretrained DATA COLUMN...`: one data set, of runs that trained the whole model from base weights
- `against DATA REGIME MODEL CONTROL`: one cell, of runs from base weights; the regime is full, frozen or norm
- `adapters DATA`: of runs over a frozen base, how far they go from the head alone to the whole model
- `coco`: the weights tagged `coco` and the bases they started from, on images they never saw
"""

from __future__ import annotations

import csv
import re
import statistics
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import zoo
from zoo import records
from zoo.config import BASES, SCALES
from zoo.files import write_text
from zoo.info import exports
from zoo.places import layers, named, read
from zoo.report import page, runs
from zoo.report.comparison import COLUMNS, Comparison, Line, Timing, compare
from zoo.report.runs import Run
from zoo.report.statistics import Estimate
from zoo.weights import manifest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
ANALYSIS = ROOT / "docs" / "ANALYSIS.md"
METRIC = "val_mAP50-95"
SHOWN = ("model", "seeds", "score", "base", "widened", "params", "gflops", "ms")


def families() -> str:
    """One row a family: where its grafts sit, and the range over the scales of what they add."""
    rows = []
    for base in BASES:
        for suffix in (name.removeprefix(f"{base}n") for name in zoo.list_models(f"{base}n*")):
            infos = [zoo.model_info(f"{base}{scale}{suffix}") for scale in SCALES]
            table = layers(read(infos[0].config))
            places = [named(graft.position, table) for graft in infos[0].grafts]
            params = [info.params / info.base_params - 1 for info in infos]
            gflops = [info.gflops / info.base_gflops - 1 for info in infos]
            added = [_range(shares) if places else "" for shares in (params, gflops)]
            tags = sorted({tag for info in infos for tag in info.tags})
            exported = exports(infos[0].name)
            failed = {row["format"] for row in exported if row["ok"] != "yes"}
            works = [fmt for fmt in dict.fromkeys(row["format"] for row in exported) if fmt not in failed]
            row = [f"`{base}*{suffix}`", ", ".join(places) or "none", *added, ", ".join(works), ", ".join(tags)]
            rows.append(row)
    return _table(["names", "grafts on", "added parameters", "added GFLOPs", "exports", "weights"], rows)


def models() -> str:
    """One row a registered name."""
    rows = []
    for name in zoo.list_models():
        info = zoo.model_info(name)
        rows.append([f"`{name}`", f"{info.params / 1e6:.2f}", f"{info.gflops:.1f}", ", ".join(info.tags)])
    return _table(["name", "parameters, M", "GFLOPs", "weights"], rows)


def weights() -> str:
    """One row for each set of trained weights, with the metrics of its manifest entry."""
    rows = []
    for name in zoo.list_models(pretrained=True):
        entry = manifest.entries()[name]
        row = [f"`{name}`", entry.dataset, str(entry.num_classes), str(entry.imgsz), f"{entry.bytes / 1e6:.1f}"]
        for split in ("val", "test"):
            scores = entry.metrics.get(split, {})
            row += [f"{scores[metric]:.3f}" if metric in scores else "" for metric in ("mAP50", "mAP50-95")]
        rows.append(row)
    header = ["weights", "data", "classes", "px", "MB", "val mAP50", "mAP50-95", "test mAP50", "mAP50-95"]
    return _table(header, rows)


@lru_cache(maxsize=1)
def recorded() -> list[Run]:
    """Every recorded run."""
    return runs.read(sorted((ROOT / "results").glob("*.csv")))


@lru_cache(maxsize=1)
def comparisons() -> list[Comparison]:
    """Those of runs from scratch, which is what the protocol compares."""
    return compare([run for run in recorded() if not run.parent], METRIC, latency=latency())


@lru_cache(maxsize=1)
def started() -> list[Comparison]:
    """Those of runs from the weights of a plain base."""
    runs_ = [run for run in recorded() if run.parent]
    return compare(runs_, METRIC, latency=latency()) if runs_ else []


def latency() -> dict[str, Timing]:
    """Label to milliseconds of one 640 x 640 image, and to the ratio to the base; of a base the median of its runs."""
    file = ROOT / "results" / "benchmark_models.csv"
    if not file.is_file():
        return {}
    with file.open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if (row["batch"], row["imgsz"]) == ("1", "640")]
    bases: dict[str, list[float]] = {}
    for row in rows:
        bases.setdefault(row["base"], []).append(float(row["base_ms"]))
    timed: dict[str, Timing] = {name: (statistics.median(ms), None) for name, ms in bases.items()}
    for row in rows:
        label = f"{row['model']}, width {row['width']}" if row["width"] else row["model"]
        timed[label] = float(row["ms"]), float(row["ratio"])
    return timed


def comparison(data: str | None = None, *columns: str) -> str:
    """One table a data set, or one of one data set."""
    if data is None:
        return "\n".join(f"**{found.title}**\n\n{_compared(found, SHOWN)}" for found in comparisons())
    return _compared(_of(data), columns or SHOWN)


def differences(role: str) -> str:
    """One row a model, one column a data set."""
    lines = {found.data: {line.label: line.cells[role] for line in found.lines} for found in comparisons()}
    named = sorted({label for found in lines.values() for label, cell in found.items() if cell})
    body = [[f"`{label}`", *(found.get(label, "") for found in lines.values())] for label in named]
    return _table([COLUMNS[role], *lines], body)


def number(data: str, *words: str) -> str:
    """One cell of a comparison; the words are the model and the column."""
    model, column = " ".join(words[:-1]), words[-1]
    found = [line.cells[column] for line in _of(data).lines if line.label == model]
    if not found or not found[0]:
        raise ValueError(f"results/{data}.csv has no {column!r} of {model!r}.")
    return found[0]


def pretrained(data: str, *columns: str) -> str:
    """The whole model trained from base weights."""
    found = [each for each in started() if each.data == data and not each.runs[0].freeze_base]
    return "".join(_compared(each, columns or SHOWN) for each in found) or "No run is recorded.\n"


def adapters(data: str) -> str:
    """One row a model and way of freezing; the share is of the way from the head alone to the whole plain model."""
    lines = [(each.runs[0].freeze_base, line) for each in started() if each.data == data for line in each.lines]
    plain = {(frozen, line.runs[0].base): line for frozen, line in lines if line.runs and not line.runs[0].grafts}
    rows = []
    for frozen, line in lines:
        if not frozen or not line.runs:
            continue
        ends = [_scores(plain.get((way, line.runs[0].base))) for way in (True, False)]
        own = _scores(line)
        shares = [
            (own[seed] - ends[0][seed]) / (ends[1][seed] - ends[0][seed])
            for seed in own
            if all(seed in end for end in ends)
        ]
        is_an_end = line is plain.get((True, line.runs[0].base))
        trained = line.runs[0].parameters_trained
        rows.append(
            [
                f"`{line.label}`",
                "adapts" if frozen == "norm" else "fixed",
                f"{trained / 1e3:.0f}" if trained else "",
                f"{trained / whole:.0%}" if trained and (whole := line.runs[0].parameters) else "",
                line.cells["seeds"],
                line.cells["score"],
                line.cells["base"],
                "" if is_an_end else _share(shares),
            ]
        )
    heads = ["model", "BatchNorm", "trained, k", "of all", "seeds", "mAP50-95", "against plain, alike", "way closed"]
    return _table(heads, rows) if rows else "No run is recorded.\n"


def coco() -> str:
    """One row a model, its mAP50-95 and what that is against its base at each size."""
    rows = records.read(ROOT / "results" / "coco_weights.csv")
    places = list(dict.fromkeys((row["data"], row["images"], row["imgsz"]) for row in rows))
    found = {(row["model"], row["data"], row["images"], row["imgsz"]): row for row in rows}
    body = []
    for name in dict.fromkeys(row["model"] for row in rows):
        cells = [f"`{name}`"]
        for place in places:
            row = found[(name, *place)]
            cells += [f"{float(row['mAP50-95']):.3f}", f"{float(row['minus_base']):+.3f}" if "." in name else ""]
        body.append(cells)
    heads = [
        head
        for data, images, imgsz in places
        for head in (f"{images} images of {data}, {imgsz} px", "against its base")
    ]
    return _table(["weights", *heads], body) if rows else "Not measured yet.\n"


def against(data: str, regime: str, model: str, control: str) -> str:
    """How a model compares with another, both from base weights and trained alike: `full`, `frozen` or `norm`."""
    ways = {"full": False, "frozen": True, "norm": "norm"}
    alike = [run for run in recorded() if run.parent and run.data["name"] == data and run.freeze_base == ways[regime]]
    if not {model, control} <= {run.label for run in alike if run.status == "ended"}:
        return "not run"
    pair = [run for run in alike if run.label in {model, control}]
    [found] = compare(pair, METRIC, control=control)
    return next(line.cells["control"] or "no common seed" for line in found.lines if line.label == model)


def _scores(line: Line | None) -> dict[int, float]:
    return {run.seed: float(run.score("mAP50-95", "val") or 0) for run in (line.runs if line else ())}


def _share(shares: Sequence[float]) -> str:
    if not shares:
        return ""
    found = Estimate.of(shares)
    return f"{found.mean:.0%}" + (f" \N{PLUS-MINUS SIGN} {found.half:.0%}" if found.half is not None else ", one seed")


def _of(data: str) -> Comparison:
    found = [each for each in comparisons() if each.data == data]
    if len(found) != 1:
        raise ValueError(f"there are {len(found)} comparisons on {data!r}, not one.")
    return found[0]


def _compared(found: Comparison, columns: Sequence[str]) -> str:
    """The columns in which anything is known."""
    cells = [line.cells | {"model": f"`{line.label}`"} for line in found.lines]
    shown = [column for column in columns if any(each[column] for each in cells)]
    return _table([found.heads[column] for column in shown], [[each[column] for column in shown] for each in cells])


BLOCKS = {
    function.__name__: function
    for function in (families, models, weights, comparison, differences, number, pretrained, against, adapters, coco)
}


def render(text: str) -> str:
    """Fill the blocks of a text.

    Raises:
        ValueError: A block has no end, an unknown name or arguments for which there is nothing.
    """
    if text.count(": generated -->") != text.count("<!-- end -->"):
        raise ValueError("the text has a block without its end, or an end without its block.")

    def fill(match: re.Match[str]) -> str:
        name, *arguments = match[2].split()
        if name not in BLOCKS:
            raise ValueError(f"no block is called {name!r}; there are {', '.join(BLOCKS)}.")
        return f"{match[1]}{match[3]}{BLOCKS[name](*arguments)}<!-- end -->"

    return re.sub(r"(<!-- ([^>]+): generated -->)(\n?).*?<!-- end -->", fill, text, flags=re.DOTALL)


# Every generated file and what makes its text.
OUTPUTS: dict[Path, Callable[[], str]] = {
    README: lambda: render(README.read_text(encoding="utf-8")),
    ANALYSIS: lambda: render(ANALYSIS.read_text(encoding="utf-8")),
    ROOT / "docs" / "comparison.svg": lambda: page.plot(comparisons(), ["gflops"]),
    ROOT / "docs" / "report.html": lambda: page.render(compare(recorded(), METRIC, latency=latency())),
}


def _range(shares: Sequence[float]) -> str:
    low, high = f"{min(shares):.1%}", f"{max(shares):.1%}"
    return low if low == high else f"{low} to {high}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    for path, text in OUTPUTS.items():
        write_text(path, text())
