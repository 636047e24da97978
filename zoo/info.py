"""All that is known of a model without weights in it. Listing imports no torch; counting what is not measured does."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from zoo import assets
from zoo.config import GraftConfig, ModelConfig
from zoo.errors import ZooError
from zoo.names import parse
from zoo.registry import get_config, names
from zoo.weights import manifest

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model without building it.

    Counts of a model that `results/models.csv` does not have are made when they are asked for, by building it.

    Attributes:
        config: The model as data.
        tags: Weights that exist, the default first.
        metrics: Tag to split to metric to value, e.g. `metrics["bccd"]["val"]["mAP50"]`.
    """

    config: ModelConfig
    tags: tuple[str, ...]
    metrics: Mapping[str, Mapping[str, Mapping[str, float]]]

    @property
    def name(self) -> str:
        """Registered or free-form."""
        return self.config.name

    @property
    def base(self) -> str:
        """The plain model underneath, e.g. `"yolov8n"`."""
        return self.config.base_name

    @property
    def scale(self) -> str:
        """One of n, s, m, l, x."""
        return self.config.scale

    @property
    def grafts(self) -> tuple[GraftConfig, ...]:
        """The attention blocks at their positions, empty for a plain control."""
        return self.config.grafts

    @property
    def measured(self) -> bool:
        """Whether the counts are recorded, for this model and its base; else they are made by building both."""
        return {self.name, self.base} <= _measured().keys()

    @property
    def params(self) -> int:
        """Parameters at the classes of Ultralytics' model file, 80 for detection."""
        return _counts(self.name)[0]

    @property
    def gflops(self) -> float:
        """Operations of one 640 x 640 image, in 1e9, a multiply-add counted as two, unfused."""
        return _counts(self.name)[1]

    @property
    def base_params(self) -> int:
        """`params` of the plain base."""
        return _counts(self.base)[0]

    @property
    def base_gflops(self) -> float:
        """`gflops` of the plain base."""
        return _counts(self.base)[1]


def list_models(filter: str = "*", *, pretrained: bool = False) -> list[str]:
    """Names that `create` takes, sorted by base, graft and scale.

    Args:
        filter: An fnmatch pattern, e.g. `"yolov8s_*"`.
        pretrained: List `"<architecture>.<tag>"` for the weights that exist instead.
    """
    if not pretrained:
        return names(filter)
    tagged = [f"{name}.{tag}" for name in names() for tag in manifest.tags(name)]
    return [name for name in tagged if fnmatchcase(name, filter) or fnmatchcase(parse(name).architecture, filter)]


def model_info(name: str) -> ModelInfo:
    """Look a model up; a tag after the name is accepted and ignored.

    Raises:
        UnknownModelError: No such model; the message lists the nearest names.
        ConfigError: A free-form name asks for a place that the base lacks.
    """
    config = get_config(name)
    tags, entries = manifest.tags(config.name), manifest.entries()
    return ModelInfo(config, tags, {tag: entries[f"{config.name}.{tag}"].metrics for tag in tags})


def list_pretrained(filter: str = "*") -> list[str]:
    """The trained weights, `list_models(filter, pretrained=True)` under timm's name for it."""
    return list_models(filter, pretrained=True)


def is_model(name: str) -> bool:
    """Whether `create` knows a model of this name, registered or free-form; a tag after the name is ignored."""
    try:
        get_config(name)
    except ZooError:
        return False
    return True


def pretrained_cfg(name: str) -> dict[str, Any]:
    """What is known of trained weights, by the keys that timm uses.

    Args:
        name: `"<architecture>.<tag>"`, or `"<architecture>"` for its default tag.

    Returns:
        `architecture`, `tag`, `input_size`, `mean` and `std` (images are only divided by 255), `num_classes`,
        `label_names`, `sources` (see `zoo.weights.manifest.Entry`), `sha256`, `bytes`, `license`.

    Raises:
        WeightsError: There are none.
    """
    full_name, entry = manifest.find(name)
    return {
        "architecture": parse(full_name).architecture,
        "tag": parse(full_name).tag,
        "input_size": (3, entry.imgsz, entry.imgsz),
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "num_classes": entry.num_classes,
        "label_names": entry.class_names,
        "sources": entry.sources,
        "sha256": entry.sha256,
        "bytes": entry.bytes,
        "license": entry.license,
    }


def exports(name: str) -> list[dict[str, str]]:
    """How a model's family left PyTorch: the rows of `results/exports.csv`, which `benchmarks/exports.py` writes.

    Each has the `model` of scale n that was exported, `format`, `height`, `width`, `ok` (yes or no), the largest
    differences to PyTorch, `box_px` and `score`, and those of its float32 to its float64, `rounding_px` and
    `rounding_score`; a tag after the name is accepted and ignored.

    Raises:
        UnknownModelError: No such model; the message lists the nearest names.
    """
    config = get_config(name)
    measured = f"{config.base}n{config.name.removeprefix(config.base_name)}"
    with (assets.root() / "results" / "exports.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["model"] == measured]


def gflops(model: nn.Module, imgsz: int) -> float:
    """Operations of one square image through a model in eval mode, in 1e9, by `torch.utils.flop_counter`."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.zeros(1, 3, imgsz, imgsz))
    return counter.get_total_flops() / 1e9


def count(config: ModelConfig, imgsz: int = 640) -> tuple[int, float]:
    """Build a model, and count its parameters and the operations of one square image, in 1e9."""
    import torch

    from zoo.detector import build

    with torch.random.fork_rng(devices=[]):
        model = build(config)
    return sum(parameter.numel() for parameter in model.parameters()), gflops(model, imgsz)


@lru_cache(maxsize=256)
def _counts(name: str) -> tuple[int, float]:
    row = _measured().get(name)
    return (int(row["params"]), float(row["gflops"])) if row else count(get_config(name))


@lru_cache(maxsize=1)
def _measured() -> dict[str, dict[str, str]]:
    """Rows of `results/models.csv`, which `python -m benchmarks.complexity` writes."""
    with (assets.root() / "results" / "models.csv").open(newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}
