"""Every attention block by name: the zoo's own, timm's, and those that a user registers.

Importing this module imports neither torch nor timm: a block's class is imported when it is asked for.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import logging
import os
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from zoo.errors import ChannelError, ConfigError, UnknownBlockError, one_line
from zoo.layers.mechanisms import MECHANISMS
from zoo.layers.papers import Paper
from zoo.names import hint

if TYPE_CHECKING:
    from torch import nn

LOGGER = logging.getLogger("zoo")
PLUGINS = "zoo_plugin"
"""Group of entry points whose modules register blocks."""
MODULES = "ZOO_PLUGINS"
"""Environment variable that names such modules too, with commas; processes started from this one inherit it."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_OWN = {
    "a2": "zoo.layers.a2.DoubleAttention",
    "biformer": "zoo.layers.biformer.BiLevelRoutingAttention",
    "conv": "zoo.layers.conv.ConvBlock",
    "dattn": "zoo.layers.dattn.DeformableAttention",
    "ema": "zoo.layers.ema.EfficientMultiscaleAttention",
    "gam": "zoo.layers.gam.GlobalAttention",
    "halo": "zoo.layers.halo.HaloAttention",
    "hat": "zoo.layers.hat.HybridAttention",
    "hat_stem": "zoo.layers.hat_stem.HybridAttentionStem",
    "lska": "zoo.layers.lska.LargeSeparableKernelAttention",
    "simam": "zoo.layers.simam.SimAM",
    "se": "zoo.layers.timm.SqueezeExcite",
    "ese": "zoo.layers.timm.EffectiveSqueezeExcite",
    "eca": "zoo.layers.timm.EfficientChannel",
    "ecam": "zoo.layers.timm.EfficientChannelHidden",
    "ceca": "zoo.layers.timm.CircularEfficientChannel",
    "ge": "zoo.layers.timm.GatherExcite",
    "gc": "zoo.layers.timm.GlobalContext",
    "gca": "zoo.layers.timm.AddedGlobalContext",
    "cbam": "zoo.layers.timm.Cbam",
    "lcbam": "zoo.layers.timm.LightCbam",
    "coord": "zoo.layers.timm.Coordinate",
    "scoord": "zoo.layers.timm.SimpleCoordinate",
    "ela": "zoo.layers.timm.EfficientLocal",
    "strip": "zoo.layers.timm.Strip",
    "nl": "zoo.layers.timm.NonLocal",
    "bat": "zoo.layers.timm.BilinearNonLocal",
    "sk": "zoo.layers.timm.SelectiveKernel",
    "splat": "zoo.layers.timm.Split",
    "lambda": "zoo.layers.timm.Lambda",
}
_TIMM_FILES = {
    "se": "squeeze_excite",
    "ese": "squeeze_excite",
    "eca": "eca",
    "ecam": "eca",
    "ceca": "eca",
    "ge": "gather_excite",
    "gc": "global_context",
    "gca": "global_context",
    "cbam": "cbam",
    "lcbam": "cbam",
    "coord": "coord_attn",
    "scoord": "coord_attn",
    "ela": "coord_attn",
    "strip": "coord_attn",
    "nl": "non_local_attn",
    "bat": "non_local_attn",
    "sk": "selective_kernel",
    "splat": "split_attn",
    "lambda": "lambda_layer",
}
"""Where timm documents each, and warns of it."""
_registered: dict[str, type[nn.Module]] = {}


class _Blocks(Mapping[str, "type[nn.Module]"]):
    """Classes by name, each called as `Class(dim, **options)`; an unknown name has plugins loaded before it is one."""

    def __getitem__(self, name: str) -> type[nn.Module]:
        if name not in self:
            load_plugins()
        if name in _registered:
            return _registered[name]
        if name not in _OWN:
            raise UnknownBlockError(
                f"no attention block is called {name!r:.60}. {hint(name, self)} If it is your own block, this "
                f'process has not registered it: call zoo.register_block("{name:.40}", YourClass) before this, or name '
                f"the module that does in your package's entry points, group {PLUGINS!r}."
            )
        module, _, cls = _OWN[name].rpartition(".")
        return getattr(importlib.import_module(module), cls)

    def __contains__(self, name: object) -> bool:
        return name in _OWN or name in _registered

    def __iter__(self) -> Iterator[str]:
        yield from _OWN
        yield from _registered

    def __len__(self) -> int:
        return len(_OWN) + len(_registered)


