"""What a card says of a model: from the registry, `results/` and the record of a training. No torch here."""

from __future__ import annotations

import csv
import re
import shlex
import statistics
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from zoo import assets, places
from zoo.config import ModelConfig
from zoo.errors import DataError
from zoo.info import ModelInfo, model_info
from zoo.layers.mechanisms import MECHANISMS
from zoo.names import parse
from zoo.registry import get_config
from zoo.report import runs
from zoo.report.comparison import METRIC, SIZES, Comparison, Line, compare
from zoo.report.runs import Run
from zoo.report.statistics import Estimate
from zoo.weights.manifest import Entry

# By the verdict of a difference against the plain base.
_VERDICTS = {
    "better": "Against the plain base, the attention helped here.",
    "worse": "Against the plain base, the attention did harm here.",
    "no difference shown": "Against the plain base, the attention made no difference that these seeds show.",
    "one seed": "One seed cannot say whether the attention helps.",
    "unknown": "The plain base was not trained under the same seeds: whether the attention helps is not known.",
}
_RECIPE = re.compile(r"reproduce[ /](\w+)")
_ROLES = {"base": "plain base", "widened": "widened base"}


def what(config: ModelConfig, dataset: str = "") -> str:
    """Base, grafts and where they sit, the mechanism and its paper."""
    base = f"Ultralytics {config.base_name.replace('yolo', 'YOLO', 1)}"
    trained = f", trained on {dataset}" if dataset else ""
    if not config.grafts:
        return f"{base}{trained}, without attention grafts: the control that comparisons need."
    table = places.layers(places.read(config))
    names = dict.fromkeys(graft.block for graft in config.grafts)
    grafted = []
    for name in names:
        at = joined([places.named(graft.position, table) for graft in config.grafts if graft.block == name])
        block = MECHANISMS[name].name if name in MECHANISMS else f"`{name}`, a block of the author's own,"
        grafted.append(f"{block} grafted on {at}")
    ideas = [_idea(name, "The mechanism" if len(names) == 1 else f"`{name}`") for name in names if name in MECHANISMS]
    return (
        f"{base} with {joined(grafted)}{trained}. {' '.join(ideas)}\n\n"
        f"A graft is `y = x + gamma * block(x)` with one gamma a channel, zero at birth: untrained, the model computes "
        f"what its base does, and all of the base's tensors keep their names."
    )


def _idea(block: str, label: str) -> str:
    mechanism = MECHANISMS[block]
    paper = mechanism.paper
    source = f" ([{paper.title}]({paper.link}), {paper.year})" if paper else ""
    return f"{label}: {mechanism.idea}{source}."


def size(info: ModelInfo) -> dict[str, Any]:
    """Parameters and operations, and what was timed."""
    rows = [[info.name, f"{info.params / 1e6:.3f}", f"{info.gflops:.2f}"]]
    if info.grafts:
        rows = [[f"{info.base} (base)", f"{info.base_params / 1e6:.3f}", f"{info.base_gflops:.2f}"], *rows]
        params, gflops = info.params / info.base_params - 1, info.gflops / info.base_gflops - 1
        rows.append(["added", f"{params:+.1%}", f"{gflops:+.1%}"])
    text = "With 80 classes, at 640 x 640 pixels, counted by `torch.utils.flop_counter`."
    return {"text": text, "head": ["model", "parameters, M", "GFLOPs"], "rows": rows, "latency": _latency(info)}


def _latency(info: ModelInfo) -> list[str]:
    """A sentence for each batch size that `benchmarks/models.py` has measured, of the family where it is another."""
    timed = [row for row in _table("benchmark_models") if not row["width"]]
    rows = [row for row in timed if _family(row["model"]) == _family(info.name)]
    own = [row for row in rows if row["model"] == info.name]
    said = [
        f"A batch of {row['batch']} at {row['imgsz']} pixels takes {row['ms']} ms, {row['ratio']} times the "
        f"{row['base_ms']} ms of the base in the same run (fused, channels-last, {row['threads']} threads of "
        f"{row['machine']}, torch {row['torch']})."
        for row in own
    ]
    if rows and not own and info.grafts:
        row = rows[0]
        said.append(
            f"Not timed at this scale. `{row['model']}` takes {row['ratio']} times as long as its base for a batch of "
            f"{row['batch']} at {row['imgsz']} pixels ({row['threads']} threads of {row['machine']})."
        )
    return said


