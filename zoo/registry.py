"""Names to configurations. Importing this module imports no torch."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from zoo import assets
from zoo.config import BASES, LAYOUTS, SCALES, GraftConfig, ModelConfig
from zoo.errors import UnknownModelError
from zoo.names import TASKS, Name, hint, parse
from zoo.places import resolve
from zoo.weights import manifest

GraftFactory = Callable[[str], tuple[GraftConfig, ...]]

_CONFIGS: dict[str, ModelConfig] = {}


def register(base: str, suffix: str = "") -> Callable[[GraftFactory], GraftFactory]:
    """Register `<base><scale><suffix>` for every scale; the decorated factory maps a scale to its grafts.

    Raises:
        ValueError: The name is taken.
    """

    def decorate(factory: GraftFactory) -> GraftFactory:
        for scale in SCALES:
            name = f"{base}{scale}{suffix}"
            if name in _CONFIGS:
                raise ValueError(f"{name} is registered twice.")
            _CONFIGS[name] = ModelConfig(name=name, base=base, scale=scale, grafts=factory(scale))
        return factory

    return decorate


def names(pattern: str = "*") -> list[str]:
    """Registered architecture names that match an fnmatch pattern, sorted by base, graft and scale."""
    matching = (config for name, config in _CONFIGS.items() if fnmatchcase(name, pattern))
    return [
        config.name
        for config in sorted(
            matching,
            key=lambda c: (BASES.index(c.base), c.name.removeprefix(c.base_name), SCALES.index(c.scale)),
        )
    ]


def get_config(name: str | Name) -> ModelConfig:
    """The configuration of a registered or a free-form model; a tag after the name is accepted and ignored.

    Grafts are at layer indices, or at the image; whether there are such blocks is found when the model is built.

    Raises:
        UnknownModelError: No such model or base; the message lists the nearest names.
        ConfigError: The base lacks a place, two grafts share one, or an option is beyond reason.
    """
    wanted = parse(name)
    if wanted.architecture in _CONFIGS:
        return resolve(_CONFIGS[wanted.architecture])
    stock = {"base": wanted.base, "scale": wanted.scale, "task": wanted.task, "layout": wanted.layout}
    known = {"base": BASES, "scale": SCALES, "task": TASKS, "layout": LAYOUTS}
    if wanted.kind != "model" or wanted.family or not all(stock[key] in known[key] for key in stock):
        plain = [f"{base}{scale}{suffix}" for base in BASES for scale in SCALES for suffix in TASKS.values()]
        near = hint(wanted.plain if wanted.grafts else name, {*names(), *plain}, "zoo.list_models() lists all.")
        raise UnknownModelError(f"no model is called {str(name)!r:.200}. {near}")
    grafts = [GraftConfig(place, g.block, dict(g.options)) for g in wanted.grafts for place in g.places]
    return resolve(ModelConfig(name=wanted.architecture, grafts=tuple(grafts), **stock))


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model without building it.

    Attributes:
        name: Registered name.
        base: The plain model underneath, e.g. `"yolov8n"`.
        scale: One of n, s, m, l, x.
        grafts: The attention blocks, empty for a plain control.
        params: Parameters at 80 classes.
        gflops: Operations of one 640 x 640 image, in 1e9, a multiply-add counted as two.
        base_params: `params` of the plain base.
        base_gflops: `gflops` of the plain base.
        tags: Weights that exist, the default first.
        metrics: Tag to split to metric to value, e.g. `metrics["bccd"]["val"]["mAP50"]`.
    """

    name: str
    base: str
    scale: str
    grafts: tuple[GraftConfig, ...]
    params: int
    gflops: float
    base_params: int
    base_gflops: float
    tags: tuple[str, ...]
    metrics: Mapping[str, Mapping[str, Mapping[str, float]]]


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
    """
    config = get_config(name)
    row = _measured()[config.name]
    entries = manifest.entries()
    tags = manifest.tags(config.name)
    return ModelInfo(
        name=config.name,
        base=config.base_name,
        scale=config.scale,
        grafts=config.grafts,
        params=int(row["params"]),
        gflops=float(row["gflops"]),
        base_params=int(row["base_params"]),
        base_gflops=float(row["base_gflops"]),
        tags=tags,
        metrics={tag: entries[f"{config.name}.{tag}"].metrics for tag in tags},
    )


def exports(name: str) -> list[dict[str, str]]:
    """How a model's family left PyTorch: the rows of `results/exports.csv`, which `benchmarks/exports.py` writes.

    Each has the `model` of scale n that was exported, `format`, `height`, `width`, `ok` (yes or no), and the largest
    differences to PyTorch, `box_px` and `score`; a tag after the name is accepted and ignored.

    Raises:
        UnknownModelError: No such model; the message lists the nearest names.
    """
    config = get_config(name)
    measured = f"{config.base}n{config.name.removeprefix(config.base_name)}"
    with (assets.root() / "results" / "exports.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["model"] == measured]


@lru_cache(maxsize=1)
def _measured() -> dict[str, dict[str, str]]:
    """Rows of `results/models.csv`, which `python -m benchmarks.complexity` writes."""
    with (assets.root() / "results" / "models.csv").open(newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}
