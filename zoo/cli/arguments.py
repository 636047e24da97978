"""What several verbs take: models by name, settings, checked numbers."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import registry
from zoo.errors import OptionError, SourceError, UnknownModelError
from zoo.names import parse

if TYPE_CHECKING:
    from zoo.engine.yolo import YOLO

Add = Callable[..., argparse.ArgumentParser]

MODEL = "ARCHITECTURE, ARCHITECTURE.TAG, local-dir:PATH, hf-hub:ORG/REPO[@REVISION] or a .pt file of your own"
SETTINGS = "Ultralytics' own settings, e.g. data=my.yaml epochs=50; trust=True runs whatever a .pt file holds"


def load(name: str, **options: Any) -> YOLO:
    """The engine on a model that the user named.

    Raises:
        SourceError: A file is not there.
        UnknownModelError: The name is a folder's.
        ZooError: As `zoo.create`.
    """
    if Path(name).is_dir() and name not in registry.names():
        raise UnknownModelError(f"{name!r} is a folder; write local-dir:{name}.")
    if parse(name).kind == "file":
        if not Path(name).is_file():
            raise SourceError(f"there is no file {name}.")
        options = {"trust": options.get("trust", False)}

    from zoo.engine.yolo import YOLO

    return YOLO(name, **options)


def check_data(settings: dict[str, Any]) -> None:
    """Read the data YAML of the settings before a model is built.

    Raises:
        OptionError: There is none.
        DataError: It cannot be used.
    """
    from zoo.engine import data

    if not settings.get("data"):
        raise OptionError("data=FILE.yaml is missing: it names the images and the classes.")
    data.read(settings["data"])


def fraction(text: str) -> float:
    """A number between 0 and 1."""
    try:
        if 0 <= (value := float(text)) <= 1:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")


def pixels(text: str) -> int:
    """A side of an image."""
    if text.isdecimal() and (value := int(text)) >= 32:
        return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 32")