def of_weights(config: ModelConfig, tag: str, entry: Entry) -> list[dict[str, Any]]:
    """What the recorded runs of a model and of its controls say about the attention, a part for each way to train."""
    beside_base = [row for row in _table("coco_weights") if row["model"] == f"{config.name}.{tag}"]
    if beside_base:
        compared = [
            f"{row['images']} validation images of {row['data']} at {row['imgsz']} pixels: {METRIC} "
            f"{float(row['mAP50-95']):.3f}, {float(row['minus_base']):+.3f} against the plain base"
            for row in beside_base
        ]
        return [
            {"text": "One run; base and head are the plain model's, the grafts alone were trained:", "said": compared}
        ]
    recipe = _RECIPE.search(entry.recipe)
    data = recipe[1] if recipe else tag
    found = [
        (each, line)
        for each in _comparisons(data)
        for line in each.lines
        if line.label == config.name and line.score and line.runs[0].imgsz == entry.imgsz
    ]
    if not found:
        said = f"`results/{data}.csv` records no complete run at this resolution; the value above is of one seed."
        return [{"text": said}]
    return [
        {
            "text": f"Over the seeds of `results/{data}.csv` ({each.title}), validation {METRIC} with 95 % intervals "
            "(`docs/PROTOCOL.md`):",
            "said": _said(line),
            "verdict": _verdict(line) if config.grafts else "",
        }
        for each, line in found
    ]


def of_family(config: ModelConfig) -> list[dict[str, Any]]:
    """What the recorded runs say of other scales of the same family, and how long they took."""
    said = []
    for file in _recorded():
        for each in _comparisons(file):
            for line in each.lines:
                if line.score and _is_of_family(line, config):
                    score, *rest = _said(line)
                    said.append("; ".join([score.replace(":", f" on {each.title}:", 1), *rest]))
    parts: list[dict[str, Any]] = []
    if said:
        text = f"Validation {METRIC} at the scales that were trained, over seeds with 95 % intervals:"
        parts.append({"text": text, "said": said})
    return [*parts, *({"text": text} for text in _training_cost(config))]


def _training_cost(config: ModelConfig) -> Iterable[str]:
    """What trainings of the family took, and how many more operations this scale has."""
    for file in _recorded():
        for each in _comparisons(file):
            for line in each.lines:
                seconds = [run.seconds for run in line.runs if run.seconds]
                if not seconds or not _is_of_family(line, config):
                    continue
                more = model_info(config.name).gflops / model_info(line.runs[0].model).gflops
                yield (
                    f"A training of {line.label} on {each.title} took {statistics.mean(seconds) / 3600:.2f} hours on "
                    f"{line.runs[0].machine or 'a machine that was not recorded'}; this model has {more:.1f} times its "
                    f"operations."
                )
                return


def _said(line: Line) -> list[str]:
    said = [f"{line.label}: {line.score}{_over(line.score)}"]
    for role, control in _ROLES.items():
        if found := line.differences.get(role):
            said.append(f"against the {control} ({found.control}), paired by seed: {found}{_over(found.gain)}")
    if line.shut:
        said.append(f"trained, then with every gate shut: {line.shut}{_over(line.shut)}")
    return said


def _verdict(line: Line) -> str:
    return _VERDICTS[line.differences["base"].verdict if "base" in line.differences else "unknown"]


def _over(estimate: Estimate | None) -> str:
    return f" ({estimate.count} seeds)" if estimate and estimate.count > 1 else ""


def training_of(run: Run) -> list[tuple[str, str]]:
    """How a run was trained, by name; paths of the machine are left out."""
    data, parent = run.data, run.parent
    images = ", ".join(f"{count} {split}" for split, count in data.get("images", {}).items())
    started = "random weights"
    if parent:
        started = f"{run.started_from} (sha256 {parent['sha256'] or 'unknown'})"
    frozen = {True: ", the base frozen", "norm": ", the base frozen but for its batch norms"}.get(run.freeze_base, "")
    versions = ", ".join(f"{name} {number}" for name, number in run.versions.items())
    facts = [
        ("Data", f"{data.get('name', '')}{f' ({images} images)' if images else ''}, fingerprint "
                 f"`{data.get('fingerprint', 'unknown')}`"),
        ("Started from", f"{started}{frozen}"),
        ("Command", f"`{command(run)}`"),
        ("Epochs", f"{run.epochs.get('done')} of {run.epochs.get('planned')}{', resumed' if run.resumed else ''}"),
        ("Settings", ", ".join(f"{key}={value.rpartition('/')[2]}" for key, value in run.shaping.items())),
        ("Parameters", f"{run.parameters:,}, {run.parameters_trained:,} of them trained" if run.parameters else ""),
        ("Operations", f"{run.gflops} GFLOPs an image of {run.imgsz} pixels" if run.gflops else ""),
        ("Gates", ", ".join(f"layer {layer}: {gate:.2g}" for layer, gate in run.gates.items() if gate is not None)),
        ("Time", f"{_lasted(run.seconds)} on {run.machine}" if run.seconds else ""),
        ("Speed", f"{run.images_per_second} images a second" if run.images_per_second else ""),
        ("Versions", versions),
        ("Commit of the zoo", run.commit or ""),
        ("Date", (run.started or "")[:10]),
    ]  # fmt: skip
    return [(name, text) for name, text in facts if text]


