"""A model as a folder: `model.safetensors` and the `config.json` that rebuilds the architecture."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

import zoo
from zoo.config import ModelConfig
from zoo.errors import ConfigError, OptionError, StateDictError, ZooError
from zoo.files import CONFIG_FILE, MODEL_FILE, is_sha256, read_json, replacing, sha256, write_text
from zoo.weights.adapter import fingerprint, part
from zoo.weights.find import verified
from zoo.weights.tensors import read_tensors, write_tensors

if TYPE_CHECKING:
    from zoo.detector import Grafted

NEXT_CONFIG_FILE = "config.next.json"


@dataclass(frozen=True)
class Saved:
    """What a folder holds.

    Attributes:
        config: Of the model.
        tensors: Of the model, or of an adapter.
        base_tensors: For an adapter, the fingerprint of what its base lends it; `None` for a whole model.
    """

    config: ModelConfig
    tensors: dict[str, Tensor]
    base_tensors: str | None = None


def save(model: Grafted, directory: str | Path, *, adapter: bool | Literal["norm"] = False) -> Path:
    """Write `model.safetensors` and `config.json`, what `zoo.create("local-dir:<directory>")` reads.

    A folder that held a model holds the old one or the new one at any moment, wherever this is interrupted.

    Args:
        model: Any model that `zoo.create` returned or training left.
        directory: Created when absent.
        adapter: Leave the base out: keep the grafts and the head of a model trained with `freeze_base=True`, and with
            `"norm"` the base's batch norms, too. `zoo.create` then wants the same base as `base_weights`.

    Returns:
        The directory.

    Raises:
        ConfigError: The model was built of a dictionary of Ultralytics', not by a name of the zoo.
        OptionError: This is no model of the zoo, or `adapter` is neither a boolean nor `"norm"`.
        StateDictError: The model was fused, which no file can undo.
    """
    from ultralytics.nn.modules import Conv

    from zoo.detector import Grafted

    if not isinstance(model, Grafted):
        hint = "its .model" if hasattr(model, "model") else "what zoo.create or zoo.YOLO(...).model gives"
        raise OptionError(f"zoo.save writes a model of the zoo, not a {type(model).__name__}; pass {hint}.")
    if adapter not in (True, False, "norm"):
        raise OptionError(f"adapter={adapter!r} must be True, False or 'norm'.")
    config = model.config
    if any(isinstance(layer, Conv) and not hasattr(layer, "bn") for layer in model.modules()):
        raise StateDictError(
            f"{config.name} was fused: its batch norms are gone, and no unfused model would load what is left. "
            "Save it before model.fuse(), or create it again and save that."
        )
    tensors = model.state_dict()
    own = part(model, norm=adapter == "norm") if adapter else tensors
    lent = {key: tensor for key, tensor in tensors.items() if key not in own}
    directory = Path(directory)
    with replacing(directory / MODEL_FILE) as temporary:
        write_tensors(own, temporary)
        text = _config_text(config, temporary, fingerprint(lent) if adapter else None)
        write_text(directory / NEXT_CONFIG_FILE, text)  # what makes the folder whole between the next two renames
    os.replace(directory / NEXT_CONFIG_FILE, directory / CONFIG_FILE)
    return directory


def write_config(config: ModelConfig, directory: Path, base_tensors: str | None = None) -> None:
    """Write the `config.json` of the `model.safetensors` in a folder, which it pins by size and sha256."""
    write_text(directory / CONFIG_FILE, _config_text(config, directory / MODEL_FILE, base_tensors))


def read_saved(directory: Path) -> Saved:
    """Read what `save` wrote.

    Raises:
        ConfigError: `config.json` is missing or malformed.
        IntegrityError: `model.safetensors` is not the file that `config.json` describes.
        WeightsError: `model.safetensors` is missing or unreadable.
    """
    try:
        return _read(directory, CONFIG_FILE)
    except ZooError as error:
        if (directory / NEXT_CONFIG_FILE).is_file():
            try:
                return _read(directory, NEXT_CONFIG_FILE)
            except ZooError:
                raise error from None
        raise


def _read(directory: Path, config_file: str) -> Saved:
    file = directory / config_file
    data = read_json(file, ConfigError)
    config = ModelConfig.from_dict(data)
    if "weights" in data:
        described = data["weights"]
        if not isinstance(described, dict) or set(described) != {"sha256", "bytes"}:
            raise ConfigError(f"{file}: weights must be an object of sha256 and bytes.")
        verified(directory / MODEL_FILE, described["sha256"], described["bytes"])
    base_tensors = data.get("adapter")
    if base_tensors is not None and not is_sha256(base_tensors):
        raise ConfigError(f"{file}: adapter must be the 64 hex digits of a base's fingerprint.")
    return Saved(config, read_tensors(directory / MODEL_FILE), base_tensors)


def _config_text(config: ModelConfig, weights: Path, base_tensors: str | None) -> str:
    data: dict[str, Any] = {
        **config.to_dict(),
        "versions": {
            "yolo-attention-zoo": zoo.__version__,
            **{name: version(name) for name in ("torch", "ultralytics")},
        },
        "weights": {"sha256": sha256(weights), "bytes": weights.stat().st_size},
    }
    if base_tensors:
        data["adapter"] = base_tensors
    return json.dumps(data, indent=2) + "\n"