BLOCKS: Mapping[str, type[nn.Module]] = _Blocks()


def register_block(name: str, cls: type[nn.Module]) -> None:
    """Give a block of your own a name, so that `yolov8n+<name>@p4` works wherever a model's name does.

    Saved models and checkpoints hold the name and the options only. A process that loads them must have registered
    the name, by this call or through an entry point of the group `zoo_plugin` whose module makes it; entry points are
    loaded when a model names a block that is not known. Processes that a training or a sweep starts know the block as
    well: its module must be importable there, or, for several GPUs, the class may stand in the script itself.

    Args:
        name: A lower-case letter, then lower-case letters, digits and underscores, 40 at most.
        cls: Called as `cls(dim, **options)`, makes a module from `(B, dim, H, W)` to the same shape, for any H and W.
            Options are keywords whose values are numbers, strings, booleans, None or short tuples of integers.

    Raises:
        ConfigError: The name is malformed or taken by another class, or `cls` is no module class that takes channels.
    """
    from torch import nn

    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise ConfigError(
            f"{name!r:.60} cannot be the name of a block; take a lower-case letter, then lower-case letters, digits "
            "and underscores, 40 at most."
        )
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise ConfigError(f"block {name!r}: register a subclass of torch.nn.Module, not {cls!r:.80}.")
    taken = _OWN.get(name) or (_registered.get(name) and _path(_registered[name]))
    if taken and taken != _path(cls):
        raise ConfigError(f"a block called {name!r} exists ({taken}); register {_path(cls)} under another name.")
    if name in _OWN:
        return
    _registered[name] = cls
    named = os.environ.get(MODULES, "").split(",")
    if cls.__module__ not in {"__main__", *named}:
        os.environ[MODULES] = ",".join(filter(None, [*named, cls.__module__]))


def registered() -> dict[str, type[nn.Module]]:
    """The blocks that `register_block` added in this process."""
    return dict(_registered)


@functools.cache
def load_plugins() -> None:
    """Import the modules that entry points of `zoo_plugin` and `ZOO_PLUGINS` name, once; a broken one is logged."""
    named = filter(None, os.environ.get(MODULES, "").split(","))
    plugins = [*entry_points(group=PLUGINS), *(EntryPoint(module, module, PLUGINS) for module in named)]
    for plugin in plugins:
        try:
            plugin.load()
        except Exception as error:  # somebody else's module
            LOGGER.warning("the plugin %s (%s) did not load: %s", plugin.name, plugin.value, error)


class Carried:
    """Registers this process's blocks wherever it is unpickled, those of a script by their code.

    As a callback of a trainer it reaches the processes that Ultralytics starts for several GPUs.
    """

    def __init__(self) -> None:
        self.blocks = registered()

    def __call__(self, trainer: Any) -> None:
        """Nothing: it has done its work."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for name, cls in self.blocks.items():
            register_block(name, cls)


@dataclass(frozen=True)
class Description:
    """What is known of a block without making it.

    Attributes:
        name: A key of `BLOCKS`.
        origin: `"zoo"`, `"timm"` or `"registered"`.
        idea: What it does, in a line.
        paper: Where it comes from; None for the plain convolution and for blocks that users registered.
        warning: What to know before choosing it, with what timm itself warns of; empty when there is nothing.
    """

    name: str
    origin: Literal["zoo", "timm", "registered"]
    idea: str
    paper: Paper | None
    warning: str


def describe() -> list[Description]:
    """Every block: the zoo's own, timm's, and those that plugins and this process registered; imports no timm."""
    load_plugins()
    rows = []
    for name in _OWN:
        mechanism = MECHANISMS[name]
        warning = "; ".join(filter(None, (mechanism.limit, _warning_of_timm(name))))
        origin: Literal["zoo", "timm"] = "timm" if name in _TIMM_FILES else "zoo"
        rows.append(Description(name, origin, mechanism.idea, mechanism.paper, warning))
    for name, cls in _registered.items():
        idea = (cls.__doc__ or _path(cls)).strip().partition("\n")[0]
        rows.append(Description(name, "registered", idea, None, ""))
    return sorted(rows, key=lambda row: ("zoo", "timm", "registered").index(row.origin))


def _warning_of_timm(name: str) -> str:
    """The paragraphs that warn in the installed timm's own documentation of a module, read without importing it."""
    if name not in _TIMM_FILES:
        return ""
    timm = importlib.util.find_spec("timm")
    assert timm is not None and timm.submodule_search_locations  # a dependency
    source = Path(timm.submodule_search_locations[0], "layers", f"{_TIMM_FILES[name]}.py").read_text(encoding="utf-8")
    paragraphs = (ast.get_docstring(ast.parse(source)) or "").split("\n\n")
    warnings = [" ".join(text.split()) for text in paragraphs if text.upper().startswith("WARNING")]
    return "timm: " + " ".join(warnings) if warnings else ""


