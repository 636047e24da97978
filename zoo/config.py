"""What a model is, as data: a stock Ultralytics base, its scale, and the grafts on it.

Nothing here imports torch. A `ModelConfig` is what the registry holds, what `config.json` beside a checkpoint says,
and enough to rebuild the architecture without the registry knowing its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any

from zoo.errors import ConfigError
from zoo.files import is_sha256
from zoo.names import SCALES, TASKS, Name, Option

SCHEMA = 1
BASES = ("yolov8", "yolo11", "yolo12", "yolo26")
LAYOUTS = ("", "p2", "p6")
STEM = "stem"
"""The image as a position, in configs and in the keys of a state dict; `image` as a place."""
BUDGET = "params"
"""The option whose number is one of parameters, where others' are of channels, layers or pixels."""

_PLACE = re.compile(r"[a-z][a-z0-9_]{0,19}")


@dataclass(frozen=True)
class GraftConfig:
    """One attention block and where it sits.

    Attributes:
        position: Index of the stock layer whose output is attended, `"stem"` for the image itself, or the name of a
            place, which `zoo.places.resolve` turns into one of those.
        block: A key of `zoo.layers.blocks.BLOCKS`.
        options: Keyword arguments of that block; its channel count comes from the position.
    """

    position: int | str
    block: str
    options: Mapping[str, Option] = field(default_factory=dict)

    def __post_init__(self) -> None:
        is_place = isinstance(self.position, str) and _PLACE.fullmatch(self.position)
        if not (is_place or (type(self.position) is int and 0 <= self.position < 100)):
            raise ConfigError(f"graft position must be a layer index or a place, found {self.position!r:.80}.")
        if not isinstance(self.block, str):
            raise ConfigError(f"graft block must be a name, found {self.block!r}.")
        if not isinstance(self.options, Mapping):
            raise ConfigError(f"graft options must be a mapping, found {type(self.options).__name__}.")
        options = {key: _option(key, value) for key, value in self.options.items()}
        _check_cost(options)
        object.__setattr__(self, "options", MappingProxyType(options))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.position, self.block, dict(self.options))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the inverse of `from_dict`."""
        options = {key: list(value) if isinstance(value, tuple) else value for key, value in self.options.items()}
        return {"position": self.position, "block": self.block, "options": options}

    @classmethod
    def from_dict(cls, data: Any) -> GraftConfig:
        """Read what `to_dict` wrote.

        Raises:
            ConfigError: A key is missing or unknown, or a value is of the wrong type.
        """
        return cls(**_keywords(data, cls, "graft"))


@dataclass(frozen=True)
class ModelConfig:
    """A whole model.

    Attributes:
        name: The registered name, or what the author called it; a label, not a look-up.
        base: One of `BASES`.
        scale: One of n, s, m, l, x.
        grafts: The attention blocks, empty for a plain control.
        num_classes: Width of the class logits.
        class_names: One name a class, or `None` for the numbers.
        class_width: Hidden channels of the class branch where they differ from what `num_classes` gives in
            Ultralytics (a checkpoint trained on more classes keeps its wider branch).
        width: Channels of every stock layer over those of Ultralytics' model file, `None` for the scale's own: a plain
            model as large as a grafted one is what attention has to beat.
        imgsz: Training resolution, pixels of the longer side.
        base_sha256: Of the official weights that training started from, `None` when it started from scratch.
        task: One of detect, segment, pose, obb.
        layout: Of the base's levels: `"p2"`, `"p6"`, or empty for P3 to P5.
        kpt_shape: Of a pose model, keypoints and numbers for each (2, or 3 with visibility); `None` for those of
            Ultralytics' model file.
    """

    name: str
    base: str
    scale: str
    grafts: tuple[GraftConfig, ...] = ()
    num_classes: int = 80
    class_names: tuple[str, ...] | None = None
    class_width: int | None = None
    width: float | None = None
    imgsz: int = 640
    base_sha256: str | None = None
    task: str = "detect"
    layout: str = ""
    kpt_shape: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ConfigError(f"model name must be a string, found {self.name!r}.")
        for key, known in (("base", BASES), ("scale", SCALES), ("task", tuple(TASKS)), ("layout", LAYOUTS)):
            if getattr(self, key) not in known:
                raise ConfigError(f"{key} must be one of {', '.join(known)}, found {getattr(self, key)!r:.80}.")
        for key, low, high in (("num_classes", 1, 100_000), ("imgsz", 32, 16_384)):
            value = getattr(self, key)
            if type(value) is not int or not low <= value <= high:
                raise ConfigError(f"{key} must be an integer between {low} and {high}, found {value!r}.")
        if self.class_width is not None and (type(self.class_width) is not int or not 1 <= self.class_width <= 4096):
            raise ConfigError(f"class_width must be null or a positive integer, found {self.class_width!r}.")
        if self.width is not None and (type(self.width) is not float or not 0.1 <= self.width <= 2):
            raise ConfigError(f"width must be null or a number between 0.1 and 2.0, found {self.width!r}.")
        if self.base_sha256 is not None and not is_sha256(self.base_sha256):
            raise ConfigError(f"base_sha256 must be null or 64 hex digits, found {self.base_sha256!r}.")
        if self.kpt_shape is not None:
            numbers = tuple(self.kpt_shape) if isinstance(self.kpt_shape, list | tuple) else ()
            if len(numbers) != 2 or {type(number) for number in numbers} != {int} or not 1 <= numbers[0] <= 1000:
                raise ConfigError(f"kpt_shape must be null or [keypoints, 2 or 3], found {self.kpt_shape!r:.80}.")
            object.__setattr__(self, "kpt_shape", numbers)
        positions = [graft.position for graft in self.grafts]
        if len(set(positions)) != len(positions):
            raise ConfigError(f"two grafts share a position: {positions}.")
        if self.class_names is not None and len(self.class_names) != self.num_classes:
            raise ConfigError(f"{len(self.class_names)} class names for num_classes={self.num_classes}.")

    @property
    def base_name(self) -> str:
        """The plain model underneath, e.g. `"yolov8n"` or `"yolo11n-seg"`."""
        return Name(base=self.base, scale=self.scale, task=self.task, layout=self.layout).plain

    def with_classes(self, num_classes: int, class_names: tuple[str, ...] | None = None) -> ModelConfig:
        """The same architecture with another class head."""
        return replace(self, num_classes=num_classes, class_names=class_names)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the inverse of `from_dict`."""
        data = asdict(replace(self, grafts=()))
        data["grafts"] = [graft.to_dict() for graft in self.grafts]
        for key in ("class_names", "kpt_shape"):
            data[key] = None if getattr(self, key) is None else list(getattr(self, key))
        return {"schema": SCHEMA, **data}

    @classmethod
    def from_dict(cls, data: Any) -> ModelConfig:
        """Read what `to_dict` wrote; `versions`, `weights` and `adapter`, which `zoo.save` adds, are not of the model.

        Args:
            data: Parsed JSON, of any type: it is not trusted.

        Raises:
            ConfigError: The schema, a key or a value is not what this version knows.
        """
        if not isinstance(data, Mapping):
            raise ConfigError(f"a model config is a JSON object, found {type(data).__name__}.")
        if data.get("schema") != SCHEMA:
            raise ConfigError(f"config schema {data.get('schema')!r} is not {SCHEMA}; update yolo-attention-zoo.")
        own = {key: value for key, value in data.items() if key not in {"schema", "versions", "weights", "adapter"}}
        keywords = _keywords(own, cls, "model config")
        grafts = keywords.get("grafts", ())
        if not isinstance(grafts, list | tuple):
            raise ConfigError(f"grafts must be a list, found {type(grafts).__name__}.")
        keywords["grafts"] = tuple(GraftConfig.from_dict(graft) for graft in grafts)
        names = keywords.get("class_names")
        if names is not None:
            if not (isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)):
                raise ConfigError("class_names must be null or a list of strings.")
            keywords["class_names"] = tuple(names)
        return cls(**keywords)


