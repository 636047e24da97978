"""Names to configurations. Importing this module imports no torch."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from fnmatch import fnmatchcase

from zoo.config import SCALES, GraftConfig, ModelConfig
from zoo.errors import UnknownModelError

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
    import zoo.models  # noqa: F401  # fills the registry

    matching = (config for name, config in _CONFIGS.items() if fnmatchcase(name, pattern))
    return [
        config.name
        for config in sorted(
            matching,
            key=lambda c: (c.base != "yolov8", c.name.removeprefix(c.base_name), SCALES.index(c.scale)),
        )
    ]


def get_config(name: str) -> ModelConfig:
    """The configuration registered as `name`, without a tag.

    Raises:
        UnknownModelError: No such model; the message lists the nearest names.
    """
    known = names()
    if name not in _CONFIGS:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"Did you mean {', '.join(near)}?" if near else "zoo.list_models() lists all."
        raise UnknownModelError(f"no model is called {name!r}. {hint}")
    return _CONFIGS[name]


def split_tag(name: str) -> tuple[str, str | None]:
    """Split `"yolov8n_dattn.bccd"` into architecture and tag; the tag is `None` when there is none."""
    architecture, _, tag = name.partition(".")
    return architecture, tag or None
