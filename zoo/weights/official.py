"""Official YOLO weights: found or downloaded, opened without trusting them, converted once to safetensors."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from safetensors import safe_open
from torch import Tensor, nn
from ultralytics.nn.tasks import torch_safe_load
from ultralytics.utils import SETTINGS
from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset

import zoo
from zoo.errors import FormatError, SourceError, ZooError
from zoo.files import sha256
from zoo.weights.find import chosen_folder
from zoo.weights.tensors import is_safetensors, read_tensors, write_tensors

LOGGER = logging.getLogger("zoo")


@dataclass(frozen=True)
class Base:
    """The tensors of a plain detector.

    Attributes:
        tensors: By state-dict key, `model.*`.
        class_names: One name a class, or `None` where the file does not say.
        sha256: Of the file they came from.
    """

    tensors: Mapping[str, Tensor]
    class_names: tuple[str, ...] | None
    sha256: str


def find(file: str | Path) -> Path:
    """Locate base weights, and download them if the file is one that Ultralytics publishes.

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
        raise SourceError(f"base weights {str(file)!r}: {searched}, and Ultralytics publishes none of this name.")
    if zoo.OFFLINE or constants.HF_HUB_OFFLINE:
        raise SourceError(
            f"base weights {str(file)!r}: {searched}, and this process is offline "
            f"(YOLO_OFFLINE or HF_HUB_OFFLINE is set). Put the file in one of these places."
        )
    LOGGER.info("downloading %s to %s, as asked", file, places[-1].parent)
    try:
        return Path(attempt_download_asset(places[-1]))
    except (OSError, MemoryError) as error:
        raise SourceError(f"base weights {str(file)!r}: {searched}, and the download failed: {error}") from error


def read(path: Path) -> Base:
    """Read the tensors of a plain detector from safetensors, a pickled state dict or an Ultralytics checkpoint.

    A pickle is opened with restricted unpickling and converted once to safetensors in the cache; after that, the
    conversion of the same bytes is read.

    Raises:
        FormatError: The file is damaged, or a pickle that needs more than tensors and known layers.
    """
    digest = sha256(path)
    LOGGER.info("base weights %s, sha256 %s", path, digest)
    if path.suffix == ".safetensors" or is_safetensors(path):
        return Base(read_tensors(path), None, digest)
    converted = Path(constants.HF_HOME) / "yolo-attention-zoo" / f"{digest}.safetensors"
    try:
        return _read_converted(converted, digest)
    except ZooError:
        tensors, names = _unpickle(path)
    try:
        write_tensors(tensors, converted, half=False, metadata={"class_names": json.dumps(names)})
    except OSError as error:
        LOGGER.warning("%s was not kept as safetensors: %s", path, error)
    return Base(tensors, names, digest)


def _read_converted(path: Path, digest: str) -> Base:
    tensors = read_tensors(path)
    with safe_open(path, "pt") as file:
        names = json.loads(file.metadata()["class_names"])
    return Base(tensors, tuple(names) if names else None, digest)


def _unpickle(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...] | None]:
    try:
        checkpoint, _ = torch_safe_load(path, safe_only=True)
        content: Any = next((checkpoint[k] for k in ("ema", "model", "state_dict") if checkpoint.get(k)), checkpoint)
        names = getattr(content, "names", None)
        if isinstance(content, nn.Module):
            content = content.state_dict()
    except Exception as error:  # whatever a restricted unpickler may raise on untrusted bytes
        raise FormatError(
            f"{path} is damaged, or needs more than tensors and Ultralytics' own layers; nothing in it was run. "
            f"Use an official checkpoint, a state dict or safetensors. ({type(error).__name__}: {error})"
        ) from error
    if not (isinstance(content, dict) and all(isinstance(tensor, Tensor) for tensor in content.values())):
        raise FormatError(f"{path} holds neither a model nor a state dict.")
    return content, tuple(map(str, names.values())) if isinstance(names, dict) else None
