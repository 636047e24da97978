"""Where a graft may sit: places by name, derived from the layer table of the base. Nothing here imports torch.

Ultralytics describes a model as rows of `[from, repeats, module, arguments]`; strides and channels of every layer
follow from them, and with those the places: `image`; `p2`, `p3`, ... the last backbone layer of stride 4, 8, ...;
`sppf`; `neck_p3`, ... the maps that the head reads. An index of a layer is a place too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from zoo.config import STEM, ModelConfig
from zoo.errors import ConfigError
from zoo.names import hint

IMAGE = "image"


@dataclass(frozen=True)
class Layer:
    """One row of a model's layer table.

    Attributes:
        index: In the model, and in the keys of its state dict.
        module: The class, as Ultralytics names it.
        stride: Pixels of the image to one of the output map.
        channels: Of the output map; of all that it reads for the head.
        sources: Indices of the layers whose outputs it reads, -1 for the image.
        places: Names of this layer's output as a place for a graft.
    """

    index: int
    module: str
    stride: int
    channels: int
    sources: tuple[int, ...] = ()
    places: tuple[str, ...] = ()


def read(config: ModelConfig) -> dict[str, Any]:
    """Ultralytics' model file of a base, with its scale chosen; a copy of one's own.

    Raises:
        ConfigError: Ultralytics has no such base.
    """
    stem = config.base_name.replace(config.base + config.scale, config.base, 1)
    model = deepcopy(_read(stem))
    model["scale"] = config.scale
    if config.width is not None:
        model["scales"][config.scale][1] = config.width
    if config.kpt_shape is not None:
        model["kpt_shape"] = list(config.kpt_shape)
    return model


def layers(model: Mapping[str, Any], channels: int = 3) -> tuple[Layer, ...]:
    """The layer table of a model file.

    Args:
        model: With `backbone`, `head`, `scales` and `scale`.
        channels: Of the image.
    """
    _, width, most = model["scales"][model["scale"]]
    found: list[Layer] = []
    for index, (source, _, module, arguments) in enumerate([*model["backbone"], *model["head"]]):
        sources = [source] if isinstance(source, int) else source
        read_ = [found[i] if found else Layer(-1, IMAGE, 1, channels) for i in sources]  # -1 is the layer before
        stride, out = read_[0].stride, sum(layer.channels for layer in read_)
        if module == "nn.Upsample":
            stride //= arguments[1]
        elif module != "Concat" and index < len(model["backbone"]) + len(model["head"]) - 1:
            out = 8 * math.ceil(min(arguments[0], most) * width / 8)
            stride *= arguments[2] if module.endswith("Conv") and len(arguments) > 2 else 1
        found.append(Layer(index, module, stride, out, tuple(layer.index for layer in read_)))
    names: dict[str, int] = {}
    for layer in found[: len(model["backbone"])]:
        names[f"p{layer.stride.bit_length() - 1}"] = layer.index
        if layer.module == "SPPF":
            names["sppf"] = layer.index
    names.pop("p1", None)
    names |= {f"neck_p{found[index].stride.bit_length() - 1}": index for index in model["head"][-1][0]}
    return tuple(
        replace(layer, places=tuple(name for name, index in names.items() if index == layer.index)) for layer in found
    )


def resolve(config: ModelConfig) -> ModelConfig:
    """The same model with every graft at the index of a layer, or at the image.

    Raises:
        ConfigError: The base has no such place or layer (the message has those it has), or two grafts share one.
    """
    table = layers(read(config))
    known: dict[str, int | str] = {place: layer.index for layer in table for place in layer.places}
    known |= {IMAGE: STEM, STEM: STEM}
    taken: dict[int | str, str] = {}
    grafts = []
    for graft in config.grafts:
        position = known.get(graft.position, graft.position) if isinstance(graft.position, str) else graft.position
        if isinstance(position, str) and position != STEM:
            there = [IMAGE, *(place for layer in table for place in layer.places)]
            what = f"{config.base_name} has no place {position!r}."
            raise ConfigError(
                " ".join(
                    filter(None, [what, hint(position, there, ""), f"It has {', '.join(there)} and layer indices."])
                )
            )
        if isinstance(position, int) and position >= len(table) - 1:
            raise ConfigError(
                f"graft position {position} is not a layer before {table[-1].module} ({len(table) - 1}) of "
                f"{config.base_name}."
            )
        asked = f"{graft.block}@{IMAGE if graft.position == STEM else graft.position}"
        if position in taken:
            where = "the image" if position == STEM else f"layer {position}"
            raise ConfigError(f"{taken[position]} and {asked} both sit on {where} of {config.base_name}; keep one.")
        taken[position] = asked
        grafts.append(replace(graft, position=position))
    return replace(config, grafts=tuple(grafts))


def shortest(position: int | str, table: tuple[Layer, ...]) -> int | str:
    """What a free-form name calls the place of a graft: its name where it has one, else the layer's index.

    Args:
        position: Of a resolved graft.
        table: Of its base.
    """
    if position == STEM:
        return IMAGE
    layer = table[int(position)]
    return layer.places[-1] if layer.places else layer.index


def named(position: int | str, table: tuple[Layer, ...]) -> str:
    """The place of a graft in words, e.g. `"sppf (layer 9)"`.

    Args:
        position: Of a resolved graft.
        table: Of its base.
    """
    name = shortest(position, table)
    if isinstance(name, int):
        return f"layer {name} ({table[name].module})"
    return name if name == IMAGE else f"{name} (layer {position})"


@lru_cache(maxsize=64)
def _read(stem: str) -> dict[str, Any]:
    package = find_spec("ultralytics")
    folders = [] if package is None else package.submodule_search_locations or []
    for folder in folders:
        for file in Path(folder, "cfg", "models").glob(f"*/{stem}.yaml"):
            return yaml.load(file.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    raise ConfigError(f"Ultralytics has no model file {stem}.yaml.")
