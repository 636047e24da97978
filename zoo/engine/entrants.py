"""Who takes part in a comparison: the models, their controls of size, and the weights that each starts from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from zoo import places, registry
from zoo.config import SCALES, ModelConfig
from zoo.detector import build
from zoo.errors import OptionError, SourceError
from zoo.layers.conv import affordable_width
from zoo.names import GraftName, parse
from zoo.weights import checkpoint, official
from zoo.weights.tensors import class_head


@dataclass(frozen=True)
class Entrant:
    """A model of a comparison.

    Attributes:
        name: As `zoo train` takes it.
        config: With the classes of the data.
        base_weights: File that it starts from; `None` for random weights.
        parameters: At these classes.
        seconds: An image in a training step, and in validation, timed here.
    """

    name: str
    config: ModelConfig
    base_weights: Path | None
    parameters: int
    seconds: tuple[float, float]


def configs(models: Sequence[str], size_control: bool, notes: list[str]) -> list[ModelConfig]:
    """Of the models, without those that are named twice, and of their controls of size.

    Args:
        models: As of `zoo.engine.compare.compare`.
        size_control: As there.
        notes: Gains what the user should know.

    Raises:
        OptionError: There are fewer than two, or one has weights of its own.
        ZooError: There is no such model.
    """
    found: dict[str, ModelConfig] = {}
    for name in models:
        wanted = parse(name)
        if wanted.kind != "model" or wanted.tag:
            raise OptionError(
                f"{name} has weights of its own, and a comparison trains every model alike; give its architecture"
                f"{f', {wanted.architecture},' if wanted.kind == 'model' else ''} and start from weights with "
                "base_weights."
            )
        config = registry.get_config(name)
        if config.name in found:
            notes.append(f"{name} is named twice and compared once.")
        found[config.name] = config
    if size_control:
        for config in list(found.values()):
            for other in _size_controls(config, notes) if config.grafts else ():
                found.setdefault(other.name, other)
    if len(found) < 2:
        raise OptionError("a comparison needs two models at least, the control first; size_control=True adds some.")
    return list(found.values())


def _size_controls(config: ModelConfig, notes: list[str]) -> Iterable[ModelConfig]:
    """The base with convolutions of as many parameters at the same places, and the next scale of the base."""
    if any(graft.block != "conv" for graft in config.grafts):
        model, table = build(config), places.layers(places.read(config))
        grafts = []
        for graft in config.grafts:
            built: Any = model.grafts[str(graft.position)]
            spent = size(built.block)
            if not affordable_width(built.gamma.numel(), spent, depthwise=True):
                notes.append(f"{config.name}: no convolution has as few parameters as {graft.block} ({spent}) there.")
                continue
            place = places.shortest(graft.position, table)
            grafts.append(GraftName("conv", (("params", spent),), (place,)))
        if grafts:
            yield registry.get_config(str(replace(parse(config.base_name), grafts=tuple(grafts))))
    larger = SCALES[SCALES.index(config.scale) + 1 :][:1]
    if larger:
        yield registry.get_config(str(replace(parse(config.base_name), scale=larger[0])))


def weights(
    config: ModelConfig, base_weights: str | Path | bool | None, models: Sequence[str], notes: list[str]
) -> Path | None:
    """The file that a model starts from; a control of size whose weights are nowhere is left out with a note.

    Args:
        config: Of the model.
        base_weights: As of `zoo.engine.compare.compare`.
        models: As there.
        notes: Gains what the user should know.

    Raises:
        OptionError: One file was given for models of several bases.
        SourceError: There is no such file.
    """
    if not base_weights:
        return None
    asked = registry.get_config(models[0]).base_name
    if base_weights is not True and not Path(base_weights).is_dir():
        if config.base_name == asked:
            return checkpoint.find(base_weights).absolute()
        if any(registry.get_config(name).base_name == config.base_name for name in models):
            raise OptionError(
                f"base_weights={base_weights} are of one base, and the models are of {asked} and {config.base_name}; "
                "give the folder that holds both files, or base_weights=True."
            )
        notes.append(f"{config.name} is left out: base_weights={base_weights} are not of {config.base_name}.")
        return None
    try:
        return _find(config.base_name, base_weights)
    except SourceError:
        if any(registry.get_config(name).base_name == config.base_name for name in models):
            raise
        notes.append(f"{config.name} is left out: there are no weights of {config.base_name}.")
        return None


def with_classes(config: ModelConfig, weights: Path | None, names: tuple[str, ...]) -> ModelConfig:
    """The model as it is trained on these classes: the class branch stays as wide as the weights have it."""
    config = config.with_classes(len(names), names)
    return config if weights is None else replace(config, class_width=class_head(official.read(weights).tensors)[1])


def _find(base: str, place: str | Path | bool) -> Path:
    if place is True:
        return checkpoint.find(f"{base}.pt").absolute()
    for suffix in (".pt", ".safetensors"):
        if (file := Path(str(place), base + suffix)).is_file():
            return file.absolute()
    raise SourceError(f"the folder {place} has neither {base}.pt nor {base}.safetensors.")


def size(part: nn.Module) -> int:
    """Parameters."""
    return sum(parameter.numel() for parameter in part.parameters())
