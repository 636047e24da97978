"""Model cards: generated from the registry, the manifest and `results/`, never written by hand. No torch here."""

from __future__ import annotations

import csv
from pathlib import Path

from zoo import assets, places, registry
from zoo.config import ModelConfig
from zoo.errors import DataError
from zoo.files import write_text
from zoo.info import ModelInfo, model_info
from zoo.layers.mechanisms import MECHANISMS
from zoo.names import parse
from zoo.report import comparison, drawing, runs, statistics
from zoo.weights import manifest
from zoo.weights.manifest import Entry


def path(name: str) -> Path:
    """The card's file."""
    return assets.root() / "cards" / f"{name}.md"


def names() -> list[str]:
    """What has a card: every entry of the manifest, and every architecture without weights."""
    return [name for arch in registry.names() for name in [f"{arch}.{tag}" for tag in manifest.tags(arch)] or [arch]]


def render(name: str, repo_id: str | None = None) -> str:
    """The card of trained weights (`"<architecture>.<tag>"`) or of an architecture, as Markdown.

    Args:
        name: What `names` lists.
        repo_id: For the card in that repository of the Hub, which cannot name its own commit.

    Raises:
        UnknownModelError: No such model.
        UnknownTagError: No such tag of the model.
        NoWeightsError: A tag of a model that has none.
    """
    architecture, tag = parse(name).architecture, parse(name).tag
    config, info = registry.get_config(architecture), model_info(architecture)
    if tag is None:
        sections = [_what(config), _drawing(config), _size(info), _UNTRAINED, _use_untrained(architecture)]
        return _card(name, config, [*sections, _licence(config), _citation(config)])
    _, entry = manifest.find(name)
    sections = [
        _what(config, entry),
        _drawing(config),
        _size(info),
        _training(entry),
        _results(config, tag, entry),
        _limits(entry),
        _use(name, entry, repo_id),
        _licence(config, entry),
        _citation(config),
    ]
    return _card(name, config, sections, entry)


def render_model(config: ModelConfig, name: str) -> str:
    """The card of somebody's own model, which `zoo.create(name)` loads; it claims no metrics."""
    use = f"""## How to load it

```python
import zoo

model = zoo.create("{name}")
```"""
    classes = f"Classes: {', '.join(config.class_names)}." if config.class_names else f"Classes: {config.num_classes}."
    return _card(
        config.name, config, [_what(config), classes, _drawing(config), use, _licence(config), _citation(config)]
    )


def write(name: str | None = None) -> list[Path]:
    """Write the card of `name`, or every card, and delete the cards of what is gone.

    Raises:
        UnknownModelError: No such model.
        UnknownTagError: No such tag of the model.
        NoWeightsError: A tag of a model that has none.
    """
    wanted = names()
    written = []
    for each in wanted if name is None else [name]:
        write_text(path(each), render(each))
        written.append(path(each))
    for card in (assets.root() / "cards").glob("*.md"):
        if card.stem not in wanted:
            card.unlink()
    return written


def _card(name: str, config: ModelConfig, sections: list[str], entry: Entry | None = None) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    data = ModelCardData(
        license="agpl-3.0",
        library_name="yolo-attention-zoo",
        pipeline_tag="object-detection",
        tags=["yolo", "attention", *sorted({graft.block for graft in config.grafts})],
        model_name=name,
        eval_results=[
            EvalResult("object-detection", entry.dataset.lower(), entry.dataset, metric, value, dataset_split=split)
            for split, values in entry.metrics.items()
            for metric, value in values.items()
        ]
        if entry
        else None,
    )
    return "\n\n".join([f"---\n{data.to_yaml()}\n---", f"# {name}", *filter(None, sections)]) + "\n"


