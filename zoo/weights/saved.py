"""A model as a folder: `model.safetensors` and the `config.json` that rebuilds the architecture."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

import zoo
from zoo.config import ModelConfig
from zoo.errors import ConfigError
from zoo.files import CONFIG_FILE, MODEL_FILE, read_json, sha256, write_text
from zoo.weights.find import verified
from zoo.weights.tensors import read_tensors, write_tensors

if TYPE_CHECKING:
    from zoo.detector import GraftedDetectionModel


def save(model: GraftedDetectionModel, directory: str | Path) -> Path:
    """Write `model.safetensors` and `config.json`, what `zoo.create("local-dir:<directory>")` reads.

    Args:
        model: Any model that `zoo.create` returned or training left.
        directory: Created when absent.

    Returns:
        The directory.
    """
    directory = Path(directory)
    write_tensors(model.state_dict(), directory / MODEL_FILE)
    write_config(model.config, directory)
    return directory


def write_config(config: ModelConfig, directory: Path) -> None:
    """Write the `config.json` of the `model.safetensors` in a folder, which it pins by size and sha256."""
    data = {
        **config.to_dict(),
        "versions": {
            "yolo-attention-zoo": zoo.__version__,
            **{name: version(name) for name in ("torch", "ultralytics")},
        },
        "weights": {"sha256": sha256(directory / MODEL_FILE), "bytes": (directory / MODEL_FILE).stat().st_size},
    }
    write_text(directory / CONFIG_FILE, json.dumps(data, indent=2) + "\n")


def read_saved(directory: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Read what `save` wrote.

    Raises:
        ConfigError: `config.json` is missing or malformed.
        IntegrityError: `model.safetensors` is not the file that `config.json` describes.
        WeightsError: `model.safetensors` is missing or unreadable.
    """
    data = read_json(directory / CONFIG_FILE, ConfigError)
    config = ModelConfig.from_dict(data)
    if "weights" in data:
        described = data["weights"]
        if not isinstance(described, dict) or set(described) != {"sha256", "bytes"}:
            raise ConfigError(f"{directory / CONFIG_FILE}: weights must be an object of sha256 and bytes.")
        verified(directory / MODEL_FILE, described["sha256"], described["bytes"])
    return config, read_tensors(directory / MODEL_FILE)