def options(name: str) -> dict[str, inspect.Parameter]:
    """The keywords that a block takes beside its channels; an annotation is a type where it could be resolved.

    Raises:
        UnknownBlockError: No such block.
    """
    cls = BLOCKS[name]
    try:
        hints = get_type_hints(cls.__init__)
    except Exception:  # an annotation of a user's class that does not resolve
        hints = {}
    parameters = list(inspect.signature(cls).parameters.values())[1:]
    return {p.name: p.replace(annotation=hints.get(p.name, p.empty)) for p in parameters if p.kind != p.VAR_POSITIONAL}


def build(name: str, dim: int, settings: Mapping[str, Any], *, tried: bool = False) -> nn.Module:
    """Make a block.

    Args:
        name: A key of `BLOCKS`.
        dim: Channels of the map.
        settings: The block's options.
        tried: It is known to keep the shape of maps with these settings; else that is tried on two small ones.

    Raises:
        UnknownBlockError: No such block; the message has the nearest names and how to register one's own.
        ConfigError: An option is unknown or of the wrong type, or the block cannot be made with it.
        ChannelError: The block cannot take these channels.
    """
    cls = BLOCKS[name]
    _check_options(name, settings)
    try:
        block = cls(dim, **settings)
    except ChannelError:
        raise
    except Exception as error:  # whatever PyTorch or timm raises for options of an untrusted config
        reason = one_line(error) or type(error).__name__
        raise ConfigError(f"block {name!r} cannot be made on {dim} channels with {dict(settings)}: {reason}") from error
    if not tried:
        _check_shape(name, block, dim)
    return block


def _check_options(name: str, settings: Mapping[str, Any]) -> None:
    known = options(name)
    for key, value in settings.items():
        if key in known:
            kind = known[key].annotation
            if not _fits(value, kind):
                raise ConfigError(f"block {name!r}: {key} must be {_spell(kind)}, found {value!r:.60}.")
        elif not any(parameter.kind == parameter.VAR_KEYWORD for parameter in known.values()):
            near = hint(key, known) if known else "It takes none."
            raise ConfigError(f"block {name!r} has no option {key!r:.60}. {near}")


def _fits(value: Any, hint: Any) -> bool:
    """Whether an option's value is of an annotated type; annotations that options cannot have are not checked."""
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) in (tuple, Sequence):
        return isinstance(value, tuple) and all(type(item) is int for item in value)
    if hint in (int, float):
        return type(value) is int or (hint is float and type(value) is float)
    if hint in (bool, str, type(None)):
        return isinstance(value, hint)
    return True


def _spell(hint: Any) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_spell(part) for part in get_args(hint))
    if get_origin(hint) is Literal:
        return " or ".join(repr(value) for value in get_args(hint))
    if get_origin(hint) in (tuple, Sequence):
        return "a list of whole numbers"
    spelled = {int: "a whole number", float: "a number", bool: "True or False", str: "a string", type(None): "None"}
    return spelled.get(hint, str(hint))


def _check_shape(name: str, block: nn.Module, dim: int) -> None:
    """Run a block on two small maps of odd sizes, as images of odd sizes would."""
    import torch

    for size in ((7, 5), (8, 8)):
        x = torch.zeros(1, dim, *size)
        try:
            with torch.no_grad():
                found = block.eval()(x)
        except Exception as error:
            raise ConfigError(
                f"block {name!r} failed on a map of {size[0]} x {size[1]} pixels and {dim} channels: {error}; a graft "
                "takes maps of any size."
            ) from error
        finally:
            block.train()
        if not isinstance(found, torch.Tensor) or found.shape != x.shape:
            what = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            raise ConfigError(f"block {name!r} turned a map of {tuple(x.shape)} into {what}; a graft keeps the shape.")


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
