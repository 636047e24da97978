"""The tensors of a plain YOLO: opened without trusting the file, converted once to safetensors."""

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

from zoo.errors import FormatError, ZooError
from zoo.files import sha256
from zoo.weights import checkpoint
from zoo.weights.tensors import is_safetensors, read_tensors, write_tensors

LOGGER = logging.getLogger("zoo")


@dataclass(frozen=True)
class Base:
    """The tensors of a plain detector.

    Attributes:
        tensors: By state-dict key, `model.*`.
        class_names: One name a class, or `None` where the file does not say.
        sha256: Of the file they came from.
        model: Ultralytics' description of the model, `None` where the file has tensors alone.
    """

    tensors: Mapping[str, Tensor]
    class_names: tuple[str, ...] | None
    sha256: str
    model: Mapping[str, Any] | None = None


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
        tensors, names, model = _unpickle(path)
    metadata = {"class_names": json.dumps(names), "model": json.dumps(model, default=str)}
    try:
        write_tensors(tensors, converted, half=False, metadata=metadata)
    except OSError as error:
        LOGGER.warning("%s was not kept as safetensors: %s", path, error)
    return Base(tensors, names, digest, json.loads(metadata["model"]))


def _read_converted(path: Path, digest: str) -> Base:
    tensors = read_tensors(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    if "model" not in metadata:
        raise FormatError(f"{path} was converted before the model's description was kept.")
    names = json.loads(metadata["class_names"])
    return Base(tensors, tuple(names) if names else None, digest, json.loads(metadata["model"]))


def _unpickle(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...] | None, Any]:
    try:
        loaded, _ = checkpoint.load(path, safe_only=True)
        content: Any = next((loaded[k] for k in ("ema", "model", "state_dict") if loaded.get(k)), loaded)
        names, model = getattr(content, "names", None), getattr(content, "yaml", None)
        if isinstance(content, nn.Module):
            content = content.state_dict()
    except FormatError:
        raise
    except Exception as error:  # what is in there may be anything that looks like a model
        raise FormatError(
            f"{path} is damaged, or needs more than tensors and Ultralytics' own layers; nothing in it was run. "
            f"Use an official checkpoint, a state dict or safetensors. ({type(error).__name__}: {error})"
        ) from error
    if not (isinstance(content, dict) and all(isinstance(tensor, Tensor) for tensor in content.values())):
        raise FormatError(f"{path} holds neither a model nor a state dict.")
    return content, tuple(map(str, names.values())) if isinstance(names, dict) else None, model