def _what(config: ModelConfig, entry: Entry | None = None) -> str:
    base = f"Ultralytics {config.base_name.replace('yolo', 'YOLO', 1)}"
    trained = f", trained on {entry.dataset}" if entry else ""
    if not config.grafts:
        return f"{base}{trained}, without attention grafts: the control that comparisons need."
    table = places.layers(places.read(config))
    names = dict.fromkeys(graft.block for graft in config.grafts)
    grafted = []
    for name in names:
        at = _join([places.named(graft.position, table) for graft in config.grafts if graft.block == name])
        what = MECHANISMS[name].name if name in MECHANISMS else f"`{name}`, a block of the author's own,"
        grafted.append(f"{what} grafted on {at}")
    ideas = [_idea(name, "The mechanism" if len(names) == 1 else f"`{name}`") for name in names if name in MECHANISMS]
    return (
        f"{base} with {_join(grafted)}{trained}. {' '.join(ideas)}\n\n"
        f"A graft is `y = x + gamma * block(x)` with one gamma a channel, zero at birth: untrained, the model computes "
        f"what its base does, and all of the base's tensors keep their names."
    )


def _idea(block: str, label: str) -> str:
    mechanism = MECHANISMS[block]
    paper = mechanism.paper
    source = f" ([{paper.title}]({paper.link}), {paper.year})" if paper else ""
    return f"{label}: {mechanism.idea}{source}."


def _drawing(config: ModelConfig) -> str:
    return f"## {'Where the graft sits' if config.grafts else 'The layers'}\n\n{drawing.draw(config)}"


def _size(info: ModelInfo) -> str:
    rows = [f"| {info.name} | {info.params / 1e6:.3f} | {info.gflops:.2f} |"]
    if info.grafts:
        rows = [f"| {info.base} (base) | {info.base_params / 1e6:.3f} | {info.base_gflops:.2f} |", *rows]
        params, gflops = info.params / info.base_params - 1, info.gflops / info.base_gflops - 1
        rows += [f"| added | {params:+.1%} | {gflops:+.1%} |"]
    table = "\n".join(["| model | parameters, M | GFLOPs |", "|---|---|---|", *rows])
    size = f"## Size\n\nWith 80 classes, at 640 x 640 pixels, counted by `torch.utils.flop_counter`.\n\n{table}"
    return "\n\n".join([size, *_latency(info)])


def _latency(info: ModelInfo) -> list[str]:
    """A sentence for each batch size that `benchmarks/models.py` has measured."""
    file = assets.root() / "results" / "benchmark_models.csv"
    if not file.is_file():
        return []
    with file.open(newline="") as lines:
        return [
            f"A batch of {row['batch']} at {row['imgsz']} pixels takes {row['ms']} ms, {row['ratio']} times the "
            f"{row['base_ms']} ms of the base in the same run (fused, channels-last, {row['threads']} threads of "
            f"{row['machine']}, torch {row['torch']})."
            for row in csv.DictReader(lines)
            if (row["model"], row["width"]) == (info.name, "")
        ]


def _training(entry: Entry) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in entry.versions.items())
    started = entry.started_from and f"\n- Started from {entry.started_from}"
    return f"""## Training

- Data: {entry.dataset}{entry.dataset_source and f": {entry.dataset_source}"}
- Classes: {", ".join(entry.class_names)}
- Resolution: {entry.imgsz} pixels{started}
- Command, at commit `{entry.commit}`: `{entry.recipe}`
- Versions: {versions or "not recorded"}"""


def _results(config: ModelConfig, tag: str, entry: Entry) -> str:
    rows = [
        f"| {split} | {metric} | {value:.3f} |"
        for split, values in entry.metrics.items()
        for metric, value in values.items()
    ]
    shipped = "\n".join(["| split | metric | value |", "|---|---|---|", *rows])
    return f"## Results\n\nOf this very file, as stored in fp16:\n\n{shipped}\n\n{_seeds(config, tag, entry.imgsz)}"