def _lasted(seconds: float) -> str:
    return f"{seconds / 3600:.2f} hours" if seconds >= 360 else f"{seconds:.0f} seconds"


def command(run: Run) -> str:
    """What trains the same again, but for the paths of data and weights."""
    settings = {"data": f"{run.data.get('name', 'data')}.yaml", "epochs": run.epochs.get("planned"), "imgsz": run.imgsz}
    model, pretrained = _started(run)
    if pretrained:
        settings["pretrained"] = pretrained
    if run.freeze_base:
        settings["freeze_base"] = run.freeze_base
    chosen = {key: run.settings[key] for key in ("batch", "optimizer", "lr0") if key in run.settings}
    pairs = [f"{key}={value}" for key, value in (settings | chosen | {"seed": run.seed}).items()]
    return shlex.join(["zoo", "train", model, *pairs])


def _started(run: Run) -> tuple[str, str]:
    """What `zoo train` takes as NAME and as `pretrained`, the latter empty where NAME brings its weights."""
    source = str((run.parent or {}).get("source") or "")
    if not source:
        return run.model, ""
    name = parse(source)
    if name.kind == "local-dir":
        return f"local-dir:{name.path.name}", ""
    if name.kind != "file":
        return source, ""
    loaded = Path(str(run.settings.get("model"))).name == run.started_from
    return (run.started_from, "") if loaded else (run.model, run.started_from)


def results_of(run: Run) -> list[dict[str, Any]]:
    """The metrics of the file, which is of the best epoch, and those of the last."""
    best = best_epoch(run)
    parts = []
    if best and best["epoch"] != run.epochs.get("done"):
        text = f"This file is of epoch {best['epoch']}, the best by validation, as Ultralytics measured it:"
        rows = [["val", name, _shown(best.get(name))] for name in (METRIC, "mAP50")]
        parts.append({"text": text, "head": ["split", "metric", "value"], "rows": rows})
    names = (METRIC, "mAP50", *SIZES)
    for split, scores in run.metrics.items():
        text = f"COCO metrics on {split} of the averaged weights of the last epoch:"
        rows = [["all", *(_shown(scores.get(name)) for name in names)]]
        rows += [
            [label, _shown(each.get(METRIC)), _shown(each.get("mAP50")), "", "", ""]
            for label, each in (scores.get("per_class") or {}).items()
        ]
        parts.append({"text": text, "head": ["class", *names], "rows": rows})
    said = "One training of one seed: whether the attention helps, only a comparison can say."
    return [*parts, {"text": said}] if run.grafts else parts


def best_epoch(run: Run) -> Mapping[str, Any] | None:
    """The epoch of `best.pt`; where a record does not say, the last with the highest mAP50-95 on validation."""
    if (best := run.epochs.get("best")) is not None:
        return next((epoch for epoch in run.history if epoch["epoch"] == best), None)
    known = [epoch for epoch in reversed(run.history) if epoch.get(METRIC) is not None]
    return max(known, key=lambda epoch: epoch[METRIC], default=None)


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _is_of_family(line: Line, config: ModelConfig) -> bool:
    """Whether a model that was trained is this one at some scale, of stock width."""
    return bool(line.runs) and not line.runs[0].width and _family(line.runs[0].model) == _family(config.name)


def _family(name: str) -> tuple[str, str]:
    """Base without its scale, and what is grafted: `yolov8s_dattn` and `yolov8n_dattn` are alike."""
    config = get_config(name)
    return config.base, config.name.removeprefix(config.base_name)


def _table(name: str) -> list[dict[str, str]]:
    file = assets.root() / "results" / f"{name}.csv"
    if not file.is_file():
        return []
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def _recorded() -> list[str]:
    """Data sets with recorded runs."""
    return sorted(file.stem for file in (assets.root() / "results").glob("*.csv") if _comparisons(file.stem))


def _comparisons(data: str) -> Sequence[Comparison]:
    file = assets.root() / "results" / f"{data}.csv"
    return _compared(file, file.stat().st_mtime_ns) if file.is_file() else ()


@lru_cache(maxsize=64)
def _compared(file: Path, written: int) -> Sequence[Comparison]:
    try:
        recorded = [run for run in runs.read([file]) if run.status == "ended"]
        return compare(recorded, f"val_{METRIC}") if recorded else ()
    except DataError:
        return ()


def joined(words: Sequence[str]) -> str:
    """As in a sentence."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
