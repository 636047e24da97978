"""Finding `.pt` checkpoints, and opening them without running what they hold.

A `.pt` file is a pickle, and a pickle may call anything. While the zoo's engine works, Ultralytics opens checkpoints
by PyTorch's restricted unpickler, which knows tensors, Ultralytics' own layers, the zoo's, and those that the user
registered. Outside of it, `ultralytics.YOLO` behaves as if the zoo were not there.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from torch import nn
from torch.serialization import add_safe_globals, get_unsafe_globals_in_checkpoint
from ultralytics.nn import tasks
from ultralytics.utils import SETTINGS
from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset

import zoo
from zoo.errors import FormatError, SourceError
from zoo.layers import blocks
from zoo.weights.find import chosen_folder

LOGGER = logging.getLogger("zoo")

_ENVIRONMENT = "ULTRALYTICS_SAFE_LOAD"
_OWN = ("zoo.detector.", "zoo.layers.", "timm.layers.")
_STOCK = ("torch", "ultralytics", "zoo.", "timm.")
_restricted: ContextVar[bool | None] = ContextVar("restricted", default=None)
_stock_load = tasks.torch_safe_load


def find(file: str | Path) -> Path:
    """Locate a checkpoint, and download it if it is one that Ultralytics publishes.

    A bare name is searched in the working directory, in the folder that `ZOO_WEIGHTS_DIR` names and in Ultralytics'
    weights folder, where a download is also put.

    Raises:
        SourceError: There is no such file, and it is not an official one or this process is offline.
    """
    file = Path(file)
    places = [file]
    if file.name == str(file):
        places += [Path(folder) / file for folder in (chosen_folder(), SETTINGS["weights_dir"]) if folder]
    for place in places:
        if place.is_file():
            return place
    searched = f"no file at {', '.join(str(place) for place in places)}"
    if str(file) not in GITHUB_ASSETS_NAMES:
        raise SourceError(f"weights {str(file)!r}: {searched}, and Ultralytics publishes none of this name.")
    if zoo.OFFLINE or constants.HF_HUB_OFFLINE:
        raise SourceError(
            f"weights {str(file)!r}: {searched}, and this process is offline "
            f"(YOLO_OFFLINE or HF_HUB_OFFLINE is set). Put the file in one of these places."
        )
    LOGGER.info("downloading %s to %s, as asked", file, places[-1].parent)
    try:
        return Path(attempt_download_asset(places[-1]))
    except (OSError, MemoryError) as error:
        raise SourceError(f"weights {str(file)!r}: {searched}, and the download failed: {error}") from error


@contextmanager
def opening(*, trust: bool) -> Iterator[None]:
    """Checkpoints that Ultralytics opens meanwhile, in this thread or in processes started from it, are restricted.

    Args:
        trust: They are not: whatever they hold is run.
    """
    before = os.environ.get(_ENVIRONMENT)
    token = _restricted.set(not trust)
    os.environ[_ENVIRONMENT] = str(int(not trust))
    try:
        yield
    finally:
        _restricted.reset(token)
        if before is None:
            os.environ.pop(_ENVIRONMENT, None)
        else:
            os.environ[_ENVIRONMENT] = before


def load(file: str | Path, safe_only: bool | None = None) -> tuple[dict[str, Any], str]:
    """Ultralytics' `torch_safe_load`, which this replaces, with the zoo's layers among those that it knows.

    Args:
        file: The checkpoint.
        safe_only: Restricted or not; as `opening` says when omitted, and outside of it as Ultralytics decides.

    Returns:
        The checkpoint and the path it was read from.

    Raises:
        SourceError: As `find`.
        FormatError: The file is damaged, or it is restricted and needs more than tensors and known layers; nothing in
            it was run.
    """
    if safe_only is None and (safe_only := _restricted.get()) is None:
        if tasks.SAFE_LOAD and Path(file).is_file():
            _admit(file)
        return _stock_load(file)
    file = find(file)
    if not safe_only:
        return _stock_load(file, False)
    _admit(file)
    try:
        return _stock_load(file, True)
    except Exception as error:  # whatever a restricted unpickler may raise on bytes from elsewhere
        raise FormatError(_refusal(file, error)) from error


tasks.torch_safe_load = load


def _admit(file: str | Path) -> None:
    """Let the restricted unpickler make those of the layers that a file needs for which the zoo vouches."""
    try:
        needed = get_unsafe_globals_in_checkpoint(file)
    except Exception:  # whatever a damaged archive may raise: the loader will say what it is
        return
    add_safe_globals([(layer, name) for name in needed if (layer := _own_layer(name))])


def _own_layer(name: str) -> type[nn.Module] | None:
    """The layer of this dotted name if it is the zoo's, timm's or of a module that holds a registered block.

    A layer of the zoo may have moved to another of its modules since the file was written.
    """
    module, _, attribute = name.rpartition(".")
    own = f"{module}.".startswith(_OWN)
    if own:
        with suppress(ImportError):
            importlib.import_module(module)
    elif module.startswith(_STOCK):
        return None
    else:
        blocks.load_plugins()
        if module not in {block.__module__ for block in blocks.registered().values()}:
            return None
    layer = getattr(sys.modules.get(module), attribute, None)
    if not (isinstance(layer, type) and issubclass(layer, nn.Module)):
        return None
    home = layer.__module__
    return layer if home == module or (own and f"{home}.".startswith(_OWN)) else None


def _refusal(file: str | Path, error: Exception) -> str:
    """What a checkpoint needs that the restricted unpickler does not make, if that is what stopped it."""
    reason = str(error.__cause__ or error)
    if unknown := re.search(r"GLOBAL (\S+)", reason):
        return (
            f"{file} needs {unknown[1]}, which is neither a tensor nor a layer of PyTorch, Ultralytics or the zoo; "
            "nothing in it was run. A block of your own is known once zoo.register_block has named it; a file of your "
            "own that needs more opens with trust=True, which runs whatever it holds."
        )
    return (
        f"{file} is no checkpoint of Ultralytics: it is empty, truncated or another kind of file; "
        f"nothing in it was run. ({reason:.200})"
    )
