"""Names to configurations. Importing this module imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from zoo.config import BASES, LAYOUTS, SCALES, GraftConfig, ModelConfig
from zoo.errors import UnknownModelError
from zoo.names import TASKS, GraftName, Name, hint, parse
from zoo.places import layers, read, resolve, shortest

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


def is_row(name: str, grafts: Sequence[GraftConfig]) -> bool:
    """Whether a registered row says just that: these grafts, at layer indices, under this name."""
    return name in _CONFIGS and resolve(_CONFIGS[name]).grafts == tuple(grafts)


def grafted(config: ModelConfig, grafts: str) -> ModelConfig:
    """A model with more grafts, under a free-form name that says all of them.

    Args:
        config: With or without grafts at positions of its base.
        grafts: As after the first `+` of a free-form name, e.g. `"dattn@sppf+eca@p3,p4"`.

    Raises:
        ConfigError: They are malformed, the base lacks a place, or two grafts share one.
    """
    asked = parse(f"{config.base_name}+{grafts}").grafts
    added = [GraftConfig(place, g.block, dict(g.options)) for g in asked for place in g.places]
    whole = resolve(replace(config, grafts=(*config.grafts, *added)))
    table = layers(read(config))
    names_ = [
        str(GraftName(graft.block, tuple(sorted(graft.options.items())), (shortest(graft.position, table),)))
        for graft in whole.grafts
    ]
    return replace(whole, name="+".join([config.base_name, *names_]))


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
    exists = wanted.base in BASES and wanted.scale in SCALES and wanted.layout in LAYOUTS
    if wanted.kind != "model" or wanted.family or not exists:
        plain = [f"{base}{scale}{suffix}" for base in BASES for scale in SCALES for suffix in TASKS.values()]
        near = hint(wanted.plain if wanted.grafts else name, {*names(), *plain}, "zoo.list_models() lists all.")
        raise UnknownModelError(f"no model is called {str(name)!r:.200}. {near}")
    grafts = [GraftConfig(place, g.block, dict(g.options)) for g in wanted.grafts for place in g.places]
    config = ModelConfig(
        name=wanted.architecture,
        base=wanted.base,
        scale=wanted.scale,
        grafts=tuple(grafts),
        task=wanted.task,
        layout=wanted.layout,
    )
    return resolve(config.with_classes(read(config)["nc"]))
