"""What several verbs take: models by name, settings, checked numbers."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import registry
from zoo.engine.settings import check_has_data
from zoo.errors import OptionError, SourceError, UnknownModelError
from zoo.files import CONFIG_FILE, MODEL_FILE, sha256
from zoo.names import TASKS, parse
from zoo.weights import manifest

if TYPE_CHECKING:
    from zoo.engine.yolo import YOLO

Add = Callable[..., argparse.ArgumentParser]

MODEL = (
    "a name that `zoo list` prints, with a tag or without, one of your own making (yolo11n+cbam@neck_p4), "
    "local-dir:PATH, hf-hub:ORG/REPO[@REVISION], a .pt or .safetensors file, or the folder of a run"
)
SETTINGS = "Ultralytics' own settings, e.g. data=my.yaml epochs=50; trust=True runs whatever a .pt file holds"


def load(name: str, *, exports: bool = False, **options: Any) -> YOLO:
    """The engine on a model that the user named.

    Args:
        name: Any spelling, a folder or a file.
        exports: Whether an exported model will do.
        options: Of `zoo.YOLO`.

    Raises:
        OptionError: It is an export, and only weights will do.
        SourceError: A file is not there.
        UnknownModelError: The name is a folder that holds no model.
        ZooError: As `zoo.create`.
    """
    path = Path(name)
    if name and path.is_dir() and name not in registry.names():
        name = _model_in(path)
    elif parse(name).kind == "file":
        if not path.is_file():
            raise SourceError(f"there is no file {path}.")
        if path.suffix == ".safetensors":
            name, base_weights = _saved(path)
            options = {"base_weights": base_weights} if base_weights else options
    path = Path(name)
    if parse(name).kind == "file" and path.exists():
        if not exports and path.suffix not in {".pt", ".yaml", ".yml", ".safetensors"}:
            raise OptionError(
                f"{name} is an export, which predict and val take; this needs the weights it was made of."
            )
        task = next((task for task, suffix in TASKS.items() if suffix and suffix in path.name), "detect")
        options = {"trust": options.get("trust", False), "task": None if path.suffix == ".pt" else task}

    from zoo.engine.yolo import YOLO

    return YOLO(name, **options)


def _model_in(folder: Path) -> str:
    """What to load from a folder: an export, what `zoo.save` wrote, or the result of a run."""
    if folder.name.endswith("_model"):
        return str(folder.absolute())
    for inside in (folder, folder / "weights" / "zoo"):
        if (inside / CONFIG_FILE).is_file():
            return f"local-dir:{inside}"
    best = folder / "weights" / "best.pt"
    if best.is_file():
        return str(best)
    raise UnknownModelError(
        f"the folder {folder} holds no model: neither {CONFIG_FILE} (written by zoo.save), nor weights/ (of a run), "
        f"and its name does not end in _openvino_model or the like (an export)."
    )


def _saved(file: Path) -> tuple[str, Path | None]:
    """The name that a safetensors file goes by, and the file itself if it holds the weights of a plain base."""
    if (file.parent / CONFIG_FILE).is_file() and file.name == MODEL_FILE:
        return f"local-dir:{file.parent}", None
    if file.stem in manifest.entries() and sha256(file) == manifest.entries()[file.stem].sha256:
        return file.stem, None
    if file.stem in registry.names():
        return file.stem, file
    raise SourceError(
        f"{file} does not say which model it is of: give the folder that zoo.save wrote ({MODEL_FILE} and "
        f"{CONFIG_FILE}), or name the file after its plain base, as in yolov8n.safetensors."
    )


def check_data(settings: dict[str, Any]) -> None:
    """Read the data YAML of the settings before a model is built.

    Raises:
        OptionError: There is none.
        DataError: It cannot be used.
    """
    from zoo.engine import data

    check_has_data(settings)
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


def natural(text: str) -> int:
    """A count."""
    if text.isdecimal() and (value := int(text)) >= 1:
        return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")


def port(text: str) -> int:
    """Where a page is served."""
    if text.isdecimal() and 1 <= (value := int(text)) <= 65535:
        return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 65535")