def _keywords(data: Any, cls: type, what: str) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise ConfigError(f"a {what} is a JSON object, found {type(data).__name__}.")
    known = cls.__dataclass_fields__  # type: ignore[attr-defined]
    unknown = sorted(str(key) for key in data if key not in known)
    if unknown:
        raise ConfigError(f"unknown {what} keys {unknown}; known are {sorted(known)}.")
    required = {"position", "block", "name", "base", "scale"} & set(known)
    missing = sorted(required - set(data))
    if missing:
        raise ConfigError(f"{what} lacks {missing}.")
    return dict(data)


def _option(key: Any, value: Any) -> Option:
    if not isinstance(key, str):
        raise ConfigError(f"graft option names are strings, found {key!r}.")
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, list | tuple) and len(value) <= 16 and all(type(item) is int for item in value):
        largest, found = 256, tuple(value)
    elif type(value) in (int, float):
        largest, found = 64 if key == "reduction" or key.endswith("_size") else 4096, value
        if key == BUDGET:
            largest = 1 << 24
    else:
        raise ConfigError(f"graft option {key}={value!r:.80} is no number, string, boolean or short integer list.")
    if not all(abs(number) <= largest for number in (found if isinstance(found, tuple) else (found,))):
        raise ConfigError(f"graft option {key}={value!r:.80} is beyond {largest}: it would cost absurd memory.")
    return found


def _check_cost(options: Mapping[str, Option]) -> None:
    """Keep a config from elsewhere from asking for absurd memory; the zoo's own largest is 1.6 % of the limit."""
    width = max((abs(value) for key, value in options.items() if type(value) is int and key != BUDGET), default=1)
    depth = max((sum(map(abs, value)) for value in options.values() if isinstance(value, tuple)), default=1)
    ratio = max((abs(value) for value in options.values() if isinstance(value, float)), default=1.0)
    if width**2 * max(depth, 1) * max(ratio, 1.0) > 1 << 24:
        raise ConfigError(f"graft options {dict(options)} would cost absurd memory.")