def _seeds(config: ModelConfig, tag: str, imgsz: int) -> str:
    """What the recorded runs of this model and of its controls say about the attention."""
    try:
        recorded = runs.read([assets.root() / "results" / f"{tag}.csv"])
    except DataError:
        recorded = []
    alike = [run for run in recorded if run.imgsz == imgsz and not run.parent and run.status == "ended"]
    compared = comparison.compare(alike, "val_mAP50-95") if alike else []
    lines = {line.label: line for each in compared for line in each.lines}
    own = lines.get(config.name)
    if own is None or own.score is None:
        return f"`results/{tag}.csv` records no complete run at this resolution; the value above is of one seed."
    said = [
        f"Over the seeds of `results/{tag}.csv`, validation mAP50-95 with 95 % intervals (`docs/PROTOCOL.md`):\n",
        f"- {config.name}: {own.score}{_over(own.score)}",
    ]
    for role, control in (("base", "plain base"), ("widened", "widened base")):
        if role in own.differences:
            found = own.differences[role]
            said.append(f"- against the {control} ({found.control}), paired by seed: {found}{_over(found.gain)}")
    if own.shut:
        said.append(f"- trained, then with every gate shut: {own.shut}{_over(own.shut)}")
    if not config.grafts:
        return "\n".join(said)
    verdict = own.differences["base"].verdict if "base" in own.differences else "unknown"
    return "\n".join([*said, "", _VERDICTS[verdict]])


# By the verdict of `zoo.report.statistics.Difference` against the plain base.
_VERDICTS = {
    "better": "Against the plain base, the attention helped here.",
    "worse": "Against the plain base, the attention did harm here.",
    "no difference shown": "Against the plain base, the attention made no difference that these seeds show.",
    "one seed": "One seed cannot say whether the attention helps.",
    "unknown": "The plain base was not trained under the same seeds: whether the attention helps is not known.",
}


def _over(estimate: statistics.Estimate) -> str:
    return f" ({estimate.count} seeds)" if estimate.count > 1 else ""


def _limits(entry: Entry) -> str:
    return f"""## Intended use and limits

For detecting its {entry.num_classes} classes in images like those of {entry.dataset}, as a starting point for
fine-tuning, and for comparing attention mechanisms. It has seen nothing else: on other images, or at sizes far from
{entry.imgsz} pixels, expect worse, and measure before you rely on it. Not for medical, safety or surveillance
decisions."""


_UNTRAINED = "## Results\n\nNo trained weights of this architecture are published, so there is nothing to claim."


def _use(name: str, entry: Entry, repo_id: str | None) -> str:
    architecture, tag = parse(name).architecture, parse(name).tag
    pushed = [repo_id] if repo_id else [s.removeprefix("hf:") for s in entry.sources if s.startswith("hf:")]
    from_hub = f'\nmodel = zoo.create("hf-hub:{pushed[0]}")  # the same, from the Hub' if pushed else ""
    default = f'model = torch.hub.load("<checkout>", "{architecture}", source="local", pretrained=True)'
    comment = "" if tag == manifest.tags(architecture)[0] else "  # loads the default tag, not this one"
    return f"""## How to load it

```python
import zoo

model = zoo.create("{name}", pretrained=True)  # a torch.nn.Module{from_hub}
zoo.YOLO("{name}", pretrained=True).predict("image.jpg")  # the Ultralytics engine
```

```python
import torch

{default}{comment}
```

```
zoo predict {name} image.jpg
```"""


def _use_untrained(architecture: str) -> str:
    base = registry.get_config(architecture).base_name
    return f"""## How to load it

```python
import zoo

model = zoo.create("{architecture}", num_classes=3)  # randomly initialised
model = zoo.create("{architecture}", base_weights="{base}.pt")  # official weights of the base underneath
zoo.YOLO("{architecture}").train(data="my.yaml")
```"""


def _licence(config: ModelConfig, entry: Entry | None = None) -> str:
    lines = ["- Code: AGPL-3.0-or-later, as Ultralytics, on which it builds"]
    if entry:
        lines += [f"- Weights: {entry.license}", f"- Data: {entry.dataset_license or 'see the data set'}"]
    return "\n".join(["## Licence", "", *lines])


def _citation(config: ModelConfig) -> str:
    papers = dict.fromkeys(MECHANISMS[graft.block].paper for graft in config.grafts if graft.block in MECHANISMS)
    entries = []
    for paper in filter(None, papers):
        key = paper.authors.split(" and ")[0].split()[-1].lower()
        entries.append(f"""@article{{{key}{paper.year},
  title = {{{paper.title}}},
  author = {{{paper.authors}}},
  journal = {{{paper.journal}}},
  year = {{{paper.year}}}
}}
""")
    if not entries:
        return ""
    return "## Citation\n\n```bibtex\n" + "".join(entries) + "```"


def _join(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
