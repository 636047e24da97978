"""Every spelling of a model, taken apart in one place; `str` of the parts is the spelling again.

`<base><scale>[_<family>][.<tag>]` is a registered model, `<base><scale>+<block>[(options)]@<place>[,<place>][+...]` a
free-form one, with Ultralytics' suffixes of tasks and layouts after the scale (`yolo11n-seg`, `yolov8n-p2`).
`local-dir:PATH` and `hf-hub:ORG/REPO[@REVISION]` are saved models; what has a slash or a file's suffix is a file.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from zoo.errors import ConfigError, UnknownModelError

Option = int | float | str | bool | None | tuple[int, ...]
Kind = Literal["model", "local-dir", "hf-hub", "file"]

SCALES = ("n", "s", "m", "l", "x")
TASKS = {"detect": "", "segment": "-seg", "pose": "-pose", "obb": "-obb"}

_MAX_MODEL, _MAX_PATH = 1000, 4096
_FILE_SUFFIX = re.compile(r"\.(pt|ya?ml|safetensors|onnx|torchscript|engine|mlpackage|pb|tflite|mnn)", re.ASCII)
_BASE = re.compile(r"([A-Za-z]*\d+)([nsmlx])?", re.ASCII)
_STOCK = re.compile(
    r"(?P<stem>[A-Za-z0-9]+)(?P<task>-(?:seg|pose|obb))?(?P<layout>-[a-z0-9-]+)?"
    r"(?:_(?P<family>[A-Za-z0-9_]+))?(?:\.(?P<tag>[A-Za-z0-9][\w.-]*))?",
    re.ASCII,
)
_GRAFT = re.compile(r"(?P<block>[A-Za-z_][\w.]*)(?:\((?P<options>[^@+]*)\))?@(?P<places>\w+(?:,\w+)*)", re.ASCII)
_OPTION = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*(\([\d\s,-]*\)|[\w.-]+)\s*(?:,|$)", re.ASCII)
_WORD = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
_WORDS = {"true": True, "false": False, "none": None}
_FORMS = "Names are like yolov8n_dattn, yolov8n_dattn.bccd, yolo11n+cbam@neck_p4, local-dir:PATH and hf-hub:ORG/REPO."


class GraftName(NamedTuple):
    """One graft of a free-form name: a block, its options in the order of their names, and the places that get one."""

    block: str
    options: tuple[tuple[str, Option], ...]
    places: tuple[int | str, ...]

    def __str__(self) -> str:
        options = ",".join(f"{key}={_written(value)}" for key, value in self.options)
        return f"{self.block}{f'({options})' if options else ''}@{','.join(map(str, self.places))}"


@dataclass(frozen=True)
class Name:
    """The parts of a name; which of them exist is for the registry to say.

    Attributes:
        kind: What is named: a model of the zoo, a folder, a repository of the Hub, or a file.
        base: For a model, e.g. `"yolov8"`.
        scale: One of n, s, m, l, x, or empty where the name has none.
        task: A key of `TASKS`.
        layout: Of the base, e.g. `"p2"`, empty for the usual one.
        family: Of a registered model, e.g. `"dattn"`, empty for a plain base.
        tag: Of trained weights, `None` without one.
        grafts: Of a free-form model.
        path: Of a folder or a file.
        repo: On the Hub.
        revision: There, `None` for the default one.
    """

    kind: Kind = "model"
    base: str = ""
    scale: str = ""
    task: str = "detect"
    layout: str = ""
    family: str = ""
    tag: str | None = None
    grafts: tuple[GraftName, ...] = ()
    path: Path = Path()
    repo: str = ""
    revision: str | None = None

    def __str__(self) -> str:
        if self.kind == "hf-hub":
            return f"hf-hub:{self.repo}{f'@{self.revision}' if self.revision else ''}"
        if self.kind == "local-dir":
            return f"local-dir:{self.path}"
        if self.kind == "file":
            return str(self.path) if _is_file(str(self.path)) else f"./{self.path}"
        return f"{self.architecture}.{self.tag}" if self.tag else self.architecture

    @property
    def plain(self) -> str:
        """The model without grafts, e.g. `"yolo11n-seg"`."""
        return f"{self.base}{self.scale}{TASKS[self.task]}{f'-{self.layout}' if self.layout else ''}"

    @property
    def architecture(self) -> str:
        """The model without its tag, e.g. `"yolov8n_dattn"`."""
        family = f"_{self.family}" if self.family else ""
        return f"{self.plain}{family}{''.join(f'+{graft}' for graft in self.grafts)}"


def parse(text: Any) -> Name:
    """Take a name apart, without looking at disks or lists.

    Args:
        text: Of any type and origin: it is not trusted.

    Raises:
        UnknownModelError: It is no name of any form.
        ConfigError: A graft of a free-form name is malformed.
    """
    if isinstance(text, Name):
        return text
    text = str(text) if isinstance(text, Path) else text
    if not isinstance(text, str):
        raise UnknownModelError(f"a model's name is a string, found {type(text).__name__} {text!r:.80}. {_FORMS}")
    shown = text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"
    if not text or len(text) > _MAX_PATH or not text.isprintable():
        raise UnknownModelError(f"no model is called {shown!r}. {_FORMS}")
    kind, colon, rest = text.partition(":")
    if colon and kind == "local-dir" and rest:
        return Name("local-dir", path=Path(rest))
    if colon and kind == "hf-hub" and rest:
        repo, _, revision = rest.partition("@")
        if repo:
            return Name("hf-hub", repo=repo, revision=revision or None)
    elif _is_file(text):
        return Name("file", path=Path(text))
    elif len(text) <= _MAX_MODEL:
        stock, plus, grafts = text.partition("+")
        found = _STOCK.fullmatch(stock)
        if found and plus and (found["family"] or found["tag"]):
            raise ConfigError(f"{shown!r} grafts onto {stock!r}; free-form grafts go onto a plain base, e.g. yolov8n.")
        if found:
            base = _BASE.fullmatch(found["stem"])
            return Name(
                base=base[1] if base else found["stem"],
                scale=(base[2] or "") if base else "",
                task=next(task for task, suffix in TASKS.items() if suffix == (found["task"] or "")),
                layout=(found["layout"] or "").removeprefix("-"),
                family=found["family"] or "",
                tag=found["tag"],
                grafts=tuple(map(_parse_graft, grafts.split("+"))) if plus else (),
            )
    raise UnknownModelError(f"no model is called {shown!r}. {_FORMS}")


def hint(word: Any, known: Iterable[str], otherwise: str | None = None) -> str:
    """A sentence with the known words nearest to a wrong one.

    Args:
        word: What was found.
        known: What there is.
        otherwise: The sentence when nothing is near; all that is known when omitted.
    """
    known = list(known)
    if near := difflib.get_close_matches(str(word)[:80], known, n=3, cutoff=0.5):
        return f"Did you mean {', '.join(near)}?"
    return f"Known are {', '.join(known) or 'none'}." if otherwise is None else otherwise


def _is_file(text: str) -> bool:
    is_path = "/" in text or "\\" in text or _FILE_SUFFIX.fullmatch(Path(text).suffix.lower())
    return bool(is_path) and not text.startswith(("local-dir:", "hf-hub:"))


def _parse_graft(text: str) -> GraftName:
    found = _GRAFT.fullmatch(text)
    if not found:
        raise ConfigError(f"{text[:60]!r} is no graft; write BLOCK@PLACE or BLOCK(OPTION=VALUE)@PLACE,PLACE.")
    options = _parse_options(found["options"] or "", text)
    places = tuple(int(place) if place.isdigit() else place for place in found["places"].split(","))
    return GraftName(found["block"], options, places)


def _parse_options(text: str, graft: str) -> tuple[tuple[str, Option], ...]:
    options: dict[str, Option] = {}
    position = 0
    while position < len(text):
        found = _OPTION.match(text, position)
        if not found or found[1] in options:
            what = f"repeats {found[1]!r}" if found else f"has options that cannot be read at {text[position:][:40]!r}"
            raise ConfigError(f"graft {graft[:60]!r} {what}; write e.g. dattn(heads=4,groups=2)@sppf.")
        options[found[1]] = _value(found[2], graft)
        position = found.end()
    return tuple(sorted(options.items()))


def _value(text: str, graft: str) -> Option:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for read in (int, float, _integers):
        with suppress(ValueError):
            value = read(text)
            if not isinstance(value, float) or math.isfinite(value):
                return value
    if _WORD.fullmatch(text):
        return text
    raise ConfigError(f"graft {graft[:60]!r}: {text[:40]!r} is no number, word, true, false, none or (1,2).")


def _integers(text: str) -> tuple[int, ...]:
    if not text.startswith("("):
        raise ValueError(text)
    return tuple(int(item) for item in text[1:-1].split(",") if item.strip())


def _written(value: Option) -> str:
    if isinstance(value, tuple):
        return f"({','.join(map(str, value))})"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return repr(value).replace("e+", "e") if isinstance(value, float) else str(value)
