"""The page of mechanisms: formula, drawings, cost and measurements of every block, made when the site is built."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from latex2mathml.converter import convert
from matplotlib.figure import Figure
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from torch.utils.flop_counter import FlopCounterMode

import zoo
from benchmarks.tables import METRIC, comparisons, started
from reproduce.datasets import digits
from zoo.explain import drawing
from zoo.layers import blocks
from zoo.layers.mechanisms import MECHANISMS, Mechanism
from zoo.registry import get_config
from zoo.weights import manifest

RESULTS = Path(__file__).parents[1] / "results"
MARK = "<!-- mechanisms -->"
FOLDER = "assets/mechanisms"
BASE = "yolov8n_dattn.digits"
"""Weights whose stock layers are under the blocks that nobody has trained."""
PLACES = {"hat_stem": "image"}
PLACE = "neck_p3"
SIDE, IMGSZ = (240, 320), 320
P4, IMAGE = (128, 40, 40), (3, 640, 640)
"""Channels and sides of what costs are counted on: of yolov8n, at 640 pixels."""


@dataclass(frozen=True)
class Picture:
    """One drawing: its file under `docs/`, what is above it, and its content."""

    file: str
    title: str
    content: bytes


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the drawings."""
    for name in MECHANISMS:
        for picture in drawn(name)[0]:
            files.append(File.generated(config, picture.file, content=picture.content))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Write a section for every block."""
    if MARK not in markdown:
        return markdown
    return markdown.replace(MARK, "\n\n".join((_overview(), *map(_section, MECHANISMS))))


@cache
def drawn(name: str) -> tuple[list[Picture], str]:
    """What a block says it looks at, in a scene that the repository generates, and which weights it has there.

    Of a block that says nothing, how much it changes each place.
    """
    model, weights = _model(name)
    scene = digits.compose("test", 0, shape=SIDE)
    assert scene.pixels is not None
    digit = max(scene.boxes, key=lambda box: box.w * box.h)
    middle = digit.x + digit.w / 2, digit.y + digit.h / 2
    found = zoo.attention(model, scene.pixels[..., ::-1], at=middle, imgsz=IMGSZ)
    change, *parts = drawing.graft_panels(found, found.looks[0])
    pictures = []
    for number, panel in enumerate(parts or [change]):
        figure = Figure(figsize=(drawing.PANEL, drawing.PANEL * 0.75), layout="constrained")
        axes = figure.add_subplot()
        panel(axes)
        title = axes.get_title().replace("\n", ": ")
        axes.set_title("")
        content = io.BytesIO()
        figure.savefig(content, format="webp", dpi=120, bbox_inches="tight", pil_kwargs={"quality": 80})
        pictures.append(Picture(f"{FOLDER}/{name}-{number}.webp", title, content.getvalue()))
    return pictures, weights


def _model(name: str) -> tuple[torch.nn.Module, str]:
    for tagged, entry in manifest.entries().items():
        if entry.dataset == "digits" and {graft.block for graft in get_config(tagged).grafts} == {name}:
            return zoo.create(tagged, pretrained=True), f"Trained weights, `{tagged}`."
    trained = zoo.create(BASE, pretrained=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = zoo.create(f"yolov8n+{name}@{PLACES.get(name, PLACE)}", num_classes=trained.config.num_classes)
    model.load_state_dict(
        {key: value for key, value in trained.state_dict().items() if "grafts" not in key}, strict=False
    )
    model.names = trained.names
    for graft in model.grafts.values():
        torch.nn.init.ones_(graft.gamma)
    return model, "Not trained: the block's weights are as initialised, its gate at one."


def _overview() -> str:
    rows = []
    for name, mechanism in MECHANISMS.items():
        parameters, operations = _cost(name)
        rows.append([f"[`{name}`](#{name})", mechanism.idea, parameters, operations])
    return _table(["block", "what it does", "parameters, k", "MFLOPs"], rows)


def _section(name: str) -> str:
    mechanism = MECHANISMS[name]
    pictures, weights = drawn(name)
    figures = "".join(
        f'<figure><img src="{each.file}" alt="{each.title}" loading="lazy">'
        f"<figcaption>{each.title}</figcaption></figure>"
        for each in pictures
    )
    warning = {each.name: each.warning for each in blocks.describe()}[name]
    return "\n\n".join(
        filter(
            None,
            (
                f"## `{name}`: {mechanism.name} {{ #{name} }}",
                f"{_sentence(mechanism.idea)}. {_source(mechanism)}",
                f'<div class="formula">{convert(mechanism.formula, display="block")}</div>',
                f'<div class="looks">{figures}</div>',
                f"{weights}",
                f"**When.** {_sentence(mechanism.when)}.",
                f"**To know:** {warning.rstrip('.')}." if warning else "",
                "**Cost.** {} thousand parameters and {} MFLOPs on {}.".format(*_cost(name), _map(name)),
                _timed(name),
                _exported(name),
                _measured(name),
            ),
        )
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".")


def _source(mechanism: Mechanism) -> str:
    paper = mechanism.paper
    return f"[{paper.title}]({paper.link}), {paper.year}." if paper else ""


def _map(name: str) -> str:
    return "the image, 640 x 640" if PLACES.get(name) == "image" else "P4 of `yolov8n` at 640 px, 128 x 40 x 40"


@cache
def _cost(name: str) -> tuple[str, str]:
    channels, height, width = IMAGE if PLACES.get(name) == "image" else P4
    with torch.random.fork_rng(devices=[]), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        block = blocks.build(name, channels, {}).eval()
        before = counter.get_total_flops()  # of the trial that building makes
        block(torch.zeros(1, channels, height, width))
    parameters = sum(parameter.numel() for parameter in block.parameters())
    return _digits(parameters / 1e3), _digits((counter.get_total_flops() - before) / 1e6)


def _digits(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.2g}"


def _rows(file: str, name: str) -> Iterator[dict[str, str]]:
    """Rows of a table of `results/` whose model has this block and no other."""
    with (RESULTS / file).open(newline="") as lines:
        yield from (row for row in csv.DictReader(lines) if _grafts(row["model"]) == {name})


@cache
def _grafts(label: str) -> frozenset[str]:
    return frozenset(graft.block for graft in get_config(label).grafts)


def _timed(name: str) -> str:
    rows = [row for row in _rows("benchmark_models.csv", name) if (row["batch"], row["imgsz"]) == ("1", "640")]
    if not rows:
        return "Not timed yet."
    body = [[f"`{row['model']}`", row["ms"], row["base_ms"], row["ratio"]] for row in rows]
    return _table(["one image of 640 px", "ms", "ms of its base in the same run", "ratio"], body)


def _exported(name: str) -> str:
    rows = list(_rows("exports.csv", name))
    if not rows:
        return "Not exported yet."
    failed = {row["format"] for row in rows if row["ok"] != "yes"}
    works = [kind for kind in dict.fromkeys(row["format"] for row in rows) if kind not in failed]
    return f"Exports that agree with PyTorch: {', '.join(works) or 'none'}." + (
        f" Not: {', '.join(sorted(failed))}." if failed else ""
    )


def _measured(name: str) -> str:
    rows = [
        [each.title, f"`{line.label}`", line.cells["seeds"], line.cells["score"], line.cells["base"]]
        for each in (*comparisons(), *started())
        for line in each.lines
        if line.score and name in _grafts(line.runs[0].model)
    ]
    if not rows:
        return "**Measured.** No run yet."
    return "**Measured.**\n\n" + _table(["trained on", "model", "seeds", METRIC, "against the plain base"], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
